"""EVALUATE: metrics of a trained model on a query's rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from elasticdl_nb.sql.engines.base import Engine, Table
from elasticdl_nb.sql.features.columns import find_column
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Evaluate, Name
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.metrics import check_metrics, metrics_option
from elasticdl_nb.sql.models.store import ModelStore, StoredModel, needed_columns
from elasticdl_nb.sql.verbs.predicting import wait_for
from elasticdl_nb.sql.verbs.training import check_classes, describe, pull_query

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


@dataclass(frozen=True)
class Evaluation:
    """An EVALUATE statement after all checks."""

    model: StoredModel
    query: str
    attributes: Attributes


def prepare(statement: Evaluate, engine: Engine, store: ModelStore) -> Evaluation:
    """Check a statement; nothing is changed. Raises SqlError, at its place, for whatever is wrong with it."""
    model = store.find(statement.model)
    attributes = read_attributes(statement.attributes, "evaluate", None, ("replace",))
    check_job("evaluate", attributes.job, trained_model="x", data="x")
    kinds = describe(engine, statement.select, statement.select_position)
    query = statement.select
    if statement.label is not None and model.record["label"]:
        query, kinds = _renamed(engine, statement.select, kinds, statement.label, model.record["label"]["column"])
    columns = needed_columns(model, kinds, statement.select_position, statement.model, label=True)
    label = "" if model.record["own_input"] else model.record["label"]["column"]
    check_metrics(attributes.metrics, attributes.metrics_position, model.record)
    check_classes(engine, query, model.record["label"], "the query", statement.select_position)
    check_result_table(engine, statement.into, attributes)
    return Evaluation(model, pull_query(engine, query, kinds, columns, label), attributes)


def _renamed(engine: Engine, query: str, kinds: dict[str, str], given: Name, label: str) -> tuple[str, dict[str, str]]:
    """Return the query with the column that the statement calls the label under the name it had in training."""
    column = find_column(given.parts[-1], kinds, given.position)
    if column == label:
        return query, kinds
    others = [name for name in kinds if name not in (column, label)]
    listed = [engine.quote(name) for name in others] + [f"{engine.quote(column)} AS {engine.quote(label)}"]
    renamed = {**{name: kinds[name] for name in others}, label: kinds[column]}
    return f"SELECT {', '.join(listed)} FROM (\n{query}\n) AS q", renamed


def run(evaluation: Evaluation, engine: Engine, on_job: Callable[[Job], None] | None) -> tuple[Job, pa.Table]:
    """Evaluate; return the job and its metrics, a column for each, the loss first."""
    from elasticdl_nb.job.starting import start_job

    options = {**metrics_option(evaluation.attributes.metrics), **evaluation.attributes.job}
    given = {"trained_model": evaluation.model.path, "data": engine.stream(evaluation.query), **options}
    job = start_job("evaluate", given, wait=False)
    if on_job is not None:
        on_job(job)
    metrics = wait_for(job).metrics
    names = sorted(metrics, key=lambda name: (name != "loss", name))
    return job, pa.table({name: [metrics[name]] for name in names})


# ------------------------------------------------------------------ INTO


def check_result_table(engine: Engine, into: Name | None, attributes: Attributes) -> None:
    """Raise SqlError if the table of INTO exists, unless it may be replaced, or may not be made."""
    if into is None:
        return
    table = Table(into.parts)
    exists = engine.kind_of(table)
    if exists == "view" or (exists and attributes.own.get("replace") is not True):
        hint = "" if exists == "view" else "; WITH replace=true replaces it"
        raise SqlError(f"{table.name} exists{hint}", into.position)
    name = engine.quoted(table.parts)
    try:
        with engine.connect() as connection:
            engine.check(connection, [*([f"DROP TABLE {name}"] if exists else []), f"CREATE TABLE {name} (x INTEGER)"])
    except SqlError as error:
        raise SqlError(f"{table.name} cannot be written: {error.problem}", into.position) from None


def write_result_table(engine: Engine, into: Name, result: pa.Table) -> None:
    """Make the table of INTO, of these few rows; one that exists is replaced."""
    name = engine.quoted(into.parts)
    kinds = ["text" if pa.types.is_string(field.type) else "float" for field in result.schema]
    columns = [
        f"{engine.quote(field.name)} {engine.types[kind]}" for field, kind in zip(result.schema, kinds, strict=True)
    ]
    with engine.connect() as connection, connection.transaction():
        connection.run(f"DROP TABLE IF EXISTS {name}")
        connection.run(f"CREATE TABLE {name} ({', '.join(columns)})")
        connection.insert(name, result.to_reader())
