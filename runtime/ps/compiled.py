"""Compilation by numba where it is installed and wanted (`ELASTICDL_NO_NUMBA=1` does without)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any, TypeVar

ENABLED = os.environ.get("ELASTICDL_NO_NUMBA", "") in ("", "0") and importlib.util.find_spec("numba") is not None

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile on first call, serially and without the GIL; the machine code is kept in numba's cache.

    Fast-math is left out: it gains nothing on these memory-bound loops, and without it the results are bit for bit
    those of NumPy and a NaN stays a NaN. Returns the function itself where there is no numba.
    """
    if not ENABLED:
        return function
    import numba

    dispatcher: Any = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return dispatcher  # type: ignore[no-any-return]


def plain(function: F) -> F:
    """Return the Python function that `compiled` was given."""
    original: F = getattr(function, "py_func", function)
    return original
