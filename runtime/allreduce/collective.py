"""What synchronous training needs from whatever connects its workers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RingBroken(Exception):
    """A peer is gone or too slow, or the round was abandoned: nothing from this call may be used."""


class Collective(Protocol):
    """Ranks 0 to world-1 that all make the same calls in the same order.

    Every method may raise RingBroken, after which the collective is unusable. `abort` may be called from any thread and
    makes running calls raise.
    """

    rank: int
    world: int
    near: bool
    """Whether all ranks are on this machine, so that what they exchange takes the processors that they compute with."""

    def allreduce(self, values: Array, *, exact: bool = False) -> None:
        """Replace a contiguous float32 or float64 [n] with the sum over all ranks, the same bits everywhere.

        `exact` forbids compression.
        """
        ...

    def gather(self, data: bytes) -> list[bytes]:
        """Return every rank's data in the order of ranks; all must have the same length."""
        ...

    def broadcast(self, data: NDArray[np.uint8], root: int) -> None:
        """Replace uint8 [n] with the root's."""
        ...

    def barrier(self) -> None:
        """Return once every rank has called it."""
        ...

    def abort(self) -> None:
        """Make this rank's calls fail, and those of its neighbours."""
        ...

    def close(self) -> None:
        """Release its connections."""
        ...

    def fileno(self) -> int:
        """A file descriptor that is readable when another rank has begun a call; -1 if there is none."""
        ...


class Alone:
    """The collective of a single process: nothing to do."""

    rank, world, near = 0, 1, True

    def allreduce(self, values: Array, *, exact: bool = False) -> None:
        """See `Collective`."""

    def gather(self, data: bytes) -> list[bytes]:
        """See `Collective`."""
        return [data]

    def broadcast(self, data: NDArray[np.uint8], root: int) -> None:
        """See `Collective`."""

    def barrier(self) -> None:
        """See `Collective`."""

    def abort(self) -> None:
        """See `Collective`."""

    def close(self) -> None:
        """See `Collective`."""

    def fileno(self) -> int:
        """See `Collective`."""
        return -1
