"""Rows whose values are bfloat16: the upper 16 bits of a float32. NumPy has no such type, and they are uint16 here.

A step's values are widened to float32, which is exact, updated, and rounded again. Rounding them to the nearest
bfloat16 would lose every update of less than 1/512 of a value. They are rounded up or down by chance instead, so that
the mean of the result is the value itself (Gupta et al., Deep Learning with Limited Numerical Precision, 2015; Zamirai
et al., Revisiting BFloat16 Training, 2020): 16 random bits are added to the lower half, which is then cut off. The bits
are a hash of the table, the id, the step and the place in the row, by the finalizers of MurmurHash3. So a step made
again, in another process or with other kernels, rounds the same way.

Initial values, and float32 rows of another job's checkpoint, are rounded to the nearest, ties to even.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.rows.kernels import Halves

HELD: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}
"""How tables hold values, by the names of types."""

BLOCK_BYTES = 512 << 10
"""Bytes of widened rows at a time: they stay in a processor's caches."""

_GOLDEN, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def rounded(values: Array) -> Halves:
    """Return the nearest bfloat16 of each value, ties to even; too large ones become infinite."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), nearest).astype(np.uint16)


def floats(held: NDArray[Any]) -> Array:
    """Return values as float32, which is exact; those that are float32 already are not copied."""
    return (held.astype(np.uint32) << np.uint32(16)).view(np.float32) if held.dtype == np.uint16 else held


def held_as(dtype: np.dtype[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Return values, float32 or bfloat16, in one of the types of `HELD`; not copied if they are of it already."""
    if dtype == np.uint16:
        return values if values.dtype == dtype else rounded(values)
    return np.asarray(floats(values), dtype)


def noise(key: int, step: int) -> np.uint64:
    """Return what `kernels.narrow` takes, from a table's key and the number of a step."""
    bits = (key + step * _GOLDEN) & _MASK
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):  # as `kernels.mix` does
        bits = (bits ^ bits >> 33) * factor & _MASK
    return np.uint64(bits ^ bits >> 33)
