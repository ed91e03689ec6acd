"""Compilation by numba where it is installed and wanted (`ELASTICDL_NO_NUMBA=1` turns it off)."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import mmap
import os
from collections.abc import Callable
from typing import Any, TypeVar

ENABLED = os.environ.get("ELASTICDL_NO_NUMBA", "") in ("", "0") and importlib.util.find_spec("numba") is not None

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile on first call, serially and without the GIL; numba's cache keeps the machine code.

    Fast-math is off: it gains nothing on these memory-bound loops, and without it the results are bit for bit
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


def give_back_compiler() -> None:
    """Release the memory that holds the compiler's own code, once everything needed has been compiled.

    It is 50 MB or more (LLVM's text), and is read from its file again, page by page, if needed. Does nothing on
    systems without /proc or without such a call.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError), open("/proc/self/maps") as maps:
        madvise = ctypes.CDLL(None, use_errno=True).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for line in maps:
            addresses, access, *_, path = line.split(maxsplit=5)
            # Only code: other private pages of a library may have been changed when it was loaded.
            if access == "r-xp" and "libllvmlite" in path:
                start, end = (int(address, 16) for address in addresses.split("-"))
                madvise(start, end - start, mmap.MADV_DONTNEED)
