"""Where PREDICT writes: into the table selected from, into a new table, or in place of another table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from elasticdl_nb.sql.engines import Engine, RowKey, Table
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name, Position, Predict
from elasticdl_nb.sql.models.outputs import value_kind
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.sql.writing import keyedquery
from elasticdl_nb.tables.kinds import NUMBERS


@dataclass(frozen=True)
class Target:
    """The column to write, and how.

    `rows` are the rows of the statement. `key` identifies the rows of the table selected from; it is None if a table is
    created. `query` returns the rows with the columns of `key`. `kind` (integer, float, boolean, text) is the kind of
    the predictions, and `selected` the columns that a new table gets as well. `adds` means that the column does not
    exist yet, and `replaces` that a table does.
    """

    table: Table
    column: str
    kind: str
    rows: Selection
    query: str
    selected: tuple[str, ...]
    key: RowKey | None = None
    adds: bool = True
    replaces: bool = False

    @property
    def does(self) -> str:
        """Return in a word or two what happens to the table."""
        if self.key is not None:
            return "new column" if self.adds else "column updated"
        return "table replaced" if self.replaces else "new table"


def find_target(rows: Selection, statement: Predict, label: Label | None, *, replace: bool) -> Target:
    """Return where the predictions of a model with this label will go.

    Raises SqlError if that would destroy something, rows cannot be identified, or the account may not write there.
    """
    engine, place = rows.engine, statement.target.position
    table, column = _table_as_it_is(engine, statement.target.parts[:-1]), statement.target.parts[-1]
    exists = engine.kind_of(table)
    if exists == "view":
        raise SqlError(f"{table.name} is a view; predictions can only be written to tables", place)
    left_out = (column.lower(), label.column.lower() if label else column.lower())
    selected = tuple(name for name in rows.kinds if name.lower() not in left_out)
    target = Target(table, column, value_kind(label), rows, rows.query, selected, replaces=bool(exists))
    if exists and keyedquery.count_uses(rows, table):
        target = _in_table_selected_from(target, statement.target)
    elif exists and not replace:
        raise SqlError(f"{table.name} exists and is not the table selected from; WITH replace=true replaces it", place)
    _check_permission(target, place)
    return target


def _table_as_it_is(engine: Engine, parts: tuple[str, ...]) -> Table:
    """Return the table with the database's spelling, if only the case of letters differs."""
    table = Table(parts)
    if len(parts) > 1 or engine.kind_of(table):
        return table
    found = [name for name in engine.tables() if name.lower() == parts[0].lower()]
    return Table((found[0],)) if len(found) == 1 else table


def _in_table_selected_from(target: Target, name: Name) -> Target:
    engine, table, column = target.rows.engine, target.table, target.column
    key = engine.row_key(table)
    if key is None:
        raise SqlError(f"the rows of {table.name} cannot be identified; give it a primary key, or predict into "
                       "another table", name.position)  # fmt: skip
    query = keyedquery.with_key(target.rows, table, key)
    there = Selection.of(engine, f"SELECT * FROM {engine.quoted(table.parts)}", name.position).kinds
    column = next((other for other in there if other.lower() == column.lower()), column)
    if column in there and not _holds(there[column], target.kind):
        raise SqlError(f"{name.text} has the type {there[column]}, but the predictions are {target.kind}",
                       name.position)  # fmt: skip
    return dataclasses.replace(target, column=column, query=query, key=key, adds=column not in there, replaces=False)


def _holds(column: str, values: str) -> bool:
    if values == "text":
        return column == "text"
    if values == "float":
        return column in ("float", "decimal")
    return column in NUMBERS


def _check_permission(target: Target, place: Position) -> None:
    engine = target.rows.engine
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
        raise SqlError(f"{target.table.name} cannot be written: {error.problem}", place) from None
