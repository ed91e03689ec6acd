"""TRAIN: from a statement to a job."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticdl_nb.given.namedobjects import CAPTURED_MODULE
from elasticdl_nb.job.naming import make_name
from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.features.columns import compile_columns, find_column
from elasticdl_nb.sql.features.drafts import (
    MOST_TERMS,
    NUMBERS,
    Category,
    Draft,
    Feature,
    Number,
    Statistics,
    as_factors,
    as_linear,
    columns_of,
    derive,
    kind_of,
    to_json,
)
from elasticdl_nb.sql.features.statistics import collect, values
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Columns, Name, Position, Train
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.code import MODULE, write_zoo
from elasticdl_nb.sql.models.finding import DEEP, FIELDS, LINEAR, Model, find_model
from elasticdl_nb.sql.models.metrics import check_metrics, metrics_option
from elasticdl_nb.sql.models.store import ModelStore, needed_columns

if TYPE_CHECKING:
    from elasticdl_nb.job import Job

MOST_CLASSES = 1000


@dataclass(frozen=True)
class Training:
    """A TRAIN statement after all checks: everything that its job needs."""

    model: Model
    into: str
    store: ModelStore
    query: str
    validation: str
    record: dict[str, Any]
    job: dict[str, Any]
    features: tuple[str, ...]
    messages: tuple[str, ...] = field(default=())

    def options(self) -> dict[str, Any]:
        """Return the options of the job but for its data and its zoo."""
        given: dict[str, Any] = {"params": self.record["params"], "output": f"{self.store.path}/{self.into}"}
        if self.model.own_input:
            code = f"{self.record['module']}.{self.record['class']}"
            given["model_def"] = self.model.model_def or code
        else:
            given["model_def"] = f"{MODULE}.custom_model"
        given |= metrics_option(self.record["metrics"])
        return {**given, "overwrite": True, "job_name": make_name("train", self.into), **self.job}


def prepare(statement: Train, engine: Engine, store: ModelStore, namespace: Mapping[str, Any]) -> Training:
    """Check a statement and ask the database what its features need; nothing is changed.

    Raises SqlError, at its place, for whatever is wrong with the statement.
    """
    model = find_model(statement.model, namespace)
    store.location(statement.into)
    attributes = read_attributes(statement.attributes, "train", model)
    _check_model(model, attributes, statement.model)
    check_job("train", attributes.job, model_def="x", data="x", output="x")
    kinds = describe(engine, statement.select, statement.select_position)
    if attributes.validation_select:
        _check_validation(engine, attributes, kinds)
    if model.own_input:
        if statement.columns:
            place = _place_of(statement.columns)
            raise SqlError(f"{model.name} reads the query's columns itself; COLUMN does not apply to it", place)
        if statement.warm_start is not None:
            raise SqlError(f"{model.name} reads the query's columns itself; USING is for models with features",
                           statement.warm_start.position)  # fmt: skip
        return _own_input(statement, model, attributes, kinds, engine, store)
    if statement.warm_start is not None:
        return _going_on(statement, statement.warm_start, model, attributes, kinds, engine, store)
    return _with_features(statement, model, attributes, kinds, engine, store)


def describe(engine: Engine, query: str, place: Position | None) -> dict[str, str]:
    """Return the kinds of the query's columns; raise SqlError, at the query's place, if it is wrong."""
    try:
        return {item.name: kind_of(item.type) for item in engine.describe(query)}
    except SqlError as error:
        raise error.at(place) from None


def _check_model(model: Model, attributes: Attributes, name: Name) -> None:
    if model.value is None or attributes.loss["name"]:
        return
    if not hasattr(model.value, "default_loss"):
        raise SqlError(f"{model.name} has no default_loss; define it, or say which: WITH loss='mse'", name.position)


def _check_validation(engine: Engine, attributes: Attributes, kinds: Mapping[str, str]) -> None:
    try:
        there = describe(engine, attributes.validation_select, None)
    except SqlError as error:
        raise SqlError(f"validation.select: {error.problem}", attributes.validation_position) from None
    missing = [name for name in kinds if name not in there]
    if missing:
        raise SqlError(
            f"validation.select gives no column {missing[0]!r}, which the training query gives",
            attributes.validation_position,
        )


def _place_of(columns: Sequence[Columns]) -> Position:
    return columns[0].items[0].position


def _own_input(
    statement: Train, model: Model, attributes: Attributes, kinds: dict[str, str], engine: Engine, store: ModelStore
) -> Training:
    record = _record(statement, model, attributes, kinds)
    check_metrics(attributes.metrics, attributes.metrics_position, record)
    described = tuple(f"{name}: as it is" for name in kinds)
    message = f"{model.name} reads the query's columns itself, the label included"
    record["described"] = list(described)
    return Training(
        model, statement.into.text, store, pull_query(engine, statement.select, kinds, list(kinds)),
        _validation_query(engine, attributes, kinds, list(kinds), ""), record, attributes.job, described, (message,),
    )  # fmt: skip


def _with_features(
    statement: Train, model: Model, attributes: Attributes, kinds: dict[str, str], engine: Engine, store: ModelStore
) -> Training:
    label = _label_column(statement, kinds)
    messages = []
    if statement.label is None:
        messages.append(f"label: {label}, the last column of the query (LABEL would name another)")
    drafts = _drafts(statement, model, attributes, kinds, label)
    asked = columns_of(draft.feature for draft in drafts)
    vocabularies = _vocabularies(drafts)
    known = collect(engine, statement.select, kinds, [*asked, label], vocabularies)
    if not known[label].rows:
        raise SqlError("the query gives no rows", statement.select_position)
    if known[label].missing == known[label].rows:
        raise SqlError(f"all values of the label {label!r} are NULL", statement.select_position)
    if known[label].missing:
        messages.append(f"{known[label].missing:,} rows without a label ({label} is NULL) are left out")
    messages += _remarks(drafts, known)
    features = _finish(drafts, model, attributes, known, statement)
    classes = _classes(engine, statement, model, attributes, kinds[label], label)
    record = _record(statement, model, attributes, kinds)
    scale = [known[label].mean, known[label].deviation or 1.0] if model.task == "regression" else None
    record["label"] = {
        "column": label, "kind": kinds[label], "task": model.task, "classes": classes, "scale": scale,
    }  # fmt: skip
    check_metrics(attributes.metrics, attributes.metrics_position, record)
    if attributes.validation_select:
        check_classes(
            engine, attributes.validation_select, record["label"], "validation.select", attributes.validation_position
        )
    record["features"] = to_json(features)
    described = tuple(
        f"{feature.describe()}{f' (for {target})' if target else ''}"
        for target, listed in features.items()
        for feature in listed
    )
    record["described"] = list(described)
    used = list(dict.fromkeys([*columns_of(item for listed in features.values() for item in listed), label]))
    return Training(
        model, statement.into.text, store, pull_query(engine, statement.select, kinds, used, label),
        _validation_query(engine, attributes, kinds, used, label), record, attributes.job, described, tuple(messages),
    )  # fmt: skip


def _going_on(
    statement: Train, name: Name, model: Model, attributes: Attributes, kinds: dict[str, str], engine: Engine,
    store: ModelStore,
) -> Training:  # fmt: skip
    """Take features, label and, where the statement gives none, attributes from a trained model."""
    former = store.find(name)
    if former.record["model"] != model.name:
        raise SqlError(f"{name} is a {former.record['model']}, not a {model.name}", name.position)
    if statement.columns:
        raise SqlError(f"a model that goes on from another has the features of {name}", _place_of(statement.columns))
    label = former.record["label"]["column"]
    if statement.label is not None and _label_column(statement, kinds) != label:
        raise SqlError(f"the label of {name} is {label!r}", statement.label.position)
    used = needed_columns(former, kinds, statement.select_position, name, label=True)
    attributes.params = {**former.record["params"], **attributes.params}
    record = _record(statement, model, attributes, kinds)
    record |= {key: former.record[key] for key in ("label", "features", "described", "kinds")}
    check_metrics(attributes.metrics, attributes.metrics_position, record)
    check_classes(engine, statement.select, record["label"], "the query", statement.select_position)
    if attributes.validation_select:
        check_classes(
            engine, attributes.validation_select, record["label"], "validation.select", attributes.validation_position
        )
    record["initial"] = former.path
    return Training(
        model, statement.into.text, store, pull_query(engine, statement.select, kinds, used, label),
        _validation_query(engine, attributes, kinds, used, label), record, attributes.job,
        tuple(record["described"]), (f"goes on from {name}, with its features and label",),
    )  # fmt: skip


def _record(statement: Train, model: Model, attributes: Attributes, kinds: dict[str, str]) -> dict[str, Any]:
    """Return what is kept with the model: how it was made, and what its own code needs."""
    return {
        "version": 1, "statement": statement.text, "model": model.name, "own_input": model.own_input,
        "module": CAPTURED_MODULE if model.value is not None else model.module, "class": model.class_name,
        "params": attributes.params, "job": attributes.job, "optimizer": attributes.optimizer,
        "loss": attributes.loss, "metrics": attributes.metrics, "kinds": kinds, "label": None, "features": {},
        "described": [], "initial": "",
    }  # fmt: skip


# ------------------------------------------------------------------ features and label


def _label_column(statement: Train, kinds: Mapping[str, str]) -> str:
    if statement.label is None:
        if len(kinds) < 2:
            raise SqlError(
                "the query gives one column only; features and a label are needed", statement.select_position
            )
        return list(kinds)[-1]
    return find_column(statement.label.parts[-1], kinds, statement.label.position)


def _drafts(
    statement: Train, model: Model, attributes: Attributes, kinds: Mapping[str, str], label: str
) -> list[Draft]:
    given = compile_columns(statement.columns, kinds)
    for draft in given:
        if label in columns_of([draft.feature]):
            raise SqlError(f"{label!r} is the label; as a feature it would give itself away", draft.position)
    derived = [
        Draft("", feature, derived=True)
        for column, kind in kinds.items()
        if column != label
        for feature in derive(column, kind)
    ]
    if model.targets == ("",):
        return given or derived
    known = (LINEAR, DEEP)
    for draft in given:
        if draft.target not in ("", *known):
            raise SqlError(
                f"{model.name} has no features {draft.target!r}; it has {' and '.join(known)}", draft.position
            )
    common = [draft for draft in given if not draft.target] or derived
    targets = {target: [d for d in given if d.target == target] or common for target in known}
    return [Draft(target, d.feature, d.position, d.derived) for target, listed in targets.items() for d in listed]


def _vocabularies(drafts: Sequence[Draft]) -> list[str]:
    found: list[str] = []

    def visit(source: Any) -> None:
        if source.ids == "vocabulary":
            found.append(source.column)
        for inner in source.sources:
            visit(inner)

    for draft in drafts:
        if isinstance(draft.feature, Category):
            visit(draft.feature.source)
    return list(dict.fromkeys(found))


def _remarks(drafts: Sequence[Draft], known: Mapping[str, Statistics]) -> list[str]:
    """Say what of the data is handled in a way that people should know of."""
    remarks = []
    features: dict[str, Feature] = {}
    for draft in drafts:
        for column in columns_of([draft.feature]):
            features.setdefault(column, draft.feature)
    for column, feature in features.items():
        about = known[column]
        if _is_left_out(feature, about) and any(d.derived and column in columns_of([d.feature]) for d in drafts):
            what = "is NULL" if about.missing == about.rows else "has one value"
            remarks.append(f"{column} {what} in all rows and is left out")
            continue
        if about.missing:
            how = "counts as the mean" if isinstance(feature, Number) else "is a category of its own"
            remarks.append(f"{column} is NULL in {about.missing:,} of {about.rows:,} rows: that {how}")
        if len(about.terms) > MOST_TERMS:
            remarks.append(f"{column}: the {MOST_TERMS:,} most frequent values are told apart, the others are not")
        elif len(about.terms) > 20 and len(about.terms) > 0.9 * (about.rows - about.missing):
            remarks.append(f"{column} has a value of its own in almost every row; a model learns little from that")
    return remarks


def _is_left_out(feature: Feature, known: Statistics) -> bool:
    if isinstance(feature, Number) or known.missing == known.rows:
        return known.is_constant
    return len(known.terms) == 1 and not known.missing


def _finish(
    drafts: Sequence[Draft], model: Model, attributes: Attributes, known: Mapping[str, Statistics], statement: Train
) -> dict[str, list[Feature]]:
    features: dict[str, list[Feature]] = {}
    for draft in drafts:
        feature: Feature = draft.feature.finish(known)
        if draft.derived and _is_left_out(draft.feature, known[draft.feature.column]):
            continue
        if draft.target == LINEAR:
            feature = as_linear(feature)
        features.setdefault(draft.target, []).append(feature)
    if not features or any(not listed for listed in features.values()):
        raise SqlError("no column is left that could be a feature", statement.select_position)
    if FIELDS in model.targets:
        return _fields(features, attributes.params.get("embedding_dim", 8), statement)
    return features


def _fields(features: dict[str, list[Feature]], dimension: Any, statement: Train) -> dict[str, list[Feature]]:
    """Divide the dense network's features into numbers, and categories that are all embedded alike."""
    if not isinstance(dimension, int) or dimension < 1:
        raise SqlError(f"embedding_dim: {dimension!r} does not do: a whole number of at least 1 is needed")
    fields = [made for feature in features[DEEP] if (made := as_factors(feature, dimension)) is not None]
    if not fields:
        raise SqlError(f"{statement.model} needs categories, such as a column of texts", statement.model.position)
    numbers: list[Feature] = [feature for feature in features[DEEP] if isinstance(feature, Number)]
    return {LINEAR: features[LINEAR], FIELDS: fields, **({DEEP: numbers} if numbers else {})}


