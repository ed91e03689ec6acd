"""Kinds of columns: how features see a type, whichever database it comes from."""

from __future__ import annotations

import pyarrow as pa

NUMBERS = ("integer", "float", "decimal", "boolean")
MOMENTS = ("date", "timestamp")
SPANS = ("time", "duration")


def kind_of(kind: pa.DataType) -> str:
    """Return the kind of an Arrow type: integer, float, decimal, boolean, text, date, timestamp, time, duration,
    empty (only NULL) or other.
    """
    types = pa.types
    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    for name, test in (
        ("boolean", types.is_boolean), ("integer", types.is_integer), ("float", types.is_floating),
        ("decimal", types.is_decimal), ("text", types.is_string), ("text", types.is_large_string),
        ("text", types.is_string_view), ("date", types.is_date), ("timestamp", types.is_timestamp),
        ("time", types.is_time), ("duration", types.is_duration), ("empty", types.is_null),
    ):  # fmt: skip
        if test(kind):
            return name
    return "other"


def family(kind: str) -> str:
    """Return the family of a kind; columns of the same family can replace each other. All numbers are one family."""
    return "number" if kind in NUMBERS else kind
