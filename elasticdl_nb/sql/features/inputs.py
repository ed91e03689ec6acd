"""`Inputs`: what a model sees of a query during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from elasticdl_nb.runtime.spec.tableoptions import TableOptions
from elasticdl_nb.sql.features.label import about_label
from elasticdl_nb.sql.features.matching import check_classes, needed_columns
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import collect
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name, Position, Train
from elasticdl_nb.sql.models.finding import Model
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.tables.featurerecord import Category, Feature


@dataclass(frozen=True)
class Inputs:
    """The query's `columns` that are read, and how they are used; see `ModelRecord`.

    `params` are the model's arguments, including those that follow from the label. `messages` are shown to users.
    """

    columns: tuple[str, ...]
    kinds: Mapping[str, str]
    described: tuple[str, ...]
    params: Mapping[str, Any]
    label: Label | None = None
    features: Mapping[str, tuple[Feature, ...]] = field(default_factory=dict)
    initial: str = ""
    messages: tuple[str, ...] = ()


def with_table_options(inputs: Inputs, options: TableOptions, position: Position | None) -> Inputs:
    """Return the inputs with these options for their embeddings, where a feature does not say otherwise.

    Raises SqlError if there are no embeddings.
    """
    changed: dict[str, tuple[Feature, ...]] = {}
    described = list(inputs.described)
    if not any(
        isinstance(one, Category) and one.output == "embedding" for of in inputs.features.values() for one in of
    ):
        raise SqlError("train.embedding: no column becomes an embedding; use EMBEDDING(column, 16)", position)
    for target, listed in inputs.features.items():
        for feature in listed:
            if isinstance(feature, Category) and feature.output == "embedding":
                own = options if feature.options is None else feature.options.over(options)
                changed_one = replace(feature, options=own)
                described = [one.replace(feature.describe(), changed_one.describe()) for one in described]
                changed.setdefault(target, ())
                changed[target] += (changed_one,)
            else:
                changed[target] = (*changed.get(target, ()), feature)
    return replace(inputs, features=changed, described=tuple(described))


def as_they_are(statement: Train, model: Model, rows: Selection, params: Mapping[str, Any]) -> Inputs:
    """Return the inputs of a model that reads the query's columns itself; raise SqlError for clauses on features."""
    if statement.columns:
        place = statement.columns[0].items[0].position
        raise SqlError(f"{model.name} reads the query's columns itself; COLUMN does not apply to it", place)
    if statement.warm_start is not None:
        raise SqlError(f"{model.name} reads the query's columns itself; USING is for models with features",
                       statement.warm_start.position)  # fmt: skip
    described = tuple(f"{name}: as it is" for name in rows.kinds)
    message = f"{model.name} reads the query's columns itself, including the label"
    return Inputs(tuple(rows.kinds), rows.kinds, described, params, messages=(message,))


def those_of(former: StoredModel, name: Name, statement: Train, rows: Selection, params: Mapping[str, Any]) -> Inputs:
    """Return the inputs of the trained model that this one continues from; raise SqlError if it does not fit."""
    record = former.record
    if record.model != statement.model.text:
        raise SqlError(f"{name} is a {record.model}, not a {statement.model}", name.position)
    if statement.columns:
        place = statement.columns[0].items[0].position
        raise SqlError(f"a model that continues from {name} has its features, so COLUMN does not apply", place)
    if record.label is None:
        raise SqlError(f"{name} reads its columns itself; USING is for models with features", name.position)
    label = record.label.column
    if statement.label is not None:
        given = rows.column(statement.label.parts[-1], statement.label.position)
        if given != label:
            raise SqlError(f"the label of {name} is {label!r}", statement.label.position)
    columns = needed_columns(former, name, rows, label=True)
    check_classes(rows, record.label)
    said = about_label(rows, label, collect(rows, [label], [])[label])
    message = f"continues from {name}, with its features and label"
    return Inputs(
        columns, record.kinds, record.described, {**record.params, **params}, record.label, record.features,
        former.path, (message, *said),
    )  # fmt: skip
