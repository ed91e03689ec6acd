"""The model contract: finding, checking and loading a user's model and everything that belongs to it.

Nothing imported here loads TensorFlow, and neither do `reading`, `saving.zoofiles` and `saving.trained`. `loading`,
`embeddings`, `older` and the rest of `saving` do, and are for workers.
"""

from elasticdl_nb.runtime.model.contract import ModelDefinition, batched

__all__ = ["ModelDefinition", "batched"]
