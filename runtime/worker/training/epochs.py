"""One worker's share of the epochs of a training that is cut into tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.protocol import master_pb2 as pb

_KEPT = 1024
"""Losses of batches that are kept as tensors before they are added up: an epoch may have no end."""


class Epochs:
    """What this process knows of the epoch under way: the mean loss of its batches, and what its last step returned."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The epoch is over, or what was trained of it no longer counts."""
        self._epoch: int | None = None
        self._last: Mapping[str, Any] = {}
        self._losses: list[tf.Tensor | float] = []
        self._weights: list[int] = []
        self._total, self._records = 0.0, 0

    def task_begins(self, epoch: int) -> bool:
        """A training task of this epoch comes next; return whether it is the first of its epoch."""
        if epoch == self._epoch:
            return False
        self.forget()
        self._epoch = epoch
        return True

    def used(self, loss: Any, records: int) -> None:
        """A batch with so many records had this loss, a scalar tensor or its value."""
        self._losses.append(loss)
        self._weights.append(records)
        if len(self._losses) >= _KEPT:
            self._add_up()

    def _add_up(self) -> None:
        self._total += float(numbers(self._losses) @ self._weights)
        self._records += sum(self._weights)
        self._losses, self._weights = [], []

    def batch_ended(self, logs: Mapping[str, Any]) -> None:
        """A step was made, which returned these scalar tensors."""
        self._last = logs

    def so_far(self, step: int, *, mean_loss: bool) -> pb.EpochEnded:
        """Return this process's part of the epoch; its loss is the mean of those of batches, or what steps return."""
        if self._losses:
            self._add_up()
        logs = read(self._last)
        if mean_loss and self._records:
            logs["loss"] = self._total / self._records
        return pb.EpochEnded(epoch=self._epoch or 0, step=step, records=self._records, logs=logs)


def numbers(losses: Sequence[tf.Tensor | float]) -> np.ndarray:
    """Return losses of batches, tensors or their values, as an array of float64; all tensors are read at once."""
    if all(map(tf.is_tensor, losses)):
        return np.asarray(tf.stack(losses), np.float64)
    return np.array([float(np.mean(one)) for one in losses])


def read(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return scalar tensors as numbers."""
    return {name: float(np.mean(value)) for name, value in logs.items()}
