"""Callbacks that count a job's steps across all of its workers, for a model's `callbacks()` (loads Keras).

A job has one set of callbacks, in one of its workers. Those with the attribute `in_every_worker`, as the ones here, are
called in every worker instead, around its own steps; between epochs they are not called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

__all__ = ["LearningRateScheduler", "MaxStepsStopping"]


class LearningRateScheduler(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate before every step to `schedule(step)`; `step` counts those of the whole job, from 0."""

    in_every_worker = True

    def __init__(self, schedule: Callable[[int], float]) -> None:
        super().__init__()
        self._schedule = schedule

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        self.model.optimizer.learning_rate = float(self._schedule(_steps(self.model)))


class MaxStepsStopping(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends training after `max_steps` steps of the whole job, even if epochs remain."""

    in_every_worker = True

    def __init__(self, max_steps: int) -> None:
        super().__init__()
        self._max_steps = max_steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if _steps(self.model) >= self._max_steps:
            self.model.stop_training = True


def _steps(model: keras.Model) -> int:
    return int(model.optimizer.iterations)
