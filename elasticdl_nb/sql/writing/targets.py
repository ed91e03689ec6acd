"""Where PREDICT writes: into the table selected from, a new table, or in place of another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.sql.engines.base import Connection, Engine, RowKey, Table
from elasticdl_nb.sql.features.drafts import NUMBERS, kind_of
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Predict
from elasticdl_nb.sql.writing import stepwise

ROW = "elasticdl_nb_row"
VALUE = "elasticdl_nb_value"
KEY = "elasticdl_nb_key_"
SNAPSHOT, PREDICTIONS = "elasticdl_nb_snapshot", "elasticdl_nb_predictions"


@dataclass(frozen=True)
class Target:
    """The column to write, and how.

    `key` tells the rows of the table selected from apart; None where a table is made. `query` is the statement's, with
    the key's columns where there is one. `adds` says that the column is not there yet, `replaces` that a table is.
    """

    table: Table
    column: str
    kind: str
    query: str
    selected: tuple[str, ...]
    key: RowKey | None = None
    adds: bool = True
    replaces: bool = False

    @property
    def does(self) -> str:
        """What is done to the table, in a word or two."""
        if self.key is not None:
            return "new column" if self.adds else "column updated"
        return "table replaced" if self.replaces else "new table"


def find_target(
    engine: Engine, statement: Predict, kinds: dict[str, str], label: str, kind: str, *, replace: bool
) -> Target:
    """Return where the predictions, of `kind` (integer, float, boolean, text), will go.

    Raises SqlError if that would destroy something, rows could not be told apart, or the account may not write there.
    """
    table, column = _table_as_it_is(engine, statement.target.parts[:-1]), statement.target.parts[-1]
    place = statement.target.position
    exists = engine.kind_of(table)
    if exists == "view":
        raise SqlError(f"{table.name} is a view; predictions go into tables", place)
    selected = tuple(name for name in kinds if name.lower() not in (label.lower(), column.lower()))
    uses = _uses(engine, statement, table) if exists else 0
    if uses:
        key = engine.row_key(table)
        if key is None:
            raise SqlError(f"the rows of {table.name} cannot be told apart: it needs a primary key; or predict into "
                           "another table", place)  # fmt: skip
        query = _with_key(engine, statement, table, key, uses)
        there = {item.name: kind_of(item.type) for item in engine.describe(_all_of(engine, table))}
        column = next((name for name in there if name.lower() == column.lower()), column)
        if column in there and not _holds(there[column], kind):
            raise SqlError(f"{statement.target.text} is of type {there[column]}, which does not hold the "
                           f"predictions: {kind}", place)  # fmt: skip
        target = Target(table, column, kind, query, selected, key, column not in there)
    elif exists and not replace:
        raise SqlError(f"{table.name} exists and is not the table selected from; WITH replace=true replaces it", place)
    else:
        target = Target(table, column, kind, statement.select, selected, replaces=bool(exists))
    _check_permission(engine, target, statement)
    return target


def _table_as_it_is(engine: Engine, parts: tuple[str, ...]) -> Table:
    """Return the table in the spelling that the database has, where only that of capitals differs."""
    table = Table(parts)
    if len(parts) > 1 or engine.kind_of(table):
        return table
    found = [name for name in engine.tables() if name.lower() == parts[0].lower()]
    return Table((found[0],)) if len(found) == 1 else table


def _all_of(engine: Engine, table: Table) -> str:
    return f"SELECT * FROM {engine.quoted(table.parts)}"


def _holds(column: str, values: str) -> bool:
    if values == "text":
        return column == "text"
    if values == "float":
        return column in ("float", "decimal")
    return column in NUMBERS


def _check_permission(engine: Engine, target: Target, statement: Predict) -> None:
    name = engine.quoted(target.table.parts)
    column = engine.quote(target.column)
    if target.key is not None:
        statements = [f"ALTER TABLE {name} ADD COLUMN {column} {engine.types[target.kind]}"] if target.adds else []
        statements.append(f"UPDATE {name} SET {column} = {column} WHERE 1 = 0")
    else:
        statements = [f"DROP TABLE {name}"] if target.replaces else []
        statements.append(f"CREATE TABLE {name} (x INTEGER)")
    try:
        with engine.connect() as connection:
            engine.check(connection, statements)
    except SqlError as error:
        raise SqlError(f"{target.table.name} cannot be written: {error.problem}", statement.target.position) from None


# ------------------------------------------------------------------ the table selected from


def _parsed(engine: Engine, statement: Predict) -> Any:
    import sqlglot

    return sqlglot.parse_one(statement.select, dialect=engine.dialect)


def _uses(engine: Engine, statement: Predict, table: Table) -> int:
    """Return how often the query selects from the table, anywhere in it."""
    from sqlglot import expressions

    return sum(_is_same(node, table) for node in _parsed(engine, statement).find_all(expressions.Table))


def _is_same(node: Any, table: Table) -> bool:
    parts = [part.name.lower() for part in node.parts]
    wanted = [part.lower() for part in table.parts]
    shared = min(len(parts), len(wanted))
    return parts[-shared:] == wanted[-shared:]


def _with_key(engine: Engine, statement: Predict, table: Table, key: RowKey, uses: int) -> str:
    """Return the query with the key's columns behind its own."""
    from sqlglot import expressions

    tree = _parsed(engine, statement)
    unable = SqlError(
        f"which rows of {table.name} the query's rows are cannot be told; select from it once, without grouping, "
        "DISTINCT or UNION, or predict into another table",
        statement.select_position,
    )
    barred = ("group", "distinct", "having", "qualify")
    if uses != 1 or not isinstance(tree, expressions.Select) or any(tree.args.get(part) for part in barred):
        raise unable
    if any(item.find(expressions.AggFunc) and not item.find(expressions.Window) for item in tree.expressions):
        raise unable
    direct = [tree.args.get("from_") or tree.args.get("from"), *(tree.args.get("joins") or [])]
    nodes = [item.this for item in direct if item is not None and isinstance(item.this, expressions.Table)]
    node = next((node for node in nodes if _is_same(node, table)), None)
    if node is None:
        raise unable
    alias = engine.quote(node.alias) if node.alias else ".".join(engine.quote(part.name) for part in node.parts)
    for number, expression in enumerate(key.expressions):
        text = f"{expression.format(alias)} AS {engine.quote(f'{KEY}{number}')}"
        tree = tree.select(text, dialect=engine.dialect, copy=False)
    return str(tree.sql(dialect=engine.dialect))


