"""EVALUATE: metrics of a trained model on a query's rows."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from elasticdl_nb.sql.features.label import about_label
from elasticdl_nb.sql.features.matching import check_classes, needed_columns
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import collect
from elasticdl_nb.sql.language.statements import Evaluate, Name
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.metricnames import check_metrics, metrics_option
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.writing.resulttable import check_result_table, write_result_table

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


@dataclass(frozen=True)
class Evaluation:
    """A checked EVALUATE statement; `into` is the table that gets the metrics.

    `query` is what the job reads, and `data` its rows, which were evaluated once.
    """

    model: StoredModel
    query: str
    data: Selection
    attributes: Attributes
    into: Name | None
    messages: tuple[str, ...] = ()


def prepare(statement: Evaluate, context: Context) -> Evaluation:
    """Check a statement and change nothing. Raises SqlError, with its place, for anything that is wrong."""
    model = context.store.find(statement.model)
    attributes = read_attributes(statement.attributes, "evaluate", None, ("replace",))
    check_job("evaluate", attributes.job, trained_model="x", data="x")
    rows, label = context.select_for(model, statement.select, statement.select_position), model.record.label
    if statement.label is not None and label is not None:
        given = rows.column(statement.label.parts[-1], statement.label.position)
        rows = rows.renamed(given, label.column)
    columns = needed_columns(model, statement.model, rows, label=True)
    check_metrics(attributes.metrics, attributes.metrics_position, model.record)
    check_result_table(context.engine, statement.into, replace=attributes.replaces())
    kept = context.kept([rows])[0]
    check_classes(kept, label)
    said = about_label(kept, label.column, collect(kept, [label.column], [])[label.column]) if label else []
    column = label.column if label else ""
    data = kept.part(columns, column)
    return Evaluation(model, rows.pulled(columns, column), data, attributes, statement.into, tuple(said))


def run(evaluation: Evaluation, context: Context) -> tuple[Job, pa.Table]:
    """Evaluate; return the job, and a table with a column for each metric, the loss first."""
    attributes = evaluation.attributes
    options = {**metrics_option(attributes.metrics), **attributes.job}
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        job = context.asker(evaluation.model, folder, options).evaluate(evaluation.data.stream())
    metrics = job.metrics
    names = sorted(metrics, key=lambda name: (name != "loss", name))
    table = pa.table({name: [metrics[name]] for name in names})
    write_result_table(context.engine, evaluation.into, table, replace=attributes.replaces())
    return job, table
