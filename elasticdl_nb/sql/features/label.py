"""The label of a TRAIN statement: which column it is, and how the model sees its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import Statistics, values
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Train, place_of
from elasticdl_nb.sql.models.finding import Model
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.tables.kinds import NUMBERS

MOST_CLASSES = 1000


def label_column(statement: Train, rows: Selection) -> str:
    """Return the label's column, by default the last one; raise SqlError if there is no such column."""
    if statement.label is not None:
        return rows.column(statement.label.parts[-1], statement.label.position)
    if len(rows.kinds) < 2:
        raise SqlError("the query has only one column; expected features and a label", rows.position)
    return list(rows.kinds)[-1]


def about_label(rows: Selection, label: str, known: Statistics) -> list[str]:
    """Return what to say about rows without a label; raise SqlError if there are no others."""
    other = "" if rows.what == "the query" else rows.what
    if not known.rows:
        raise SqlError(f"{rows.what} returns no rows", rows.position)
    if known.missing == known.rows:
        raise SqlError(f"all values of the label {label!r} are NULL{other and f' in {other}'}", rows.position)
    if known.missing + known.odd == known.rows and rows.kinds[label] in NUMBERS:
        has = f"{other} has no value of the label {label!r}" if other else f"the label {label!r} has no value"
        raise SqlError(f"{has} that is a finite number", rows.position)
    reasons = ((known.missing, "is NULL"), (known.odd, "is NaN or infinite"))
    which = f"{other and f'of {other} '}without a label"
    return [_left_out(count, f"{which} ({label} {what})") for count, what in reasons if count]


def _left_out(count: int, which: str) -> str:
    return f"1 row {which} is left out" if count == 1 else f"{count:,} rows {which} are left out"


def label_of(statement: Train, model: Model, rows: Selection, column: str, known: Statistics) -> Label:
    """Return the label as the model sees it; raise SqlError if the model cannot predict such a column."""
    kind = rows.kinds[column]
    place = statement.label.position if statement.label else rows.position
    if kind not in (*NUMBERS, "text"):
        raise SqlError(f"the label {column!r} is {kind}; expected a number, boolean or text", place)
    one_value = f"the label {column!r} {known.sameness} in all rows; there is nothing to learn"
    if kind != "text" and known.is_constant:
        raise SqlError(one_value, place)
    if model.task == "regression":
        if kind == "text":
            raise SqlError(f"the label {column!r} is text, but {model.name} predicts a number; DNNClassifier predicts "
                           "texts", place)  # fmt: skip
        return Label(column, kind, model.task, scale=(known.mean, known.deviation or 1.0))
    if model.task == "" and kind != "text":
        return Label(column, kind, model.task)
    classes = tuple(sorted(values(rows, column, MOST_CLASSES + 1)))
    if len(classes) == 1:
        raise SqlError(one_value, place)
    if len(classes) > MOST_CLASSES:
        raise SqlError(f"the label {column!r} has more than {MOST_CLASSES:,} different values, too many for classes. "
                       "DNNRegressor predicts a number", place)  # fmt: skip
    if model.task == "probability" and len(classes) != 2:
        raise SqlError(
            f"the label {column!r} has {len(classes)} different values, but {model.name} needs exactly 2", place
        )
    return Label(column, kind, model.task, classes)


def with_classes(params: Mapping[str, Any], label: Label, statement: Train) -> dict[str, Any]:
    """Return the model's arguments, with the number of classes for a classifier; raise SqlError if it is too small."""
    if label.task != "classification":
        return dict(params)
    count = len(label.classes or ())
    wanted = params.get("n_classes", count)
    if wanted < count:
        raise SqlError(f"n_classes: {wanted!r} is not valid: the label {label.column!r} has {count} different values",
                       place_of(statement, "n_classes"))  # fmt: skip
    return {**params, "n_classes": max(wanted, 2)}
