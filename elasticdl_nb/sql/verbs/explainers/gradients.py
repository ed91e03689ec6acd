"""Integrated gradients, which a worker computes with `sql.zoo.attributions`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from elasticdl_nb.sql.models.asking import with_record
from elasticdl_nb.sql.models.outputs import Outputs
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.record.modelrecord import Attributions
from elasticdl_nb.sql.verbs.explainers.explainer import Explainer, Importances, mean_sizes


class IntegratedGradients(Explainer):
    """The part of each prediction that is due to each column, by the model's gradients."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows unchanged."""
        yield from self.features.to_batches()

    def model_to_ask(self, folder: str) -> StoredModel:
        """Return a model with the same weights, whose outputs are the parts."""
        asked = Attributions(tuple(self.features.schema.names), self.settings["steps"])
        return with_record(self.model, replace(self.model.record, attributions=asked), folder)

    def importances(self, outputs: Outputs) -> Importances:
        """Return the mean absolute value of the parts."""
        return mean_sizes(
            self.features.schema.names,
            outputs.reshape(self.features.num_rows, -1),
            "mean absolute part of the prediction that is due to the column, by integrated gradients",
        )
