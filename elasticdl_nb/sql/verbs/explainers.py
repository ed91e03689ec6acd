"""Ways to tell what each column is worth to a model.

Each says which rows the model has to predict (one job predicts them all) and makes of the predictions how important
each column is.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elasticdl_nb.runtime.model.saving.trained import MESSAGE, ZOO, read_trained_model
from elasticdl_nb.sql.models.code import write_record
from elasticdl_nb.sql.models.store import StoredModel

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Importances:
    """A row for each column, the most important first: name, importance, deviation; and what the importance is.

    `plot` is an SVG picture, if the explainer has one of its own.
    """

    rows: list[tuple[str, float, float]]
    measure: str
    plot: str = ""


class Explainer(ABC):
    """One way to explain `model`, by rows of its columns (`features`) and their label, where that is known."""

    def __init__(
        self, model: StoredModel, features: pa.Table, label: pa.ChunkedArray | None, settings: dict[str, Any]
    ) -> None:
        self.model = model
        self.features = features
        self.label = label
        self.settings = settings

    @abstractmethod
    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows to predict, of the schema of `features`."""

    @abstractmethod
    def importances(self, outputs: Numbers) -> Importances:
        """Return what the outputs for these rows, [n] or [n, k], say."""

    def model_to_ask(self, folder: str) -> StoredModel:
        """Return the model that is to predict the rows, made in `folder` if it is another one."""
        return self.model


# ------------------------------------------------------------------ permutation


class Permutation(Explainer):
    """How much worse the predictions become when a column's values are mixed among the rows (Breiman, 2001)."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as they are and, for each column and each time that it is mixed, the rows again."""
        random = np.random.default_rng(self.settings["seed"])
        yield from self.features.to_batches()
        for place, field in enumerate(self.features.schema):
            for _ in range(self.settings["repeats"]):
                mixed = self.features.column(place).take(pa.array(random.permutation(self.features.num_rows)))
                yield from self.features.set_column(place, field, mixed).combine_chunks().to_batches()

    def importances(self, outputs: Numbers) -> Importances:
        """Return by how much the error has grown."""
        blocks = outputs.reshape(-1, self.features.num_rows, *outputs.shape[1:])
        error, measure = _error(self.model, self.label, blocks[0])
        found, repeats = [], self.settings["repeats"]
        for place, column in enumerate(self.features.schema.names):
            first = 1 + place * repeats
            growth = [error(block) - error(blocks[0]) for block in blocks[first : first + repeats]]
            found.append((column, float(np.mean(growth)), float(np.std(growth))))
        return Importances(sorted(found, key=lambda item: -item[1]), measure)


def _error(
    model: StoredModel, label: pa.ChunkedArray | None, before: Numbers
) -> tuple[Callable[[Numbers], float], str]:
    """Return what tells how wrong outputs are, and what that is called."""
    if label is None:
        reference = before.astype(float)
        return (
            lambda outputs: float(np.mean(np.abs(outputs - reference))),
            "how far the predictions move when the column's values are mixed",
        )
    classes = model.record["label"]["classes"]
    if classes is None:
        truth = np.asarray(pc.cast(label, pa.float64()).to_numpy())
        return (
            lambda outputs: float(np.sqrt(np.mean((outputs - truth) ** 2))),
            "growth of the root of the mean squared error when the column's values are mixed",
        )
    places = {value: place for place, value in enumerate(classes)}
    numbers = np.array([places.get(value, -1) for value in label.to_pylist()])
    return (
        lambda outputs: 1.0 - float(np.mean(_chosen(outputs) == numbers)),
        "loss of accuracy when the column's values are mixed",
    )


def _chosen(outputs: Numbers) -> Numbers:
    return (outputs > 0.5).astype(int) if outputs.ndim == 1 else outputs.argmax(axis=-1)


# ------------------------------------------------------------------ integrated gradients


class IntegratedGradients(Explainer):
    """The part of each prediction that each column is the cause of, by the model's gradients: see sql.zoo."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as they are."""
        yield from self.features.to_batches()

    def model_to_ask(self, folder: str) -> StoredModel:
        """Return a model of the same weights whose outputs are the parts."""
        message, definition = read_trained_model(self.model.path)
        made = Path(folder) / "model"
        shutil.copytree(definition.zoo, made / ZOO)
        asked = {"columns": self.features.schema.names, "steps": self.settings["steps"]}
        write_record(made / ZOO, {**self.model.record, "attributions": asked})
        os.symlink(os.path.abspath(definition.weights), made / message.params_filename)
        (made / MESSAGE).write_bytes(message.SerializeToString())
        return replace(self.model, path=os.fspath(made))

    def importances(self, outputs: Numbers) -> Importances:
        """Return the parts' mean size."""
        return mean_sizes(
            self.features.schema.names,
            outputs.reshape(self.features.num_rows, -1),
            "mean size of the part of the prediction that the column is the cause of, by integrated gradients",
        )


def mean_sizes(columns: list[str], parts: Numbers, measure: str) -> Importances:
    """Return the mean sizes of parts [n, columns], and their deviation."""
    sizes = np.abs(parts)
    found = zip(columns, sizes.mean(axis=0).tolist(), sizes.std(axis=0).tolist(), strict=True)
    return Importances(sorted(found, key=lambda item: -item[1]), measure)
