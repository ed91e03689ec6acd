"""Finds out which rows of a table a query returns, by adding the table's key after the query's own columns."""

from __future__ import annotations

from typing import Any

import sqlglot
from sqlglot import expressions

from elasticdl_nb.sql.engines import RowKey, Table
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.language.errors import SqlError

KEY = "elasticdl_nb_key_"
_BARRED = ("group", "distinct", "having", "qualify")


def count_uses(rows: Selection, table: Table) -> int:
    """Return how many times the query selects from the table, anywhere in it."""
    return sum(_is_same(node, table) for node in _parsed(rows).find_all(expressions.Table))


def with_key(rows: Selection, table: Table, key: RowKey) -> str:
    """Return the query with the key's columns, each named `KEY` and a number, after its own.

    Raises SqlError unless each row of the query is one row of the table.
    """
    tree = _parsed(rows)
    node = _source(tree, table) if count_uses(rows, table) == 1 else None
    if node is None:
        raise SqlError(
            f"cannot tell which rows of {table.name} the query returns; select from it once, without "
            "grouping, DISTINCT or UNION, or predict into another table",
            rows.position,
        )
    quote, dialect = rows.engine.quote, rows.engine.dialect
    alias = quote(node.alias) if node.alias else ".".join(quote(part.name) for part in node.parts)
    for number, expression in enumerate(key.expressions):
        tree = tree.select(f"{expression.format(alias)} AS {quote(f'{KEY}{number}')}", dialect=dialect, copy=False)
    return str(tree.sql(dialect=dialect))


def same_row(rows: Selection, key: RowKey, table: str, other: str) -> str:
    """Return the condition that a row of `table` is the same as in `other`, which has the key; both are aliases."""
    return " AND ".join(
        f"{expression.format(table)} = {other}.{rows.engine.quote(f'{KEY}{number}')}"
        for number, expression in enumerate(key.expressions)
    )


def _parsed(rows: Selection) -> Any:
    return sqlglot.parse_one(rows.query, dialect=rows.engine.dialect)


def _source(tree: Any, table: Table) -> Any:
    """Return where the query selects from the table; None if it groups rows or combines sets."""
    if not isinstance(tree, expressions.Select) or any(tree.args.get(part) for part in _BARRED):
        return None
    if any(item.find(expressions.AggFunc) and not item.find(expressions.Window) for item in tree.expressions):
        return None
    direct = [tree.args.get("from_") or tree.args.get("from"), *(tree.args.get("joins") or [])]
    nodes = [item.this for item in direct if item is not None and isinstance(item.this, expressions.Table)]
    return next((node for node in nodes if _is_same(node, table)), None)


def _is_same(node: Any, table: Table) -> bool:
    parts = [part.name.lower() for part in node.parts]
    wanted = [part.lower() for part in table.parts]
    shared = min(len(parts), len(wanted))
    return parts[-shared:] == wanted[-shared:]
