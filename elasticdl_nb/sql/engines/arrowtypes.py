"""Converts types and values of database drivers to Arrow's."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_MICROSECONDS = pa.timestamp("us")
# Some drivers do not say how many digits there are.
_DECIMAL = pa.decimal128(38, 9)

# Object identifiers of pg_type: https://www.postgresql.org/docs/current/catalog-pg-type.html
_POSTGRES = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int64(), 23: pa.int64(), 26: pa.int64(), 700: pa.float64(),
    701: pa.float64(), 1700: _DECIMAL, 1082: pa.date32(), 1083: pa.time64("us"), 1114: _MICROSECONDS,
    1184: pa.timestamp("us", "UTC"), 17: pa.binary(),
}  # fmt: skip
# Field types of the MySQL protocol: https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html
_MYSQL = {
    0: _DECIMAL, 1: pa.int64(), 2: pa.int64(), 3: pa.int64(), 4: pa.float64(), 5: pa.float64(),
    6: pa.null(), 7: _MICROSECONDS, 8: pa.int64(), 9: pa.int64(), 10: pa.date32(), 11: pa.duration("us"),
    12: _MICROSECONDS, 13: pa.int64(), 16: pa.binary(), 246: _DECIMAL,
}  # fmt: skip
_OF_DIALECT = {"postgres": _POSTGRES, "mysql": _MYSQL}


def from_description(dialect: str, description: Sequence[Any]) -> list[tuple[str, pa.DataType]] | None:
    """Return names and types of a cursor's columns; None for a dialect whose type codes are not known here.

    Everything but numbers, dates and times is text.
    """
    known = _OF_DIALECT.get(dialect)
    if known is None:
        return None
    return [(item[0], known.get(item[1], pa.string())) for item in description]


def of_values(values: Sequence[Any]) -> pa.DataType:
    """Return a type that can hold these values."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.null()
    for kind, arrow in (
        ({bool}, pa.bool_()), ({int, bool}, pa.int64()), ({int, bool, float, decimal.Decimal}, pa.float64()),
        ({datetime.datetime}, _MICROSECONDS), ({datetime.date}, pa.date32()), ({bytes}, pa.binary()),
    ):  # fmt: skip
        if kinds <= kind:
            return arrow
    return pa.string()


def to_batch(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows of Python values as a batch of these types."""
    columns = list(zip(*rows, strict=True)) or [() for _ in schema]
    return pa.RecordBatch.from_arrays(
        [_array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind):
        values = [None if value is None else float(value) for value in values]
    elif pa.types.is_string(kind):
        values = [value if value is None or isinstance(value, str) else _text(value) for value in values]
    elif pa.types.is_timestamp(kind) and kind.tz is None:
        values = [None if value is None else value.replace(tzinfo=None) for value in values]
    return pa.array(values, kind)


def _text(value: Any) -> str:
    return bytes(value).decode(errors="replace") if isinstance(value, (bytes, bytearray, memoryview)) else str(value)


def to_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Return rows of Python values as a table, with types that suit them."""
    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    return pa.Table.from_arrays([_natural(column) for column in columns], names=list(names))


def _natural(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return _array(values, of_values(values))


def to_rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return a batch as rows of Python values."""
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