# ------------------------------------------------------------------ writing


def take_snapshot(engine: Engine, connection: Connection, target: Target) -> int:
    """Keep the query's rows, numbered from 1, in a temporary table of the connection; return how many there are."""
    connection.run(f"DROP TABLE IF EXISTS {SNAPSHOT}")
    connection.run(
        f"CREATE TEMPORARY TABLE {SNAPSHOT} AS SELECT row_number() OVER () AS {ROW}, q.* FROM (\n{target.query}\n) AS q"
    )
    return int(connection.rows(f"SELECT COUNT(*) FROM {SNAPSHOT}")[0][0])


def make_room(engine: Engine, connection: Connection, kind: str) -> None:
    """Make the temporary table that predictions go to first."""
    connection.run(f"DROP TABLE IF EXISTS {PREDICTIONS}")
    connection.run(f"CREATE TEMPORARY TABLE {PREDICTIONS} ({ROW} BIGINT PRIMARY KEY, {VALUE} {engine.types[kind]})")


def write(engine: Engine, connection: Connection, target: Target, rows: int) -> None:
    """Bring the predictions from their temporary table to where they belong; all of them, or nothing changes."""
    if target.key is not None:
        try:
            _update(engine, connection, target, target.key, rows)
        except stepwise.OtherRowsError as error:
            raise SqlError(
                f"{target.table.name} has changed while predicting, or the query gives a row of it several times: "
                f"{rows:,} rows were predicted, {error.args[0]:,} would be written. Nothing was changed"
            ) from None
    elif engine.transactional_ddl:
        with connection.transaction():
            if target.replaces:
                connection.run(f"DROP TABLE {engine.quoted(target.table.parts)}")
            connection.run(f"CREATE TABLE {engine.quoted(target.table.parts)} {_made_by(engine, target)}")
    else:
        stepwise.exchange(engine, connection, target.table, _made_by(engine, target), replaces=target.replaces)


def _update(engine: Engine, connection: Connection, target: Target, key: RowKey, rows: int) -> None:
    table, column, kind = target.table, engine.quote(target.column), engine.types[target.kind]
    same = " AND ".join(
        f"{expression.format('t')} = s.{engine.quote(f'{KEY}{number}')}"
        for number, expression in enumerate(key.expressions)
    )
    source = (f"p.{VALUE}", f"{SNAPSHOT} AS s JOIN {PREDICTIONS} AS p ON p.{ROW} = s.{ROW}", same)
    if target.adds and not engine.transactional_ddl:
        stepwise.add_column(engine, connection, table, (target.column, kind), source, rows)
        return
    with connection.transaction():
        if target.adds:
            connection.run(f"ALTER TABLE {engine.quoted(table.parts)} ADD COLUMN {column} {kind}")
        changed = connection.run(engine.update_from(table, column, *source))
        if changed != rows:
            raise stepwise.OtherRowsError(changed)


def _made_by(engine: Engine, target: Target) -> str:
    columns = [f"s.{engine.quote(name)}" for name in target.selected] + [f"p.{VALUE} AS {engine.quote(target.column)}"]
    return (
        f"AS SELECT {', '.join(columns)} FROM {SNAPSHOT} AS s JOIN {PREDICTIONS} AS p ON p.{ROW} = s.{ROW} "
        f"ORDER BY s.{ROW}"
    )


def selected_columns(engine: Engine, kinds: dict[str, str], columns: Sequence[str]) -> str:
    """Return the query that reads these columns of the snapshot, in its order."""
    listed = [f"{engine.pulled(f's.{engine.quote(name)}', kinds[name])} AS {engine.quote(name)}" for name in columns]
    return f"SELECT {', '.join(listed)} FROM {SNAPSHOT} AS s ORDER BY s.{ROW}"
