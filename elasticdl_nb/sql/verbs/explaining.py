"""EXPLAIN: how much a trained model's predictions owe to each column."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Attribute, Explain
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.store import ModelStore, StoredModel, needed_columns
from elasticdl_nb.sql.verbs import predicting, shapley
from elasticdl_nb.sql.verbs.evaluating import check_result_table
from elasticdl_nb.sql.verbs.explainers import Explainer, Importances, IntegratedGradients, Permutation
from elasticdl_nb.sql.verbs.training import describe, pull_query

if TYPE_CHECKING:
    from elasticdl_nb.job import Job

_KINDS: Mapping[str, type[Explainer]] = {
    "permutation": Permutation, "integrated_gradients": IntegratedGradients, "shap": shapley.Shap,
}  # fmt: skip
EXPLAINERS = tuple(_KINDS)
# What SQLFlow's statements name: classes of the package shap. They are for certain models, and shap's way for all
# models does the same.
_ALIASES = {
    f"{name}explainer": "shap"
    for name in ("tree", "deep", "kernel", "gradient", "permutation", "sampling", "linear", "exact", "shap")
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "permutation": {"rows": 2000, "repeats": 5, "seed": 0},
    "integrated_gradients": {"rows": 2000, "steps": 20, "seed": 0},
    "shap": {"rows": 100, "repeats": 2, "background": 20, "seed": 0, "summary.plot_type": "dot",
             "summary.max_display": 20, "summary.sort": True, "summary.alpha": 1.0},
}  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """An EXPLAIN statement after all checks."""

    model: StoredModel
    query: str
    columns: tuple[str, ...]
    label: str
    explainer: str
    settings: dict[str, Any]
    attributes: Attributes


def prepare(statement: Explain, engine: Engine, store: ModelStore) -> Explanation:
    """Check a statement; nothing is changed. Raises SqlError, at its place, for whatever is wrong with it."""
    model = store.find(statement.model)
    explainer = _explainer(statement)
    if model.record["own_input"] and explainer == "integrated_gradients":
        raise SqlError(f"{statement.model} reads its columns itself; integrated gradients are for models with features",
                       statement.explainer.position if statement.explainer else None)  # fmt: skip
    defaults = _DEFAULTS[explainer]
    places = {attribute.key: attribute for attribute in map(_as_today, statement.attributes)}
    attributes = read_attributes(list(places.values()), "predict", None, (*defaults, "replace"))
    check_job("predict", attributes.job, trained_model="x", data="x", output="x.parquet")
    settings = {name: _setting(name, default, attributes.own, places) for name, default in defaults.items()}
    kinds = describe(engine, statement.select, statement.select_position)
    columns = needed_columns(model, kinds, statement.select_position, statement.model)
    label = (model.record["label"] or {}).get("column", "")
    label = label if label in kinds else ""
    check_result_table(engine, statement.into, attributes)
    query = pull_query(engine, statement.select, kinds, [*columns, *([label] if label else [])], label)
    return Explanation(model, query, columns, label, explainer, settings, attributes)


def _explainer(statement: Explain) -> str:
    if statement.explainer is None:
        summary = any(_as_today(attribute).key.startswith("summary.") for attribute in statement.attributes)
        name = "shap" if summary else "permutation"
    else:
        given = statement.explainer.text.lower().replace("_", "")
        names = {**_ALIASES, **{name.replace("_", ""): name for name in EXPLAINERS}}
        if given not in names:
            near = did_you_mean(given, EXPLAINERS)
            raise SqlError(
                f"there is no explainer {statement.explainer.text!r}.{near} There are: {', '.join(EXPLAINERS)}",
                statement.explainer.position,
            )
        name = names[given]
    missing = shapley.missing_package() if name == "shap" else ""
    if missing:
        raise SqlError(f"this explanation needs {missing}, which is not installed; pip install 'elasticdl_nb[shap]' "
                       "brings it", statement.explainer.position if statement.explainer else None)  # fmt: skip
    return name


def _as_today(attribute: Attribute) -> Attribute:
    """Return the attribute by the name that is in use: `summary.…` was `shap_summary.…` once."""
    return replace(attribute, key=attribute.key.removeprefix("shap_"))


def _setting(name: str, default: Any, given: Mapping[str, Any], places: Mapping[str, Attribute]) -> Any:
    if name not in given:
        return default
    value = given[name]
    if name == "summary.plot_type":
        fits, needed = value in shapley.PLOTS, f"one of {', '.join(shapley.PLOTS)}"
    elif isinstance(default, bool):
        fits, needed = isinstance(value, bool), "true or false"
    elif isinstance(default, float):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1
        needed = "a number above 0 and up to 1"
    else:
        least = 0 if name == "seed" else 1
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        needed = f"a whole number of at least {least}"
    if not fits:
        raise SqlError(f"{name}: {value!r} does not do: {needed} is needed", places[name].value_position)
    return value


def run(explanation: Explanation, engine: Engine, on_job: Callable[[Job], None] | None) -> tuple[Job, Importances]:
    """Explain by one prediction job; return it, and what each column is worth."""
    sample = _sample(engine, explanation)
    features = sample.select(list(explanation.columns))
    label = sample.column(explanation.label) if explanation.label else None
    explainer = _KINDS[explanation.explainer](explanation.model, features, label, explanation.settings)
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        output = os.path.join(folder, "predictions.parquet")
        reader = pa.RecordBatchReader.from_batches(features.schema, explainer.rows())
        job = predicting.start(explainer.model_to_ask(folder), reader, output, explanation.attributes.job)
        if on_job is not None:
            on_job(job)
        predicting.wait_for(job)
        outputs = np.concatenate(list(predicting.read_outputs(output)))
    return job, explainer.importances(outputs)


def _sample(engine: Engine, explanation: Explanation) -> pa.Table:
    """Return rows of the query, chosen by chance if it has more than are wanted (reservoir sampling by batches)."""
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
        raise SqlError("the query gives no rows")
    return kept.combine_chunks()


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