def _classes(
    engine: Engine, statement: Train, model: Model, attributes: Attributes, kind: str, label: str
) -> list[Any] | None:
    place = statement.label.position if statement.label else statement.select_position
    if kind not in (*NUMBERS, "text"):
        raise SqlError(f"the label {label!r} is {kind}; a number, boolean or text is needed", place)
    if model.task == "regression" and kind == "text":
        raise SqlError(f"the label {label!r} is text, and {model.name} predicts a number; DNNClassifier predicts texts",
                       place)  # fmt: skip
    if model.task == "regression" or (model.task == "" and kind != "text"):
        return None
    found = sorted(values(engine, statement.select, label, kind, MOST_CLASSES + 1))
    if len(found) > MOST_CLASSES:
        raise SqlError(f"the label {label!r} has more than {MOST_CLASSES:,} different values, too many for classes; "
                       "DNNRegressor predicts a number", place)  # fmt: skip
    if model.task == "probability" and len(found) != 2:
        raise SqlError(f"the label {label!r} has {len(found)} different values; {model.name} needs exactly 2", place)
    if model.task == "classification":
        wanted = attributes.params.get("n_classes", len(found))
        if not isinstance(wanted, int) or wanted < len(found):
            raise SqlError(f"n_classes: {wanted!r} does not do: the label {label!r} has {len(found)} different values")
        attributes.params["n_classes"] = max(wanted, 2)
    return found


