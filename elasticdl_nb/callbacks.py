"""Callbacks that go by a job's steps, however many workers make them: for a model's `callbacks()` (loads Keras).

Keras' own callbacks work too; what they see as an epoch or a batch is what this worker has of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

__all__ = ["LearningRateScheduler", "MaxStepsStopping"]


class LearningRateScheduler(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate before every step to `schedule(step)`, the steps of the whole job so far (from 0)."""

    def __init__(self, schedule: Callable[[int], float]) -> None:
        super().__init__()
        self._schedule = schedule

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        self.model.optimizer.learning_rate = float(self._schedule(_steps(self.model)))


class MaxStepsStopping(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training after `max_steps` steps of the whole job, even if epochs are left."""

    def __init__(self, max_steps: int) -> None:
        super().__init__()
        self._max_steps = max_steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if _steps(self.model) >= self._max_steps:
            self.model.stop_training = True


def _steps(model: keras.Model) -> int:
    return int(model.optimizer.iterations)
