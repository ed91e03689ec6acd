"""Finds out which rows of a table a query returns, by adding the table's key after the query's own columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlglot
from sqlglot import expressions
from sqlglot.optimizer.scope import build_scope

from elasticdl_nb.sql.engines import Engine, Relation, Table
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.language.errors import SqlError

KEY, VERSION = "elasticdl_nb_key_", "elasticdl_nb_version"
_BARRED = ("group", "distinct", "having", "qualify")
# Aggregates of some engine that sqlglot does not know as such.
_AGGREGATES = frozenset({
    "total", "json_group_array", "json_group_object", "jsonb_group_array", "jsonb_group_object", "json_arrayagg",
    "json_objectagg", "bit_and", "bit_or", "bit_xor", "std", "string_agg",
})  # fmt: skip


def uses(rows: Selection, relation: Relation) -> list[Any]:
    """Return the places in the query that select from this table, as nodes of the query's tree.

    Names are those of tables as the session resolves them; a name of WITH is no table.
    """
    tree = sqlglot.parse_one(rows.query, dialect=rows.engine.dialect)
    own = relation.table.parts[-1].lower()
    nodes = [node for node in _tables(tree) if node.name.lower() == own]
    return [node for node in nodes if _is(rows.engine, node, relation)]


def _tables(tree: Any) -> Iterator[Any]:
    root = build_scope(tree)
    if root is None:
        yield from tree.find_all(expressions.Table)
        return
    seen = set()
    for scope in root.traverse():
        named = {name.lower() for name in scope.cte_sources}
        for node in scope.tables:
            if id(node) not in seen and (node.db or node.name.lower() not in named):
                seen.add(id(node))
                yield node


def _is(engine: Engine, node: Any, relation: Relation) -> bool:
    parts = [part for part in node.parts if isinstance(part, expressions.Identifier)]
    name = Table(tuple(part.name for part in parts), tuple(bool(part.args.get("quoted")) for part in parts))
    found = engine.find(engine.folded(name))
    return found is not None and found.table == relation.table


def origin(query: str, column: str, dialect: str) -> str:
    """Return the name that a query's column has in its table; its own name if it is not simply a column."""
    try:
        tree: Any = sqlglot.parse_one(query, dialect=dialect)
    except sqlglot.ParseError:
        return column
    for item in tree.selects:
        if item.alias_or_name.lower() == column.lower() and isinstance(item.unalias(), expressions.Column):
            return str(item.unalias().name)
    return column


def with_key(rows: Selection, node: Any, name: str, key: tuple[str, ...], version: str) -> str:
    """Return the query with more columns after its own: the key's, named `KEY` and a number, and `VERSION`.

    `node` is the only place where the query selects from the table, and `name` the table's name in messages. Raises
    SqlError unless each row of the query can be one row of the table.
    """
    engine = rows.engine
    tree = node.root()
    if not _is_direct(tree, node) or _groups(tree):
        raise not_rows(rows, name)
    if node.args.get("alias") is not None:
        alias = node.args["alias"].this.sql(dialect=engine.dialect)
    else:
        alias = ".".join(part.sql(dialect=engine.dialect) for part in node.parts)
    named = {**{f"{KEY}{number}": text for number, text in enumerate(key)}, VERSION: version}
    added = [f"{text.format(alias)} AS {engine.quote(column)}" for column, text in named.items()]
    unknown = {node.name.lower() for part in _parts(tree) for node in _functions(part, expressions.Anonymous)}
    query = _with(rows.query, added, tree, engine.dialect)
    if unknown and engine.groups(query, unknown):
        raise not_rows(rows, name)
    return query


def _with(query: str, added: Sequence[str], tree: Any, dialect: str) -> str:
    """Return the query with more expressions at the end of its SELECT."""
    end = _end_of_columns(query, dialect)
    if end is not None:
        # What follows may begin with a comment.
        return f"{query[:end]}, {', '.join(added)} {query[end:]}"
    for text in added:
        tree = tree.select(text, dialect=dialect, copy=False)
    return str(tree.sql(dialect=dialect))


def not_rows(rows: Selection, name: str) -> SqlError:
    """Return the error for a query whose rows are not those of the table."""
    return SqlError(
        f"cannot tell which rows of {name} the query returns; select from it once, without grouping, DISTINCT or "
        "UNION, or predict into another table",
        rows.position,
    )


def same_row(rows: Selection, key: tuple[str, ...], version: str, table: str, other: str) -> str:
    """Return the condition that a row of `table` is, unchanged, the one in `other`; both are aliases."""
    named = {**{f"{KEY}{number}": text for number, text in enumerate(key)}, VERSION: version}
    return " AND ".join(f"{text.format(table)} = {other}.{rows.engine.quote(name)}" for name, text in named.items())


def _is_direct(tree: Any, node: Any) -> bool:
    """Whether the query itself selects from the table at `node`, not a part of it in brackets."""
    if not isinstance(tree, expressions.Select) or node.args.get("pivots"):
        return False
    direct = [tree.args.get("from_") or tree.args.get("from"), *(tree.args.get("joins") or [])]
    return any(item is not None and item.this is node for item in direct)


def _groups(tree: Any) -> bool:
    """Whether a row of the query may stand for several rows of the table."""
    if any(tree.args.get(part) for part in _BARRED):
        return True
    return any(
        isinstance(node, expressions.AggFunc) or node.name.lower() in _AGGREGATES
        for part in _parts(tree)
        for node in _functions(part, (expressions.AggFunc, expressions.Anonymous))
    )


def _parts(tree: Any) -> list[Any]:
    """Return what a query computes from the rows that it selects."""
    return [*tree.expressions, *([tree.args["order"]] if tree.args.get("order") else [])]


def _functions(part: Any, kind: Any) -> Iterator[Any]:
    """Yield the functions of these kinds in an expression, other than those of a window or of a query in brackets."""
    for node in part.walk(prune=lambda node: isinstance(node, expressions.Query)):
        if isinstance(node, kind):
            above = node.parent
            while isinstance(above, (expressions.Filter, expressions.IgnoreNulls, expressions.WithinGroup)):
                above = above.parent
            if not isinstance(above, expressions.Window):
                yield node


def _end_of_columns(query: str, dialect: str) -> int | None:
    """Return where the columns of the outermost SELECT end; None if FROM stands before SELECT, or there is no SELECT.

    The query's text stays the user's own: what sqlglot writes may differ from it in the details.
    """
    depth, selecting, before, end = 0, False, "", 0
    for token in sqlglot.tokenize(query, read=dialect):
        kind = token.token_type.name
        if kind in ("L_PAREN", "L_BRACKET", "L_BRACE"):
            depth += 1
        elif kind in ("R_PAREN", "R_BRACKET", "R_BRACE"):
            depth -= 1
        elif depth == 0 and kind == "SELECT":
            selecting = True
        elif depth == 0 and kind == "FROM" and before != "DISTINCT":
            return end if selecting else None
        before, end = kind, token.start if kind == "COMMA" else token.end + 1
    return None
