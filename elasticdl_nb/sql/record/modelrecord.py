"""The record of a model that was trained in SQL: how it was made, and what its own code needs to know.

It is kept in a file of the model's zoo: see `recordjson`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from elasticdl_nb.sql.record.featurerecord import Category, Feature, Source, columns_of

VERSION = 2
"""The version of records today. With version 1 the code that reads a record was copied into the model's zoo; since
version 2 that code is `elasticdl_nb.sql.zoo`.
"""

Task = Literal["regression", "classification", "probability", ""]
"""What the label is: a number, one of several classes, one of two; or whatever the model's own loss makes of it."""


@dataclass(frozen=True)
class Chosen:
    """An optimizer or loss by Keras' name, or the model's own if there is no name, with arguments."""

    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """The label: its column, of which kind that is, and how the model sees it.

    `classes` are the values that the model tells apart, in the order of their numbers; `scale` is the mean and the
    deviation of a label that is a number.
    """

    column: str
    kind: str
    task: Task
    classes: tuple[Any, ...] | None = None
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Attributions:
    """What integrated gradients are to be taken of, and in how many steps."""

    columns: tuple[str, ...]
    steps: int


@dataclass(frozen=True)
class ModelRecord:
    """See the module. `model` is the name that the statement gave, `module` and `class_name` say where its code is.

    `kinds` are those of the training query's columns, `features` those of each of the model's inputs ("" if it has but
    one); a model that reads the query's columns itself (`own_input`) has neither features nor a label. `initial` is the
    path of the model that this one goes on from, `described` the features in words. `params` and `job` are the values
    of WITH: arguments of the model, and options of the job.
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
    version: int = VERSION

    def columns(self) -> list[str]:
        """Return the columns that the features are made of."""
        return columns_of(feature for listed in self.features.values() for feature in listed)

    def sources(self) -> list[Source]:
        """Return every source of ids."""
        features = [feature for listed in self.features.values() for feature in listed]
        return [source for item in features if isinstance(item, Category) for source in item.source.all()]

    def with_sources(self, change: Callable[[Source], Source]) -> ModelRecord:
        """Return the record with `change` made to every source of ids."""

        def changed(feature: Feature) -> Feature:
            return replace(feature, source=feature.source.changed(change)) if isinstance(feature, Category) else feature

        listed = {target: tuple(map(changed, features)) for target, features in self.features.items()}
        return replace(self, features=listed)
