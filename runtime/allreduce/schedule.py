"""Who sends and receives what in a ring: plain arithmetic.

Reduce-scatter and all-gather as in Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
workstations" (2009): the values are cut into as many chunks as there are ranks, and each rank passes chunks on to its
right neighbour. After world-1 hops every rank has the sum of one chunk, and after as many again it has all sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Hop:
    """One step of a rank: receive a part of `chunk`, add it to its own or (if `is_sum`) keep it, perhaps pass it on."""

    chunk: int
    is_sum: bool
    passes_on: bool


def first_chunk(rank: int, world: int) -> int:
    """The chunk that a rank sends before it has received anything."""
    return rank % world


def hops(rank: int, world: int) -> Iterator[Hop]:
    """What a rank receives, in order. Whatever it passes on has been added to its own or is already a sum."""
    count = 2 * (world - 1)
    for number in range(count):
        yield Hop((rank - number - 1) % world, number >= world - 1, number < count - 1)


def bounds(length: int, world: int) -> list[int]:
    """Where chunks begin, and the end: chunk i is [bounds[i], bounds[i + 1])."""
    return [length * number // world for number in range(world + 1)]


def segments(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a range into ranges of at most `size`."""
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)
