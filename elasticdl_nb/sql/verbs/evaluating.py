"""EVALUATE: metrics of a trained model on a query's rows."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from elasticdl_nb.sql.features.label import about_label
from elasticdl_nb.sql.features.matching import check_classes, needed_columns
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
    """A checked EVALUATE statement; `into` is the table that gets the metrics."""

    model: StoredModel
    query: str
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
    check_classes(rows, label)
    said = about_label(rows, label.column, collect(rows, [label.column], [])[label.column]) if label else []
    check_result_table(context.engine, statement.into, replace=attributes.replaces())
    query = rows.pulled(columns, label.column if label else "")
    return Evaluation(model, query, attributes, statement.into, tuple(said))


def run(evaluation: Evaluation, context: Context) -> tuple[Job, pa.Table]:
    """Evaluate; return the job, and a table with a column for each metric, the loss first."""
    attributes = evaluation.attributes
    options = {**metrics_option(attributes.metrics), **attributes.job}
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        job = context.asker(evaluation.model, folder, options).evaluate(context.engine.stream(evaluation.query))
    metrics = job.metrics
    names = sorted(metrics, key=lambda name: (name != "loss", name))
    table = pa.table({name: [metrics[name]] for name in names})
    write_result_table(context.engine, evaluation.into, table)
    return job, table
