"""`elasticdl.python.data.odps_io`: importable, so that models work that use MaxCompute only where it is configured."""

from __future__ import annotations

import os
from typing import Any

from elasticdl_nb.runtime.errors import ModelError

from ..common.constants import MaxComputeConfig

__all__ = ["ODPSReader", "ODPSWriter", "is_odps_configured"]

_NEEDED = (MaxComputeConfig.PROJECT_NAME, MaxComputeConfig.ACCESS_ID, MaxComputeConfig.ACCESS_KEY)


def is_odps_configured() -> bool:
    """Whether the environment has what is needed to log in to MaxCompute."""
    return all(name in os.environ for name in _NEEDED)


class NotOffered:
    """Something that needs MaxCompute. Making one raises ModelError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ModelError(
            f"{type(self).__name__} needs MaxCompute, which elasticdl_nb does not read or write; use files, or a "
            "database through SQL"
        )


class ODPSReader(NotOffered):
    """Read a table of MaxCompute: not offered."""


class ODPSWriter(NotOffered):
    """Write a table of MaxCompute: not offered."""
