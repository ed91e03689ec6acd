"""`from elasticdl.python.common.constants import Mode`."""

from elasticdl_nb.runtime.mode import Mode

__all__ = ["Mode"]
