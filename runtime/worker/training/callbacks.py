"""Keras callbacks in a training that is cut into tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np


class Callbacks:
    """Calls a list of Keras callbacks at the moments `model.fit` would.

    An epoch ends with the last of its tasks, or with the evaluation that follows it. The callbacks get that
    evaluation's metrics as `val_…`, so `on_epoch_end` waits for whatever comes next.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model, epochs: int) -> None:
        self._list = keras.callbacks.CallbackList(
            list(callbacks), add_history=False, add_progbar=False, model=model, verbose=0, epochs=epochs
        )
        self.any = bool(callbacks)
        self._epoch: int | None = None
        self._batch = 0
        self._losses: list[float] = []
        self._ended = False
        self._list.on_train_begin()

    def task_begins(self, epoch: int) -> None:
        """A training task of this epoch comes next."""
        if epoch != self._epoch:
            self.epoch_ends()
            self._epoch, self._batch = epoch, 0
            self._list.on_epoch_begin(epoch)

    def batch_begins(self) -> None:
        """A step comes next."""
        if self.any:
            self._list.on_train_batch_begin(self._batch)

    def batch_ended(self, loss: Any) -> None:
        """A step was made, with this loss (a scalar tensor, read only if there are callbacks)."""
        if self.any:
            value = float(loss)
            self._losses.append(value)
            self._list.on_train_batch_end(self._batch, {"loss": value})
            self._batch += 1

    def epoch_ends(self, evaluation: Mapping[str, float] | None = None) -> None:
        """The epoch's work is over; `evaluation` holds its metrics, if it was evaluated."""
        if self._epoch is None:
            return
        logs = {"loss": float(np.mean(self._losses))} if self._losses else {}
        logs |= {f"val_{name}": value for name, value in (evaluation or {}).items()}
        epoch, self._epoch = self._epoch, None
        self._losses.clear()
        self._list.on_epoch_end(epoch, logs)

    def training_ends(self) -> None:
        """There are no further steps. May be called again."""
        self.epoch_ends()
        if not self._ended:
            self._ended = True
            self._list.on_train_end()
