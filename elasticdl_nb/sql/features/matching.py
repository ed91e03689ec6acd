"""Whether a query fits a trained model: it must have the model's columns, and no label that the model does not know."""

from __future__ import annotations

from elasticdl_nb.sql.features.columntypes import LIST
from elasticdl_nb.sql.features.label import MOST_CLASSES
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import values
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.record.modelrecord import Label, ModelRecord
from elasticdl_nb.tables.featurerecord import Number
from elasticdl_nb.tables.kinds import family


def needed_columns(model: StoredModel, name: Name, rows: Selection, *, label: bool = False) -> tuple[str, ...]:
    """Return the query's columns that the model needs; raise SqlError for one that is missing or of another kind.

    `name` is the model's name in the statement; `label` says whether the label is needed, too.
    """
    record = model.record
    if record.own_input:
        return tuple(rows.kinds)
    wanted = record.columns()
    if label and record.label is not None:
        wanted.append(record.label.column)
    for column in wanted:
        if column not in rows.kinds:
            raise SqlError(
                f"the query has no column {column!r}, which the model {name} was trained with", rows.position
            )
        kind, trained = rows.kinds[column], record.kinds[column]
        if family(kind) != family(trained) and "empty" not in (kind, trained):
            raise SqlError(
                f"column {column!r} is {kind}, but the model {name} was trained with {trained}", rows.position
            )
    _check_lengths(record, rows)
    return tuple(wanted)


def _check_lengths(record: ModelRecord, rows: Selection) -> None:
    """Raise SqlError if the lists of a column are shorter or longer than in training."""
    for listed in record.features.values():
        for feature in listed:
            if isinstance(feature, Number) and rows.kinds[feature.column] == LIST:
                length = rows.engine.length(rows.engine.quote(feature.column))
                query = f"SELECT MIN({length}), MAX({length}) FROM (\n{rows.query}\n) AS q"
                other = next((found for found in rows.engine.rows(query)[0] if found not in (None, feature.size)), None)
                if other is not None:
                    raise SqlError(
                        f"column {feature.column!r} has a list of {other} numbers, but the model was trained with "
                        f"{feature.size}", rows.position,
                    )  # fmt: skip


def check_classes(rows: Selection, label: Label | None) -> None:
    """Raise SqlError if the query has a label that is not one of the model's classes."""
    if label is None or not label.classes:
        return
    kind = rows.kinds[label.column]
    if (kind == "text") != (label.kind == "text"):
        raise SqlError(f"{label.column} is {kind} in {rows.what}, but the model was trained with {label.kind}",
                       rows.position)  # fmt: skip
    unknown = [value for value in values(rows, label.column, MOST_CLASSES + 1) if value not in label.classes]
    if unknown:
        raise SqlError(
            f"{rows.what} has {label.column} = {unknown[0]!r}, which is not one of the {len(label.classes)} classes "
            "that the model was trained with", rows.position,
        )  # fmt: skip
