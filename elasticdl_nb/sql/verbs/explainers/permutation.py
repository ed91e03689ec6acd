"""Permutation importance: how the predictions suffer when a column's values are shuffled among the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elasticdl_nb.sql.models.outputs import Outputs
from elasticdl_nb.sql.record.meaning import chosen
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.sql.verbs.explainers.explainer import Explainer, Importances


class Permutation(Explainer):
    """How much worse the predictions become when a column's values are shuffled among the rows (Breiman, 2001)."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows unchanged and then, for each column and each repeat, the rows with that column shuffled."""
        random = np.random.default_rng(self.settings["seed"])
        yield from self.features.to_batches()
        for place, field in enumerate(self.features.schema):
            for _ in range(self.settings["repeats"]):
                shuffled = self.features.column(place).take(pa.array(random.permutation(self.features.num_rows)))
                yield from self.features.set_column(place, field, shuffled).combine_chunks().to_batches()

    def importances(self, outputs: Outputs) -> Importances:
        """Return by how much the error grew."""
        blocks = outputs.reshape(-1, self.features.num_rows, *outputs.shape[1:])
        error, measure = _error(self.model.record.label, self.label, blocks[0])
        found, repeats = [], self.settings["repeats"]
        for place, column in enumerate(self.features.schema.names):
            first = 1 + place * repeats
            growth = [error(block) - error(blocks[0]) for block in blocks[first : first + repeats]]
            found.append((column, float(np.mean(growth)), float(np.std(growth))))
        return Importances(sorted(found, key=lambda item: -item[1]), measure)


def _error(
    label: Label | None, values: pa.ChunkedArray | None, before: Outputs
) -> tuple[Callable[[Outputs], float], str]:
    """Return a function that measures how wrong outputs are, and a description of it.

    `values` are those of the label, if the rows have it. Otherwise, it measures how far outputs move from `before`.
    """
    if label is None or values is None:
        reference = before.astype(float)
        return (
            lambda outputs: float(np.mean(np.abs(outputs - reference))),
            "change of the predictions when the column's values are shuffled",
        )
    if label.classes is None:
        truth = np.asarray(pc.cast(values, pa.float64()).to_numpy())
        return (
            lambda outputs: float(np.sqrt(np.mean((outputs - truth) ** 2))),
            "increase of the root mean squared error when the column's values are shuffled",
        )
    places = {value: place for place, value in enumerate(label.classes)}
    numbers = np.array([places.get(value, -1) for value in values.to_pylist()])
    return (
        lambda outputs: 1.0 - float(np.mean(chosen(outputs) == numbers)),
        "loss of accuracy when the column's values are shuffled",
    )
