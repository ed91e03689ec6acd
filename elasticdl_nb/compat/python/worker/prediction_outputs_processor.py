"""The base of a module's `PredictionOutputsProcessor`; any class with its method serves as well."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["BasePredictionOutputsProcessor"]


class BasePredictionOutputsProcessor(ABC):
    """Gets the predictions that a worker makes."""

    @abstractmethod
    def process(self, predictions: Any, worker_id: int) -> None:
        """Do something with a batch of predictions: NumPy arrays, in the structure of the model's outputs.

        Each array also has a method `numpy()`, as tensors have.
        """
