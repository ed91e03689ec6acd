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
        ended: Callable[[int, dict[str, float]], None] = lambda epoch, logs: None,
    ) -> None:  # fmt: skip
        """Get what else is to be called.

        `finalize` is called once all steps are made, before the callbacks hear of the training's end; `ended` with each
        epoch that is over and its metrics, to which it adds the loss.
        """
        self._finalize, self._when_ended = finalize, ended
        self._list = keras.callbacks.CallbackList(
            list(callbacks), add_history=False, add_progbar=False, model=model, verbose=0, epochs=epochs
        )
        self.any = bool(callbacks)
        self._epoch: int | None = None
        self._batch = 0
        self._last: Mapping[str, Any] = {}
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
        """A step was made, which returned these scalar tensors; each is read only if there are callbacks."""
        self._last = logs
        if self.any:
            self._list.on_train_batch_end(self._batch, _read(logs))
            self._batch += 1

    def epoch_ends(self, evaluation: Mapping[str, float] | None = None) -> None:
        """The epoch's work is over; `evaluation` holds its metrics, if it was evaluated."""
        if self._epoch is None:
            return
        logs = _read(self._last)
        logs |= {f"val_{name}": value for name, value in (evaluation or {}).items()}
        epoch, self._epoch = self._epoch, None
        self._last = {}
        self._when_ended(epoch, logs)
        self._list.on_epoch_end(epoch, logs)

    def training_ends(self) -> None:
        """There are no further steps. May be called again."""
        self.epoch_ends()
        if not self._ended:
            self._ended = True
            self._finalize()
            self._list.on_train_end()


def _read(logs: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(np.mean(value)) for name, value in logs.items()}
