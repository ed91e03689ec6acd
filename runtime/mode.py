"""What a dataset is for: the values that `dataset_fn(dataset, mode)` is called with."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """Phase of a job, as ElasticDL names them."""

    TRAINING = "training"
    EVALUATION = "evaluation"
    PREDICTION = "prediction"
