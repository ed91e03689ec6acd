"""EXPLAIN: how much a trained model's predictions owe to each column, by permutation (Breiman, 2001).

The values of one column are mixed among the rows; how much worse the predictions become by that is the column's
importance. One prediction job does it for all columns: its data are the rows as they are and, for each column and each
time that it is mixed, the rows again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.sql import predicting
from elasticdl_nb.sql.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.errors import SqlError
from elasticdl_nb.sql.evaluating import check_result_table
from elasticdl_nb.sql.statements import Explain
from elasticdl_nb.sql.store import ModelStore, StoredModel, needed_columns
from elasticdl_nb.sql.training import describe, pull_query

if TYPE_CHECKING:
    from elasticdl_nb.job import Job

EXPLAINERS = ("permutation",)
_OWN = {"rows": 2000, "repeats": 5, "seed": 0, "replace": False}


@dataclass(frozen=True)
class Explanation:
    """An EXPLAIN statement after all checks."""

    model: StoredModel
    query: str
    columns: tuple[str, ...]
    label: str
    rows: int
    repeats: int
    seed: int
    attributes: Attributes


def prepare(statement: Explain, engine: Engine, store: ModelStore) -> Explanation:
    """Check a statement; nothing is changed. Raises SqlError, at its place, for whatever is wrong with it."""
    model = store.find(statement.model)
    if statement.explainer is not None and statement.explainer.text.lower() not in EXPLAINERS:
        near = did_you_mean(statement.explainer.text.lower(), EXPLAINERS)
        raise SqlError(f"there is no explainer {statement.explainer.text!r}.{near} There is: {', '.join(EXPLAINERS)}",
                       statement.explainer.position)  # fmt: skip
    if model.record["own_input"]:
        raise SqlError(f"{statement.model} reads its columns itself; EXPLAIN is for models with features",
                       statement.model.position)  # fmt: skip
    attributes = read_attributes(statement.attributes, "predict", None, tuple(_OWN))
    check_job("predict", attributes.job, trained_model="x", data="x", output="x.parquet")
    own = {**_OWN, **attributes.own}
    for name in ("rows", "repeats", "seed"):
        least = 0 if name == "seed" else 1
        if not isinstance(own[name], int) or isinstance(own[name], bool) or own[name] < least:
            raise SqlError(f"{name}: {own[name]!r} does not do: a whole number of at least {least} is needed")
    kinds = describe(engine, statement.select, statement.select_position)
    columns = needed_columns(model, kinds, statement.select_position, statement.model)
    label = model.record["label"]["column"] if model.record["label"]["column"] in kinds else ""
    check_result_table(engine, statement.into, attributes)
    query = pull_query(engine, statement.select, kinds, [*columns, *([label] if label else [])], label)
    return Explanation(model, query, columns, label, own["rows"], own["repeats"], own["seed"], attributes)


def run(explanation: Explanation, engine: Engine, on_job: Callable[[Job], None] | None) -> tuple[Job, pa.Table, str]:
    """Explain; return the job, the columns with their importances (the greatest first), and what these measure."""
    sample = _sample(engine, explanation)
    features = sample.select(list(explanation.columns))
    random = np.random.default_rng(explanation.seed)
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        output = os.path.join(folder, "predictions.parquet")
        reader = pa.RecordBatchReader.from_batches(features.schema, _mixed(features, explanation.repeats, random))
        job = predicting.start(explanation.model, reader, output, explanation.attributes.job)
        if on_job is not None:
            on_job(job)
        predicting.wait_for(job)
        outputs = np.concatenate(list(predicting.read_outputs(output)))
    rows = sample.num_rows
    blocks = outputs.reshape(-1, rows, *outputs.shape[1:])
    label = sample.column(explanation.label) if explanation.label else None
    error, measure = _error(explanation.model, label, blocks[0])
    found = []
    for place, column in enumerate(explanation.columns):
        first = 1 + place * explanation.repeats
        growth = [error(block) - error(blocks[0]) for block in blocks[first : first + explanation.repeats]]
        found.append((column, float(np.mean(growth)), float(np.std(growth))))
    found.sort(key=lambda item: -item[1])
    names, means, deviations = zip(*found, strict=True)
    return job, pa.table({"feature": names, "importance": means, "deviation": deviations}), measure


def _sample(engine: Engine, explanation: Explanation) -> pa.Table:
    """Return rows of the query, chosen by chance if it has more than are wanted (reservoir sampling by batches)."""
    random = np.random.default_rng(explanation.seed)
    kept: pa.Table | None = None
    keys = np.empty(0)
    for batch in engine.stream(explanation.query):
        table = pa.Table.from_batches([batch])
        table = table if kept is None else pa.concat_tables([kept, table])
        keys = np.concatenate([keys, random.random(batch.num_rows)])
        chosen = np.sort(np.argsort(keys)[: explanation.rows])
        kept, keys = table.take(pa.array(chosen)), keys[chosen]
    if kept is None or not kept.num_rows:
        raise SqlError("the query gives no rows")
    return kept.combine_chunks()


def _mixed(features: pa.Table, repeats: int, random: np.random.Generator) -> Iterator[pa.RecordBatch]:
    yield from features.to_batches()
    for place, name in enumerate(features.schema.names):
        for _ in range(repeats):
            mixed = features.column(name).take(pa.array(random.permutation(features.num_rows)))
            yield from features.set_column(place, features.schema.field(place), mixed).combine_chunks().to_batches()


def _error(
    model: StoredModel, label: pa.ChunkedArray | None, before: np.ndarray[Any, Any]
) -> tuple[Callable[[np.ndarray[Any, Any]], float], str]:
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


def _chosen(outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (outputs > 0.5).astype(int) if outputs.ndim == 1 else outputs.argmax(axis=-1)


# ------------------------------------------------------------------ the picture


def bars(names: Sequence[str], values: Sequence[float], title: str) -> str:
    """Return a bar for each value as an SVG picture, the names on the left."""
    from xml.sax.saxutils import escape

    shown = list(zip(names, values, strict=True))[:30]
    left = 20 + 7 * max(len(name[:40]) for name, _ in shown)
    width, height = left + 420, 40 + 22 * len(shown)
    largest = max((abs(value) for _, value in shown), default=0.0) or 1.0
    parts = [f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>']
    for place, (name, value) in enumerate(shown):
        top = 32 + 22 * place
        length = 320 * abs(value) / largest
        colour = "#3b78c2" if value >= 0 else "#b0b0b0"
        label = name if len(name) <= 40 else f"{name[:39]}…"
        parts.append(f'<text x="{left - 8}" y="{top + 13}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect x="{left}" y="{top + 2}" width="{length:.1f}" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{top + 13}">{value:.4g}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12">{"".join(parts)}</svg>'
    )
