"""What the columns of a topic's records are, found in a sample of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError

from elasticdl_nb.runtime.data import columntypes, examples
from elasticdl_nb.runtime.data.chunks import Metadata
from elasticdl_nb.runtime.data.columntypes import STRING, Column
from elasticdl_nb.runtime.errors import DataError, OptionError, did_you_mean

SAMPLE = 1000
"""Records that are looked at."""


@dataclass(frozen=True)
class Field:
    """A field of JSON objects or Examples: what models get of it, and whether it may be missing.

    Its values are of the column's type, or booleans if `is_bool`, which a column of floats has as 0 and 1.
    """

    column: Column
    optional: bool = False
    is_bool: bool = False

    def to_json(self) -> list[Any]:
        """Return it as JSON values."""
        return [self.column.name, self.column.dtype, list(self.column.shape), self.optional, self.is_bool]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Field:
        """Return it from what `to_json` returned."""
        name, dtype, shape, *rest = values
        return cls(Column(name, dtype, tuple(shape)), *rest)


def metadata(columns: Sequence[Column]) -> Metadata:
    """Return columns as a reader's metadata."""
    return Metadata(
        column_names=[one.name for one in columns],
        column_dtypes={one.name: one.dtype for one in columns},
        column_shapes={one.name: one.shape for one in columns if one.shape},
    )


def fields_of_json(values: Sequence[bytes | None], wanted: Sequence[str], where: str) -> list[Field]:
    """Return the fields of JSON objects, those `wanted` if any are; raise DataError if there is nothing to be found.

    Where kinds differ between records, the most frequent one counts, and other records cannot be used.
    """
    rows = [row for value in values if (row := _object(value)) is not None]
    if not rows:
        example = next((repr(value[:80]) for value in values if value), "no value at all")
        raise DataError(f"{where}: none of the first {len(values)} records is a JSON object; one is {example}")
    names = list(wanted) or list(dict.fromkeys(name for row in rows for name in row))
    fields = []
    for name in names:
        found = [row[name] for row in rows if row.get(name) is not None]
        if not found:
            if not wanted:
                continue
            known = list(dict.fromkeys(name for row in rows for name in row))
            problem = f"none of the first {len(rows)} records has a field {name!r}."
            raise OptionError("data_reader_params", f"columns: {problem}{did_you_mean(name, known)}")
        fields.append(_field(name, found, optional=len(found) < len(rows), where=where))
    return fields


def _object(value: bytes | None) -> dict[str, Any] | None:
    try:
        row = json.loads(value.decode()) if value is not None else None
    except (ValueError, RecursionError):  # the latter if lists or objects are within each other, some hundred deep
        return None
    return row if isinstance(row, dict) else None


def _field(name: str, values: list[Any], *, optional: bool, where: str) -> Field:
    kinds = Counter(map(_kind, values))
    if "int64" in kinds and "float64" in kinds:
        kinds["float64"] += kinds.pop("int64")
    ((kind, _),) = kinds.most_common(1)
    if kind == "list":
        return Field(_list_column(name, [value for value in values if isinstance(value, list)], where))
    if kind == "other":
        hint = "choose the others with data_reader_params=\"columns=['…']\""
        raise DataError(f"{where}: field {name!r} holds what a model cannot take, such as an object; {hint}")
    if optional and kind == "int64":
        _check_rounding(name, [value for value in values if isinstance(value, int)], where)
    dtype = "float64" if optional and kind in ("int64", "bool") else kind
    return Field(Column(name, dtype), optional, is_bool=kind == "bool")


def _check_rounding(name: str, numbers: Sequence[int], where: str) -> None:
    """Raise DataError if numbers would be rounded as floats, which they become when some of them are missing."""
    if large := [number for number in numbers if -(2**63) <= number < 2**63 and float(number) != number]:
        raise DataError(
            f"{where}: field {name!r} is missing in some records, so that it becomes a float, which would round "
            f"{large[0]}; send it in all records, or as text, or choose the others with "
            "data_reader_params=\"columns=['…']\""
        )


