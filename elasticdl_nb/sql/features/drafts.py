"""Drafts of features: what a statement asks for, or a column's kind suggests, before the database is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elasticdl_nb.sql.features.columntypes import LIST
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.tables.featurerecord import Category, Feature, Number, Source
from elasticdl_nb.tables.kinds import MOMENTS, NUMBERS, SPANS


@dataclass(frozen=True)
class Draft:
    """A feature yet to be finished, the model's input that it is for, and where the statement asks for it.

    `derived` means that no COLUMN clause asks for this column by name.
    """

    target: str
    feature: Feature
    position: Position | None = None
    derived: bool = False


def derive(column: str, kind: str) -> list[Feature]:
    """Return drafts of the features for a column of this kind; none for kinds that cannot be features.

    The size of a list is 0 until the database has been asked.
    """
    if kind in NUMBERS or kind in SPANS:
        return [Number(column)]
    if kind in MOMENTS:
        parts = ["time", "month", "day", "weekday", *(["hour"] if kind == "timestamp" else [])]
        return [Number(column, part=part) for part in parts]
    if kind == LIST:
        return [Number(column, size=0, delimiter=",")]
    if kind == "text":
        return [Category(vocabulary(column), output="embedding")]
    return []


def derive_all(kinds: Mapping[str, str], label: str, target: str = "", position: Position | None = None) -> list[Draft]:
    """Return the drafts for all of a query's columns except the label, for one of the model's inputs."""
    return [
        Draft(target, feature, position, derived=True)
        for column, kind in kinds.items()
        if column != label
        for feature in derive(column, kind)
    ]


def vocabulary(column: str) -> Source:
    """Return the draft of a source with an id for each of the column's values."""
    return Source("vocabulary", column, terms=None)
