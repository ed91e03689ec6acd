"""Blocks of a piece of memory: which bytes of it are in use.

Pure: nothing here knows about memory.
"""

from __future__ import annotations

from bisect import insort

ALIGNMENT = 64
"""Blocks, and arrays within them, begin at multiples of this."""


def padded(size: int) -> int:
    """Return the next multiple of `ALIGNMENT`."""
    return size + -size % ALIGNMENT


class Arena:
    """Gives out blocks of the bytes [start, size), the lowest that are free: what was just used is still in caches."""

    def __init__(self, size: int, start: int = 0) -> None:
        self._size, self._start = size, padded(start)
        self._used: list[tuple[int, int]] = []

    def take(self, count: int) -> int | None:
        """Return where a block of `count` bytes begins that was free until now; None if there is none."""
        place, needed = self._start, padded(max(1, count))
        for start, stop in self._used:
            if start - place >= needed:
                break
            place = stop
        if place + needed > self._size:
            return None
        insort(self._used, (place, place + needed))
        return place

    def give(self, place: int) -> None:
        """The block that begins there is free again."""
        self._used = [block for block in self._used if block[0] != place]
