"""PREDICT: from a query's rows to a column of predictions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elasticdl_nb.sql.features.matching import needed_columns
from elasticdl_nb.sql.language.statements import Predict
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.outputs import read_outputs
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.record.meaning import decoder
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.writing.targets import Target, find_target
from elasticdl_nb.sql.writing.workplace import Workplace

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


@dataclass(frozen=True)
class Prediction:
    """A checked PREDICT statement; the model reads `columns` of the target's rows."""

    model: StoredModel
    target: Target
    columns: tuple[str, ...]
    attributes: Attributes


def prepare(statement: Predict, context: Context) -> Prediction:
    """Check a statement and change nothing. Raises SqlError, with its place, for anything that is wrong."""
    model = context.store.find(statement.model)
    attributes = read_attributes(statement.attributes, "predict", None, ("replace",))
    check_job("predict", attributes.job, trained_model="x", data="x", output="x.parquet")
    replace = attributes.replaces()
    rows = context.select_for(model, statement.select, statement.select_position)
    columns = needed_columns(model, statement.model, rows)
    target = find_target(rows, statement, model.record, replace=replace)
    return Prediction(model, target, columns, attributes)


def run(prediction: Prediction, context: Context) -> tuple[Job | None, int]:
    """Predict and write; return the job and the number of rows. If anything fails, the target stays as it was.

    If there are no rows to predict, there is no job.
    """
    model, job = prediction.model, None
    with Workplace(prediction.target) as work, tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        if work.count:
            asker = context.asker(model, folder, prediction.attributes.job)
            job, output = asker.predict(work.read(prediction.columns))
            work.keep(map(decoder(model.record.label), read_outputs(output)))
        work.write()
    return job, work.count
