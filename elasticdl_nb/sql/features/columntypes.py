"""The kind of a query's column, and the name of its type for messages, from what an engine says about it."""

from __future__ import annotations

import pyarrow as pa

from elasticdl_nb.sql.engines.arrowtypes import opaque_name
from elasticdl_nb.tables.kinds import kind_of

LIST = "list"
"""The kind of a list or an array of numbers; see `kinds` for the others."""


def kind_of_column(field: pa.Field) -> str:
    """Return the column's kind: one of `kinds.kind_of`, or LIST. Types that no model takes are "other"."""
    kind = field.type
    if opaque_name(field):
        return "other"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return LIST if kind_of(kind.value_type) in ("integer", "float", "decimal") else "other"
    return kind_of(kind)


def type_name(field: pa.Field) -> str:
    """Return the name of the column's type."""
    if pa.types.is_interval(field.type):
        return "interval"
    return opaque_name(field) or getattr(field.type, "type_name", "") or str(field.type)
