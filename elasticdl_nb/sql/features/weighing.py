"""The weights of rows and classes in a TRAIN statement: `train.sample_weight` and `train.class_weight`."""

from __future__ import annotations

from collections.abc import Mapping

from elasticdl_nb.sql.features.selection import Selection, find_column
from elasticdl_nb.sql.features.statistics import collect
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.tables.kinds import NUMBERS


def weight_column(name: str, rows: Selection, place: Position | None) -> str:
    """Return the column of the rows' weights as the query writes it; raise SqlError if it has no numbers."""
    column = find_column(name, rows.kinds, place)
    if rows.kinds[column] not in NUMBERS:
        kind = rows.types.get(column, rows.kinds[column])
        raise SqlError(f"the column of weights {column!r} is {kind}, not a number", place)
    return column


def check_weights(column: str, rows: Selection, place: Position | None) -> None:
    """Raise SqlError if a weight is missing, negative or not finite."""
    about = collect(rows, [column], [])[column]
    where = "" if rows.what == "the query" else f" of {rows.what}"
    for count, what in ((about.missing, "NULL"), (about.odd, "NaN or infinite")):
        if count:
            raise SqlError(f"the weight {column!r} is {what} in {count:,} of {about.rows:,} rows{where}", place)
    if about.minimum is not None and about.minimum < 0:
        raise SqlError(f"the weight {column!r} is {about.minimum:g} in a row{where}; weights are at least 0", place)
    if about.maximum == 0:
        raise SqlError(f"the weight {column!r} is 0 in all rows{where}, so there is nothing to learn", place)


def check_class_weights(weights: Mapping[str, float], label: Label | None, place: Position | None) -> None:
    """Raise SqlError for weights of classes that the label does not have."""
    if not weights or label is None or label.task == "":
        return
    if label.classes is None:
        problem = f"class_weight is for models that predict a class, but the label {label.column!r} is a number"
        raise SqlError(problem, place)
    for number in weights:
        if int(number) >= len(label.classes):
            listed = ", ".join(f"{order}: {value!r}" for order, value in enumerate(label.classes[:10]))
            raise SqlError(f"class_weight: there is no class {number}; the classes are {listed}", place)
