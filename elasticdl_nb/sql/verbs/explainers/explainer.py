"""What all explainers have in common: rows to predict, and importances made from the predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from elasticdl_nb.sql.models.outputs import Outputs
from elasticdl_nb.sql.models.store import StoredModel


@dataclass(frozen=True)
class Importances:
    """A row for each column, the most important first: name, importance, deviation. `measure` says what they mean.

    `plot` is an SVG picture, if the explainer has one of its own.
    """

    rows: list[tuple[str, float, float]]
    measure: str
    plot: str = ""


class Explainer(ABC):
    """One way to explain `model`, from rows of its columns (`features`) and their label, if that is known."""

    def __init__(
        self, model: StoredModel, features: pa.Table, label: pa.ChunkedArray | None, settings: Mapping[str, Any]
    ) -> None:
        self.model = model
        self.features = features
        self.label = label
        self.settings = settings

    @abstractmethod
    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows to predict, with the schema of `features`."""

    @abstractmethod
    def importances(self, outputs: Outputs) -> Importances:
        """Return the importances that follow from the outputs for these rows, [n] or [n, k]."""

    def model_to_ask(self, folder: str) -> StoredModel:
        """Return the model that predicts the rows; if it is a different one, it is made in `folder`."""
        return self.model


def mean_sizes(columns: Sequence[str], parts: Outputs, measure: str) -> Importances:
    """Return the mean absolute values of `parts` [n, columns], and their deviation."""
    sizes = np.abs(parts)
    found = zip(columns, sizes.mean(axis=0).tolist(), sizes.std(axis=0).tolist(), strict=True)
    return Importances(sorted(found, key=lambda item: -item[1]), measure)
