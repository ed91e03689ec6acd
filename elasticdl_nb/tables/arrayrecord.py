"""Arrays that a model was trained on: which columns of a file they are, and how they are nested.

The record is a JSON file in the model's zoo, beside a module that makes an input function of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.spec import ARRAY_INPUT
from elasticdl_nb.tables.jsonfields import Fields, RecordError

MODULE = ARRAY_INPUT.partition(".")[0]
FILE = f"{MODULE}.json"
VERSION = 1
ROLES = ("features", "labels", "weights")
"""The parts of a record, as `fit` takes them: x, y and sample_weight."""

Structure = Any
"""Names of columns, nested in lists, tuples and dicts as the arrays are; None for a part that was not given."""


@dataclass(frozen=True)
class ArrayColumn:
    """An array as a column of a file: `dtype` is NumPy's name or "string", `shape` is that of one record."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {('n', *self.shape)}".replace("'n'", "n").replace(",)", ")")


@dataclass(frozen=True)
class ArrayRecord:
    """See the module."""

    columns: tuple[ArrayColumn, ...]
    features: Structure
    labels: Structure = None
    weights: Structure = None

    def of(self, names: Structure) -> list[ArrayColumn]:
        """Return the columns in a part of the record, in order."""
        known = {column.name: column for column in self.columns}
        return [known[name] for name in leaves(names)]


def leaves(structure: Structure) -> Iterator[Any]:
    """Yield what is in a structure, in order."""
    if _is_dict(structure):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        for item in structure:
            yield from leaves(item)
    elif structure is not None:
        yield structure


def rebuilt(structure: Structure, make: Callable[[Any], Any]) -> Any:
    """Return the structure with each of its leaves replaced."""
    if _is_dict(structure):
        return {key: rebuilt(value, make) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)([rebuilt(item, make) for item in structure])
    return None if structure is None else make(structure)


def named(structure: Structure, prefix: str) -> Structure:
    """Return the structure with a name for each leaf: `x`, `x.0` of a list or tuple, `x.age` of a dict."""
    if _is_dict(structure):
        return {key: named(value, f"{prefix}.{key}") for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)([named(item, f"{prefix}.{place}") for place, item in enumerate(structure)])
    return None if structure is None else prefix


def _is_dict(structure: Structure) -> bool:
    return isinstance(structure, dict) and not hasattr(structure, "tocoo")  # a dok_matrix of SciPy is a leaf


# ------------------------------------------------------------------ the file


def record_text(record: ArrayRecord) -> str:
    """Return the text of the record's file."""
    columns = [{"name": one.name, "dtype": one.dtype, "shape": list(one.shape)} for one in record.columns]
    parts = {role: _to_json(getattr(record, role)) for role in ROLES}
    return json.dumps({"version": VERSION, "columns": columns, **parts}, indent=1)


def read_record(text: str | bytes) -> ArrayRecord:
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
    columns = fields.list("columns", _column)
    parts = {role: _of_json(fields.any(role), {one.name for one in columns}) for role in ROLES}
    fields.end()
    return ArrayRecord(columns, **parts)


def _column(value: Any, where: str) -> ArrayColumn:
    fields = Fields(value, where)
    column = ArrayColumn(fields.text("name"), fields.text("dtype"), fields.list("shape", _length))
    fields.end()
    return column


def _length(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RecordError(f"{where}: expected a length, not {value!r}")
    return value


def _to_json(structure: Structure) -> Any:
    # A list is a list; tuples and dicts are named, because JSON has no tuples and Keras tells them apart.
    if isinstance(structure, dict):
        return {"dict": {key: _to_json(value) for key, value in structure.items()}}
    if isinstance(structure, tuple):
        return {"tuple": [_to_json(item) for item in structure]}
    return [_to_json(item) for item in structure] if isinstance(structure, list) else structure


def _of_json(value: Any, known: set[str]) -> Structure:
    match value:
        case None:
            return None
        case str() if value in known:
            return value
        case list():
            return [_of_json(item, known) for item in value]
        case {"tuple": list() as items, **rest} if not rest:
            return tuple(_of_json(item, known) for item in items)
        case {"dict": Mapping() as members, **rest} if not rest:
            return {key: _of_json(item, known) for key, item in members.items()}
    raise RecordError(f"{FILE} is damaged: {str(value)[:50]!r} is not a column")
