"""Values of half the size, float16 and bfloat16, rounded to nearest with ties to even.

The formats are IEEE 754's binary16, and the upper half of binary32. NumPy converts to them value by value, which takes
longer than sending the bytes that are saved; these loops take a tenth of that.
"""

from __future__ import annotations

from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.compiled import ENABLED, compiled

Halves = NDArray[np.uint16]
Floats = NDArray[np.float32]
Bits = NDArray[np.uint32]


class Form(Protocol):
    """A way to halve values."""

    def encode(self, values: Floats) -> Halves:
        """Return the bits [n] of float32 [n]; values that are too large become infinite."""
        ...

    def decode(self, halves: Halves, values: Floats) -> None:
        """Write the values of bits [n] to float32 [n]."""
        ...


class _Slow:
    """NumPy's conversions."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def encode(self, values: Floats) -> Halves:
        with np.errstate(over="ignore"):
            return values.astype(self._kind).view(np.uint16)

    def decode(self, halves: Halves, values: Floats) -> None:
        values[:] = halves.view(self._kind)


class _BFloat16(_Slow):
    def encode(self, values: Floats) -> Halves:
        halves = np.empty(len(values), np.uint16)
        _to_bfloat16(values.view(np.uint32), halves)
        return halves


class _Float16(_Slow):
    def encode(self, values: Floats) -> Halves:
        halves = np.empty(len(values), np.uint16)
        # Subnormal halves have steps of 2^-24, as binary32 has from 0.5 to 1, so the addition rounds them.
        shifted = np.abs(values)
        with np.errstate(invalid="ignore"):
            np.add(shifted, _HALF, out=shifted)
        _to_float16(values.view(np.uint32), shifted.view(np.uint32), halves)
        return halves

    def decode(self, halves: Halves, values: Floats) -> None:
        _from_float16(halves, values.view(np.uint32))
        with np.errstate(invalid="ignore"):
            np.multiply(values, _SCALE, out=values)


def form_of(compression: str) -> Form | None:
    """Return the form with the name that an option has: none, float16 or bfloat16."""
    kind: Any = {"none": None, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[compression]
    if kind is None:
        return None
    if not ENABLED:
        return _Slow(kind)
    return _Float16(kind) if compression == "float16" else _BFloat16(kind)


# Binary16 has an exponent of 5 bits with bias 15, and 10 bits of fraction; binary32 8 bits, bias 127, and 23.
_SIGN, _REST = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_INFINITE = np.uint32(0x7F800000)
_REBIAS = np.uint32((127 - 15) << 23)
_SMALLEST_NORMAL = np.uint32((127 - 14) << 23)
_TOO_LARGE = np.uint32((127 + 15) << 23 | 0x7FF000)
"""65520: from here on, values are too large for binary16."""
_HALF = np.float32(0.5)
_HALF_BITS = np.uint32((127 - 1) << 23)
_SCALE = np.float32(2.0 ** (127 - 15))


@compiled
def _to_bfloat16(bits: Bits, halves: Halves) -> None:
    for i in range(bits.size):
        b = bits[i]
        half = (b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        if (b & _REST) > _INFINITE:  # NaN, which rounding could make infinite
            half = (b >> np.uint32(16)) | np.uint32(0x40)
        halves[i] = half


@compiled
def _to_float16(bits: Bits, shifted: Bits, halves: Halves) -> None:
    for i in range(bits.size):
        rest = bits[i] & _REST
        half = (rest - _REBIAS + np.uint32(0xFFF) + ((rest >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
        if rest < _SMALLEST_NORMAL:
            half = shifted[i] - _HALF_BITS
        if rest >= _TOO_LARGE:
            half = np.uint32(0x7C00)
        if rest > _INFINITE:
            half = np.uint32(0x7E00)
        halves[i] = half | ((bits[i] & _SIGN) >> np.uint32(16))


@compiled
def _from_float16(halves: Halves, bits: Bits) -> None:
    """Write values of binary32 that are too small by the difference of the biases, except those that are infinite."""
    for i in range(halves.size):
        half = np.uint32(halves[i])
        value = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))
        if (half & np.uint32(0x7C00)) == np.uint32(0x7C00):
            value |= _INFINITE
        bits[i] = value
