"""Decides what a model that was trained on a table sees of another table on which its training goes on: the same.

Its weights belong to the means, categories and classes of the first training, so these stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.tables.choosing import check_classes
from elasticdl_nb.tables.facts import Facts
from elasticdl_nb.tables.kinds import family
from elasticdl_nb.tables.tablerecord import TableColumn, TableRecord


def check_same_columns(
    earlier: TableRecord, kinds: Mapping[str, str], label: str, features: Sequence[str], place: str
) -> None:
    """Raise OptionError if a table with columns of these kinds lacks what the model at `place` was trained with."""
    if label != earlier.label.column:
        raise OptionError("label", f"{label!r}, but the model in {place} learned to predict {earlier.label.column!r}")
    if features and list(features) != earlier.names:
        listed = ", ".join(map(repr, earlier.names))
        raise OptionError("features", f"the model in {place} was trained with {listed}; leave features out")
    for name, kind in earlier.kinds.items():
        if name not in kinds:
            raise OptionError("data", f"has no column {name!r}, with which the model in {place} was trained")
        if kinds[name] == "empty":
            raise OptionError("data", f"the column {name!r} has no values; the model in {place} was trained with some")
        if family(kinds[name]) != family(kind):
            raise OptionError(
                "data", f"the column {name!r} is {kinds[name]}, but in the training of {place} it was {kind}"
            )


def continued(earlier: TableRecord, facts: Mapping[str, Facts], place: str) -> TableRecord:
    """Return the record for a table with these facts, with notes on what is new in it.

    Raises OptionError for a class that the model at `place` does not know.
    """
    label, known = earlier.label, facts[earlier.label.column]
    if not known.known:
        raise OptionError("label", f"{label.column!r} has no values")
    check_classes(label, known, "data")
    notes = [f"goes on with the means, categories and classes of {place}"]
    columns = []
    for column in earlier.columns:
        now = facts[column.name]
        notes += _news(column, now)
        if now.known and column.category is None:
            column = replace(column, low=min(column.low, now.low), high=max(column.high, now.high))
        columns.append(column)
    if not label.is_category:
        label = replace(label, low=min(label.low, known.low), high=max(label.high, known.high))
    return replace(earlier, columns=tuple(columns), label=label, notes=tuple(notes))


def _news(column: TableColumn, now: Facts) -> list[str]:
    notes = []
    if column.category is None:
        if now.missing:
            how = f"filled with the mean of the first training, {column.number.mean:.6g}"
            notes.append(f"{column.name}: {now.missing:,} of {now.rows:,} missing, {how}")
        return notes
    if now.missing:
        how = "a category of their own" if column.missing else "which count as unseen"
        notes.append(f"{column.name}: {now.missing:,} of {now.rows:,} missing, {how}")
    terms = column.category.source.terms
    if terms is not None and (new := [text for text in now.values or () if text not in set(terms)]):
        notes.append(f"{column.name}: texts that are new ({len(new):,}, such as {new[0]!r}) count as unseen")
    return notes
