"""Converts types and values of database drivers to Arrow's."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from elasticdl_nb.sql.language.errors import SqlError

_UNFIT = (pa.ArrowException, OverflowError, ValueError, TypeError, AttributeError)
_CHARACTERS_SHOWN = 100
_MICROSECONDS = pa.timestamp("us")
# Some drivers do not say how many digits there are.
_DECIMAL = pa.decimal128(38, 9)

# Object identifiers of pg_type: https://www.postgresql.org/docs/current/catalog-pg-type.html
_POSTGRES = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int64(), 23: pa.int64(), 700: pa.float64(),
    701: pa.float64(), 1700: _DECIMAL, 1082: pa.date32(), 1083: pa.time64("us"), 1114: _MICROSECONDS,
    1184: pa.timestamp("us", "UTC"), 17: pa.binary(), 25: pa.string(), 1043: pa.string(), 1042: pa.string(),
}  # fmt: skip
_POSTGRES_NUMBERS = frozenset({20, 21, 23, 700, 701, 1700})
_POSTGRES_TEXTS = frozenset({"uuid", "macaddr", "macaddr8", "char"})
# Field types of the MySQL protocol: https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html
_MYSQL = {
    0: _DECIMAL, 1: pa.int64(), 2: pa.int64(), 3: pa.int64(), 4: pa.float64(), 5: pa.float64(),
    6: pa.null(), 7: _MICROSECONDS, 8: pa.int64(), 9: pa.int64(), 10: pa.date32(), 11: pa.duration("us"),
    12: _MICROSECONDS, 13: pa.int64(), 246: _DECIMAL,
}  # fmt: skip
MYSQL_TIMESTAMP = 7
_MYSQL_OPAQUE = {16: "bit", 245: "json", 255: "geometry"}
_MYSQL_TEXTS = frozenset({249, 250, 251, 252, 253, 254})
_MYSQL_BINARY = 63  # the number of the character set "binary"
_MYSQL_BIGINT, _MYSQL_UNSIGNED = 8, 32


_OPAQUE = b"elasticdl_nb.type"


def opaque(name: str, kind: str) -> pa.Field:
    """Return a column of a type that no model takes, such as `interval`, by the database's name for it."""
    return pa.field(name, pa.string(), metadata={_OPAQUE: kind.encode()})


def opaque_name(field: pa.Field) -> str:
    """Return the name that `opaque` was given; empty for any other column."""
    return str((field.metadata or {}).get(_OPAQUE, b"").decode())


def of_postgres(columns: Sequence[tuple[str, int]], catalogue: Callable[[str], list[tuple[Any, ...]]]) -> pa.Schema:
    """Return a schema for names and type codes; `catalogue` runs a query on pg_type for those that are not built in."""
    unknown = {code for _, code in columns if code not in _POSTGRES}
    listed = ", ".join(map(str, sorted(unknown)))
    found = catalogue(
        f"SELECT oid, typcategory, typname, typelem, format_type(oid, NULL) FROM pg_type WHERE oid IN ({listed})"
    ) if unknown else []  # fmt: skip
    about = {int(row[0]): row[1:] for row in found}
    fields = []
    for name, code in columns:
        category, own, element, shown = about.get(code, ("S", "", 0, ""))
        if code in _POSTGRES:
            fields.append(pa.field(name, _POSTGRES[code]))
        elif category == "A" and int(element) in _POSTGRES_NUMBERS:
            fields.append(pa.field(name, pa.list_(_POSTGRES[int(element)])))
        elif category in "SEI" or own in _POSTGRES_TEXTS:
            fields.append(pa.field(name, pa.string()))
        else:
            fields.append(opaque(name, shown))
    return pa.schema(fields)


def of_mysql(columns: Sequence[tuple[str, int]], details: Sequence[Any]) -> pa.Schema:
    """Return a schema for names and type codes; `details` are what the protocol says, if the driver keeps it."""
    fields = []
    for place, (name, code) in enumerate(columns):
        detail = details[place] if place < len(details) else None
        if code in _MYSQL_OPAQUE:
            fields.append(opaque(name, _MYSQL_OPAQUE[code]))
        elif code in _MYSQL_TEXTS and getattr(detail, "charsetnr", 0) == _MYSQL_BINARY:
            fields.append(pa.field(name, pa.binary()))
        elif code == _MYSQL_BIGINT and getattr(detail, "flags", 0) & _MYSQL_UNSIGNED:
            fields.append(pa.field(name, pa.uint64()))
        else:
            fields.append(pa.field(name, _MYSQL.get(code, pa.string())))
    return pa.schema(fields)


def of_values(values: Sequence[Any]) -> pa.DataType:
    """Return a type that can hold these values."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.null()
    for kind, arrow in (
        ({bool}, pa.bool_()), ({int, bool}, _whole(values)), ({int, bool, float, decimal.Decimal}, pa.float64()),
        ({datetime.datetime}, _MICROSECONDS), ({datetime.date}, pa.date32()), ({bytes}, pa.binary()),
    ):  # fmt: skip
        if kinds <= kind:
            return arrow
    return pa.string()


def _whole(values: Sequence[Any]) -> pa.DataType:
    sizes = [value for value in values if isinstance(value, int)]
    if not sizes or (min(sizes) >= -(2**63) and max(sizes) < 2**63):
        return pa.int64()
    return pa.uint64() if min(sizes) >= 0 and max(sizes) < 2**64 else pa.float64()


def to_batch(rows: Sequence[Sequence[Any]], schema: pa.Schema, first: int = 1) -> pa.RecordBatch:
    """Return rows of Python values as a batch of these types; `first` is the number of the first row.

    Raises SqlError, with row and column, for a value that its column's type cannot hold.
    """
    columns = list(zip(*rows, strict=True)) or [() for _ in schema]
    return pa.RecordBatch.from_arrays(
        [_checked(column, field, first) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _checked(values: Sequence[Any], field: pa.Field, first: int) -> pa.Array:
    try:
        return _array(values, field.type)
    except _UNFIT:
        for row, value in enumerate(values):
            try:
                _array([value], field.type)
            except _UNFIT:
                shown = str(value)
                shown = shown if len(shown) <= _CHARACTERS_SHOWN else f"{shown[:_CHARACTERS_SHOWN]}…"
                raise SqlError(
                    f"row {first + row:,}, column {field.name!r}: {shown} is not a valid {field.type}; CAST it, or "
                    "leave the row out"
                ) from None
        raise


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
    except _UNFIT:
        pass
    try:
        return _array(values, of_values(values))
    except _UNFIT:
        return pa.array([value if value is None else _text(value) for value in values], pa.string())


def to_rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return a batch as rows of Python values."""
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