def check_classes(
    engine: Engine, query: str, label: Mapping[str, Any] | None, what: str, place: Position | None = None
) -> None:
    """Raise SqlError if a query gives a value of the label that is none of the classes which a model tells apart."""
    if not label or not label["classes"]:
        return
    kind = describe(engine, query, None)[label["column"]]
    if (kind == "text") != (label["kind"] == "text"):
        raise SqlError(f"{what} gives {label['column']} as {kind}; the model is trained with {label['kind']}", place)
    found = values(engine, query, label["column"], kind, MOST_CLASSES + 1)
    unknown = [value for value in found if value not in label["classes"]]
    if unknown:
        raise SqlError(
            f"{what} gives {label['column']} = {unknown[0]!r}, which is none of the {len(label['classes'])} classes "
            "that the model is trained with", place,
        )  # fmt: skip


# ------------------------------------------------------------------ the data


def pull_query(engine: Engine, query: str, kinds: Mapping[str, str], columns: Sequence[str], label: str = "") -> str:
    """Return the query of these columns alone, in types that Arrow has, of the rows that have a label."""
    listed = []
    for name in columns:
        column = engine.quote(name)
        expression = engine.pulled(f"q.{column}", kinds[name])
        listed.append(f"{expression} AS {column}")
    condition = f" WHERE q.{engine.quote(label)} IS NOT NULL" if label else ""
    return f"SELECT {', '.join(listed)} FROM (\n{query}\n) AS q{condition}"


def _validation_query(
    engine: Engine, attributes: Attributes, kinds: Mapping[str, str], columns: Sequence[str], label: str
) -> str:
    query = attributes.validation_select
    return pull_query(engine, query, kinds, columns, label) if query else ""


# ------------------------------------------------------------------ the job


def start(training: Training, engine: Engine) -> Job:
    """Pull the rows and start the job, which puts the model into the store when it ends."""
    from elasticdl_nb.job.starting import start_job

    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        write_zoo(training.model, training.record, Path(folder))
        given = {"model_zoo": folder, **training.options()}
        given["data"] = engine.stream(training.query)
        if training.validation:
            given["validation_data"] = engine.stream(training.validation)
        return start_job("train", given, wait=False)
