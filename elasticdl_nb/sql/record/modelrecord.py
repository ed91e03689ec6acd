"""The record of a model trained in SQL: how it was made, and what its code needs to know.

It is kept in a file of the model's zoo: see `recordjson`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from elasticdl_nb.tables.featurerecord import Category, Feature, Source, columns_of

VERSION = 2
"""The current version of records. With version 1, the code that reads a record was copied into the model's zoo. Since
version 2, that code is `elasticdl_nb.sql.zoo`.
"""

Task = Literal["regression", "classification", "probability", ""]
"""What the label is: a number, one of several classes, one of two classes, or whatever the model's own loss takes."""

OWN_STEPS = (
    "a model that is trained in SQL gets its columns from another one around it, for which its own steps are not "
    "called; leave it out, or train the model on a table with elasticdl train"
)
"""Why a model may not have one of `contract.STEPS`."""


@dataclass(frozen=True)
class Chosen:
    """An optimizer or loss by its Keras name, or the model's own if there is no name, with its arguments."""

    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """The label: its column, the column's kind, and how the model sees it.

    `classes` are the values that the model distinguishes, in the order of their numbers. `scale` is the mean and
    deviation of a label that is a number.
    """

    column: str
    kind: str
    task: Task
    classes: tuple[Any, ...] | None = None
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Attributions:
    """The columns to compute integrated gradients for, and the number of steps."""

    columns: tuple[str, ...]
    steps: int


@dataclass(frozen=True)
class ModelRecord:
    """See the module. `model` is the name that the statement gave; `module` and `class_name` say where its code is.

    `kinds` has the kind of each column of the training query, and `features` the features of each of the model's inputs
    ("" if it has only one). A model that reads the query's columns itself (`own_input`) has neither features nor a
    label. `initial` is the path of the model that this one continues from, and `described` the features in words.
    `params` and `job` are the values of WITH: arguments of the model, and options of the job. `given` are the values of
    the statement's parameters (`:name`). `watermark` is the column by which a training that follows its query knows new
    rows; empty for any other.
    """

    statement: str
    model: str
    module: str
    class_name: str
    own_input: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Chosen = Chosen()
    loss: Chosen = Chosen()
    metrics: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    label: Label | None = None
    features: Mapping[str, tuple[Feature, ...]] = field(default_factory=dict)
    described: tuple[str, ...] = ()
    initial: str = ""
    attributions: Attributions | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    watermark: str = ""
    version: int = VERSION

    def columns(self) -> list[str]:
        """Return the columns that the features are made of."""
        return columns_of(feature for listed in self.features.values() for feature in listed)

    def sources(self) -> list[Source]:
        """Return every source of ids."""
        features = [feature for listed in self.features.values() for feature in listed]
        return [source for item in features if isinstance(item, Category) for source in item.source.all()]

    def with_sources(self, change: Callable[[Source], Source]) -> ModelRecord:
        """Return the record with `change` applied to every source of ids."""

        def changed(feature: Feature) -> Feature:
            return replace(feature, source=feature.source.changed(change)) if isinstance(feature, Category) else feature

        listed = {target: tuple(map(changed, features)) for target, features in self.features.items()}
        return replace(self, features=listed)
