"""EXPLAIN: how much each column contributes to a trained model's predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.matching import needed_columns
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Explain, Name
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.outputs import read_outputs
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.verbs.explainers.bars import bars
from elasticdl_nb.sql.verbs.explainers.explainer import Importances
from elasticdl_nb.sql.verbs.explainers.settings import DEFAULTS, KINDS, as_today, find_explainer, read_settings
from elasticdl_nb.sql.writing.resulttable import check_result_table, write_result_table

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


@dataclass(frozen=True)
class Explanation:
    """A checked EXPLAIN statement; `label` is empty if the query does not have it.

    `into` is the table that gets the importances.
    """

    model: StoredModel
    query: str
    columns: tuple[str, ...]
    label: str
    explainer: str
    settings: Mapping[str, Any]
    attributes: Attributes
    into: Name | None


def prepare(statement: Explain, context: Context) -> Explanation:
    """Check a statement and change nothing. Raises SqlError, with its place, for anything that is wrong."""
    model = context.store.find(statement.model)
    explainer = find_explainer(statement)
    if model.record.own_input and explainer == "integrated_gradients":
        raise SqlError(f"{statement.model} reads its columns itself; integrated gradients need a model with features",
                       statement.explainer.position if statement.explainer else None)  # fmt: skip
    places = {attribute.key: attribute for attribute in map(as_today, statement.attributes)}
    attributes = read_attributes(list(places.values()), "predict", None, (*DEFAULTS[explainer], "replace"))
    check_job("predict", attributes.job, trained_model="x", data="x", output="x.parquet")
    settings = read_settings(explainer, attributes.own, places)
    rows = context.select_for(model, statement.select, statement.select_position)
    columns = needed_columns(model, statement.model, rows)
    label = model.record.label.column if model.record.label else ""
    label = label if label in rows.kinds else ""
    check_result_table(context.engine, statement.into, replace=attributes.replaces())
    query = rows.pulled([*columns, *([label] if label else [])], label)
    return Explanation(model, query, columns, label, explainer, settings, attributes, statement.into)


def run(explanation: Explanation, context: Context) -> tuple[Job, Importances, pa.Table]:
    """Explain with one prediction job; return the job, and each column's importance, also as a table."""
    sample = _sample(context.engine, explanation)
    features = sample.select(list(explanation.columns))
    label = sample.column(explanation.label) if explanation.label else None
    explainer = KINDS[explanation.explainer](explanation.model, features, label, explanation.settings)
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        asker = context.asker(explainer.model_to_ask(folder), folder, explanation.attributes.job)
        job, output = asker.predict(pa.RecordBatchReader.from_batches(features.schema, explainer.rows()))
        outputs = np.concatenate(list(read_outputs(output)))
    found = explainer.importances(outputs)
    names, values, deviations = (list(column) for column in zip(*found.rows, strict=True))
    table = pa.table({"feature": names, "importance": values, "deviation": deviations})
    write_result_table(context.engine, explanation.into, table, replace=explanation.attributes.replaces())
    return job, found, table


def picture(explanation: Explanation, found: Importances) -> str:
    """Return the importances as an SVG picture: the explainer's own, or a bar for each column."""
    names, values, _ = (list(column) for column in zip(*found.rows, strict=True))
    return found.plot or bars(names, values, f"{explanation.model.name}: importance")


def _sample(engine: Engine, explanation: Explanation) -> pa.Table:
    """Return rows of the query; if it has too many, a random sample of them (reservoir sampling by batches)."""
    random = np.random.default_rng(explanation.settings["seed"])
    kept: pa.Table | None = None
    keys = np.empty(0)
    for batch in engine.stream(explanation.query):
        table = pa.Table.from_batches([batch])
        table = table if kept is None else pa.concat_tables([kept, table])
        keys = np.concatenate([keys, random.random(batch.num_rows)])
        chosen = np.sort(np.argsort(keys)[: explanation.settings["rows"]])
        kept, keys = table.take(pa.array(chosen)), keys[chosen]
    if kept is None or not kept.num_rows:
        raise SqlError("the query returns no rows")
    return kept.combine_chunks()
