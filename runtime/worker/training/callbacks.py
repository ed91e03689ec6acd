"""Keras callbacks in a training that is cut into tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np


class Callbacks:
    """Calls a list of Keras callbacks at the moments `model.fit` would.

    An epoch ends with the last of its tasks, or with the evaluation that follows it. The callbacks get that
    evaluation's metrics as `val_…`, so `on_epoch_end` waits for whatever comes next.
    """

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model, epochs: int,
        finalize: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`finalize` is called once all steps are made, before the callbacks hear of the training's end."""
        self._finalize = finalize
        self._list = keras.callbacks.CallbackList(
            list(callbacks), add_history=False, add_progbar=False, model=model, verbose=0, epochs=epochs
        )
        self.any = bool(callbacks)
        self._epoch: int | None = None
        self._batch = 0
        self._losses: list[float] = []
        self._metrics: dict[str, Any] = {}
        self._ended = False
        self._list.on_train_begin()

    def task_begins(self, epoch: int) -> bool:
        """A training task of this epoch comes next; return whether it is the first of its epoch."""
        if epoch == self._epoch:
            return False
        self.epoch_ends()
        self._epoch, self._batch = epoch, 0
        self._list.on_epoch_begin(epoch)
        return True

    def batch_begins(self) -> None:
        """A step comes next."""
        if self.any:
            self._list.on_train_batch_begin(self._batch)

    def batch_ended(self, logs: Mapping[str, Any]) -> None:
        """A step was made, which returned these scalar tensors; they are read only if there are callbacks."""
        if self.any:
            values = {name: float(np.mean(value)) for name, value in logs.items()}
            self._losses.append(values["loss"])
            self._metrics = {name: value for name, value in values.items() if name != "loss"}
            self._list.on_train_batch_end(self._batch, values)
            self._batch += 1

    def epoch_ends(self, evaluation: Mapping[str, float] | None = None) -> None:
        """The epoch's work is over; `evaluation` holds its metrics, if it was evaluated."""
        if self._epoch is None:
            return
        logs = {"loss": float(np.mean(self._losses))} if self._losses else {}
        logs |= self._metrics
        logs |= {f"val_{name}": value for name, value in (evaluation or {}).items()}
        epoch, self._epoch = self._epoch, None
        self._losses.clear()
        self._list.on_epoch_end(epoch, logs)

    def training_ends(self) -> None:
        """There are no further steps. May be called again."""
        self.epoch_ends()
        if not self._ended:
            self._ended = True
            self._finalize()
            self._list.on_train_end()
