"""Arrays that grow in place.

An array's address range is reserved in advance, far larger than it needs, in an anonymous mapping that commits no
memory; pages appear when they are first written. So growing copies nothing and never holds the content twice. Where the
system refuses such a reservation, the array grows by doubling and copying.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

RESERVATION = 64 << 30

# mmap.MAP_NORESERVE has a name only since Python 3.13.
_NORESERVE: int | None = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform.startswith("linux") else None)


def _reservation() -> int:
    """Address space for one array, in bytes: as much as the machine's memory could hold, up to 64 GiB."""
    try:
        return min(RESERVATION, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return RESERVATION


def reserve(nbytes: int) -> mmap.mmap | None:
    """Return a zeroed anonymous mapping whose pages are committed on first write, or None if the system refuses."""
    if _NORESERVE is None:
        return None
    try:
        mapping = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    except (OSError, ValueError, OverflowError):
        return None
    with contextlib.suppress(OSError, AttributeError):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


def keep_freed_buffers() -> bool:
    """Make the C library keep large freed buffers for reuse, instead of returning their pages.

    Otherwise messages and batches of many megabytes cost a page fault for every 4 KiB, each time. Call it once, at the
    start of a process; it returns whether it had an effect (it does with glibc).
    """
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = ((mmap_threshold, 1 << 30), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20))
    return all([mallopt(name, value) == 1 for name, value in settings])


def zeros(length: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros of shape [length] in a mapping of their own, returned to the system when they are dropped."""
    kind = np.dtype(dtype)
    return np.frombuffer(mmap.mmap(-1, max(1, length * kind.itemsize)), kind, count=length)


class GrowableArray:
    """An array of shape [length, *tail] whose length grows; new rows hold `fill`.

    `data` has the shape [capacity, *tail] with capacity >= length; kernels take it whole. It stays the same object
    while the array grows within its reservation; read it again after every `grow`.
    """

    data: NDArray[Any]

    def __init__(
        self, tail: tuple[int, ...], dtype: DTypeLike, fill: float = 0, reservation: int | None = None
    ) -> None:
        self.tail = tail
        self.dtype = np.dtype(dtype)
        self.fill = fill
        self.length = 0
        self._row_bytes = max(1, math.prod(tail)) * self.dtype.itemsize
        reserved = _reservation() if reservation is None else reservation
        self.data = self._allocate(reserved // self._row_bytes, otherwise=0)

    def _allocate(self, rows: int, otherwise: int) -> NDArray[Any]:
        """Return zeros for `rows` rows that take no memory yet, or for `otherwise` rows where that is refused."""
        mapping = reserve(rows * self._row_bytes) if rows else None
        if mapping is None:
            return np.zeros((otherwise, *self.tail), self.dtype)
        return np.frombuffer(mapping, self.dtype, count=rows * math.prod(self.tail)).reshape(rows, *self.tail)

    @property
    def view(self) -> NDArray[Any]:
        """The rows in use, shape [length, *tail]."""
        return self.data[: self.length]

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use."""
        return self.length * self._row_bytes

    def grow(self, length: int) -> None:
        """Make the array at least `length` rows long; raises MemoryError if the machine cannot hold them."""
        if length <= self.length:
            return
        if length > len(self.data):
            self._move(max(length, 2 * len(self.data)))
        if self.fill:
            self.data[self.length : length] = self.fill
        self.length = length

    def _move(self, capacity: int) -> None:
        larger = self._allocate(capacity, otherwise=capacity)
        larger[: self.length] = self.view
        self.data = larger
