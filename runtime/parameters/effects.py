"""How far each task has taken effect in one server's parameters: this makes every gradient count exactly once.

A task is identified by its epoch and its place among that epoch's tasks. Both stay the same when the task is handed out
again, to another worker or after a rollback. Every worker reads its records in the same order, so a task's effects are
always those of its first so many records. The numbers are kept with the values that they describe, in the same process
and in the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

_FIRST_SIZE = 64


class TaskPart(NamedTuple):
    """Records [start, stop) of a task, in the order in which workers read them."""

    epoch: int
    index: int  # type: ignore[assignment]  # rather than the method of tuples
    start: int
    stop: int


class Verdict(Enum):
    """What happens to the gradients of a part."""

    APPLY = "they are the next of their task"
    KNOWN = "they are already in the parameters"
    GAP = "the effect of earlier records of the task is missing"


@dataclass(frozen=True)
class EpochPositions:
    """The positions of one epoch's tasks, by index, int64 [tasks]; for a checkpoint."""

    epoch: int
    positions: Positions


class Effects:
    """The position of each task: how many of its records have taken effect on this server's parameters.

    A task that was never seen is at 0. Epochs before `oldest` are complete: their tasks have no further effect and
    their positions are dropped, so memory is bounded by the tasks of the epochs in use (8 bytes a task).
    """

    def __init__(self) -> None:
        self.oldest = 0
        self._epochs: dict[int, Positions] = {}

    def position(self, epoch: int, index: int) -> int | None:
        """Return how many records of a task have taken effect; None, meaning all, if its epoch is complete."""
        if epoch < self.oldest:
            return None
        positions = self._epochs.get(epoch)
        return int(positions[index]) if positions is not None and index < len(positions) else 0

    def judge(self, part: TaskPart) -> Verdict:
        """Decide what happens to the gradients of a part; changes nothing."""
        position = self.position(part.epoch, part.index)
        if position is None or part.stop <= position:
            return Verdict.KNOWN
        # A part that begins before the position and ends after it was cut in another way, which no worker does.
        return Verdict.APPLY if part.start == position else Verdict.GAP

    def take(self, part: TaskPart) -> None:
        """Note that the gradients of a part have taken effect, or will before the next checkpoint."""
        positions = self._epochs.get(part.epoch)
        if positions is None or part.index >= len(positions):
            positions = self._epochs[part.epoch] = _grown(positions, part.index)
        positions[part.index] = part.stop

    def complete_before(self, epoch: int) -> None:
        """Every task of the epochs before this one is complete; their gradients are no longer wanted."""
        if epoch > self.oldest:
            self.oldest = epoch
            self._epochs = {one: positions for one, positions in self._epochs.items() if one >= epoch}

    # ------------------------------------------------------------ checkpoints

    def export(self) -> Iterator[EpochPositions]:
        """Yield copies of the positions of all epochs in use."""
        for epoch, positions in self._epochs.items():
            yield EpochPositions(epoch, positions.copy())

    def restore(self, kept: EpochPositions) -> None:
        """Restore the positions of an epoch from a checkpoint."""
        self._epochs[kept.epoch] = np.array(kept.positions, np.int64)


def _grown(positions: Positions | None, index: int) -> Positions:
    size = max(_FIRST_SIZE, 2 * index)
    grown = np.zeros(size, np.int64)
    if positions is not None:
        grown[: len(positions)] = positions
    return grown
