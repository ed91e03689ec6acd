"""What synchronous training asks of whatever connects its workers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RingBroken(Exception):
    """A peer is gone, takes too long, or the round was abandoned: nothing of this call may be used."""


class Collective(Protocol):
    """Ranks 0 to world-1 that all make the same calls in the same order.

    Every method raises RingBroken; the collective is of no further use then. `abort` may be called from any thread and
    makes calls under way raise.
    """

    rank: int
    world: int

    def allreduce(self, values: Array, *, exact: bool = False) -> None:
        """Replace a contiguous float32 or float64 [n] by the sum over all ranks, the same bits everywhere.

        `exact` forbids compression.
        """
        ...

    def gather(self, data: bytes) -> list[bytes]:
        """Return every rank's data, of the same length, in the order of ranks."""
        ...

    def broadcast(self, data: NDArray[np.uint8], root: int) -> None:
        """Replace uint8 [n] by the root's."""
        ...

    def barrier(self) -> None:
        """Return once every rank has called it."""
        ...

    def abort(self) -> None:
        """Make this rank's calls fail, and those of its neighbours."""
        ...

    def close(self) -> None:
        """End it."""
        ...

    def fileno(self) -> int:
        """A file descriptor that is readable when another rank has begun a call; -1 if there is none."""
        ...


class Alone:
    """The collective of a single process: nothing to do."""

    rank, world = 0, 1

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