def _kind(value: Any) -> str:
    kinds = {bool: "bool", int: "int64", float: "float64", str: STRING, list: "list"}
    return kinds.get(type(value), "other")


def _list_column(name: str, values: list[list[Any]], where: str) -> Column:
    forms = Counter(map(_form, values))
    for length in {length for length, _ in forms}:
        if (length, "int64") in forms and (length, "float64") in forms:
            forms[length, "float64"] += forms.pop((length, "int64"))
    (((length, kind), often),) = forms.most_common(1)
    if kind == "other" or 2 * often <= len(values):
        hint = "choose the others with data_reader_params=\"columns=['…']\""
        raise DataError(f"{where}: field {name!r} holds lists that a model cannot take; {hint}")
    return Column(name, kind, (length,))


def _form(items: list[Any]) -> tuple[int, str]:
    """Return the length of a list, and the kind of its items: "other" if it has none, or a model cannot take them."""
    kinds = {_kind(item) for item in items}
    if kinds == {"int64", "float64"}:
        return len(items), "float64"
    return len(items), "other" if len(kinds) != 1 or "list" in kinds else kinds.pop()


def fields_of_examples(values: Sequence[bytes | None], wanted: Sequence[str], where: str) -> list[Field]:
    """Return the features of Examples, those `wanted` if any are; raise DataError if there is nothing to be found."""
    rows = [(value, row) for value in values if value and (row := _forms(value))]
    if not rows:
        raise DataError(f"{where}: none of the first {len(values)} records is a tf.train.Example")
    found = _alike(rows, wanted)
    if not found:
        problem = f"none of the first {len(rows)} records has all its features as most records have them"
        raise DataError(f"{where}: {problem}")
    arrays = examples.decode(found)
    fields = []
    for name in wanted or arrays:
        if name not in arrays:
            problem = f"none of the first {len(found)} records has a feature {name!r}."
            raise OptionError("data_reader_params", f"columns: {problem}{did_you_mean(name, list(arrays))}")
        kind, optional = examples.natural_type(arrays[name]), arrays[name].null_count > 0
        if pa.types.is_list(kind):
            hint = "choose the others with data_reader_params=\"columns=['…']\""
            raise DataError(f"{where}: feature {name!r} has lists of different lengths; {hint}")
        if optional and pa.types.is_integer(kind):
            _check_rounding(name, arrays[name].flatten().to_pylist(), where)
        shape = columntypes.list_shape(kind, None)
        fields.append(Field(Column(name, columntypes.dtype_of(kind, optional), shape), optional))
    return fields


def _forms(value: bytes) -> dict[str, tuple[str, int]]:
    """Return the kind and the number of values of each of an Example's features; nothing if it is no Example."""
    try:
        features = examples.Example.FromString(value).features.feature
    except DecodeError:
        return {}
    kinds = {name: kind for name in features if (kind := features[name].WhichOneof("kind"))}
    return {name: (kind, len(getattr(features[name], kind).value)) for name, kind in kinds.items()}


def _alike(rows: Sequence[tuple[bytes, Mapping[str, tuple[str, int]]]], wanted: Sequence[str]) -> list[bytes]:
    """Return the Examples whose features, those `wanted` if any are, have the kinds that these have in most of them.

    Also the numbers of values, of features with which more than half of the Examples agree.
    """
    kinds: dict[str, Counter[str]] = {}
    forms: dict[str, Counter[tuple[str, int]]] = {}
    for _, row in rows:
        for name, form in row.items():
            if name in wanted or not wanted:
                kinds.setdefault(name, Counter())[form[0]] += 1
                forms.setdefault(name, Counter())[form] += 1
    usual_kind = {name: counts.most_common(1)[0][0] for name, counts in kinds.items()}
    usual = {name: form for name, counts in forms.items() for form, n in counts.items() if 2 * n > counts.total()}

    def fits(row: Mapping[str, tuple[str, int]]) -> bool:
        return all(
            row[name] == usual[name] if name in usual else row[name][0] == kind
            for name, kind in usual_kind.items()
            if name in row
        )

    return [value for value, row in rows if fits(row)]
