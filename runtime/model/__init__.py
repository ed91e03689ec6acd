"""The model contract: finding, checking and loading a user's model and everything that belongs to it.

Nothing imported here loads TensorFlow, and neither do `static`, `requirements`, `zoofiles` and `trained`; `loader` and
`weights`, which do, are for workers.
"""

from elasticdl_nb.runtime.model.contract import ModelDefinition, batched

__all__ = ["ModelDefinition", "batched"]
