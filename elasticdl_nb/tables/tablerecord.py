"""What is kept of a table with the model that is trained on it: its columns, its label, and what users were told.

The record is a JSON file in the model's zoo, beside a module that makes an input function of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.runtime.model.contract import TABLE_INPUT
from elasticdl_nb.tables.featurejson import feature_from_json, feature_to_json
from elasticdl_nb.tables.featurerecord import Category, Feature, Number
from elasticdl_nb.tables.jsonfields import Fields, RecordError, as_text

MODULE = TABLE_INPUT.partition(".")[0]
FILE = f"{MODULE}.json"
VERSION = 1

NUMBER_KINDS = ("integer", "float", "decimal", "boolean", "date", "timestamp", "time", "duration")


@dataclass(frozen=True)
class TableColumn:
    """A column that a model may see: its kind (see `kinds`), and its features where a vector is made of it.

    `missing` says whether values were missing. `low` and `high` are the range of a number, in seconds for moments.
    """

    name: str
    kind: str
    features: tuple[Feature, ...]
    missing: bool = False
    low: float = 0.0
    high: float = 0.0

    @property
    def category(self) -> Category | None:
        """The column's values as categories; None for numbers."""
        first = self.features[0]
        return first if isinstance(first, Category) else None

    @property
    def number(self) -> Number:
        """The column as one number: of a moment, the seconds since 1970."""
        first = self.features[0]
        assert isinstance(first, Number)
        return first


@dataclass(frozen=True)
class TableLabel:
    """The column to predict. `classes` are its values, sorted, if there are few of them; `low` to `high` its range."""

    column: str
    kind: str
    classes: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def is_category(self) -> bool:
        """Whether its values can only be classes."""
        return self.kind in ("text", "boolean")


@dataclass(frozen=True)
class TableRecord:
    """See the module. `notes` are for users; `reader` says how files of such rows are read."""

    columns: tuple[TableColumn, ...]
    label: TableLabel
    notes: tuple[str, ...] = ()
    reader: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> Mapping[str, str]:
        """The kinds of the columns and the label."""
        return {column.name: column.kind for column in self.columns} | {self.label.column: self.label.kind}

    @property
    def names(self) -> list[str]:
        """The names of the columns, without the label."""
        return [column.name for column in self.columns]


def record_text(record: TableRecord) -> str:
    """Return the text of the record's file."""
    label = record.label
    value = {
        "version": VERSION,
        "columns": [
            {
                "name": column.name, "kind": column.kind, "missing": column.missing, "low": column.low,
                "high": column.high, "features": [feature_to_json(feature) for feature in column.features],
            }
            for column in record.columns
        ],
        "label": {
            "column": label.column, "kind": label.kind, "classes": list(label.classes), "low": label.low,
            "high": label.high,
        },
        "notes": list(record.notes), "reader": dict(record.reader),
    }  # fmt: skip
    return json.dumps(value, indent=1)


def read_record(text: str | bytes) -> TableRecord:
    """Return the record in a file's text; raise RecordError if it is damaged or has another version."""
    try:
        fields = Fields(json.loads(text), FILE)
    except ValueError as error:
        raise RecordError(f"{FILE} is damaged: {error}") from None
    if (version := fields.any("version")) != VERSION:
        raise RecordError(
            f"{FILE} has version {version!r}, but this elasticdl_nb reads version {VERSION}; install the elasticdl_nb "
            "that the model was trained with, or train the model again"
        )
    record = TableRecord(
        fields.list("columns", _column), _label(fields.any("label"), "label"), fields.list("notes", as_text),
        fields.object("reader"),
    )  # fmt: skip
    fields.end()
    return record


def _column(value: Any, where: str) -> TableColumn:
    fields = Fields(value, where)
    column = TableColumn(
        fields.text("name"), fields.text("kind"), fields.list("features", feature_from_json), fields.flag("missing"),
        fields.number("low"), fields.number("high"),
    )  # fmt: skip
    fields.end()
    if not column.features:
        raise RecordError(f"{where} has no features")
    return column


def _label(value: Any, where: str) -> TableLabel:
    fields = Fields(value, where)
    label = TableLabel(
        fields.text("column"), fields.text("kind"), fields.list("classes", lambda item, _: item),
        fields.number("low"), fields.number("high"),
    )  # fmt: skip
    fields.end()
    return label
