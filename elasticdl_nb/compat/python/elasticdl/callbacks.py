"""`from elasticdl.python.elasticdl.callbacks import LearningRateScheduler`; loads Keras."""

from __future__ import annotations

from typing import Any

import keras

from elasticdl_nb.callbacks import LearningRateScheduler, MaxStepsStopping

__all__ = ["LearningRateScheduler", "MaxStepsStopping", "SavedModelExporter"]


class SavedModelExporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Does nothing: a job writes `saved_model/` with its trained model by itself, unless `saved_model` is False."""

    def __init__(self, task_data_service: Any = None, feed: Any = None, model_handler: Any = None) -> None:
        super().__init__()
