"""Where PREDICT writes: into the table selected from, into a new table, or in place of another table."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass

from elasticdl_nb.sql.engines import Column, Engine, Relation, RowKey, Table
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Name, Position, Predict, Train
from elasticdl_nb.sql.record.meaning import value_kind
from elasticdl_nb.sql.record.modelrecord import ModelRecord
from elasticdl_nb.sql.writing import keyedquery
from elasticdl_nb.tables.kinds import NUMBERS


@dataclass(frozen=True)
class Place:
    """Where in the table selected from a prediction belongs.

    `query` returns the statement's rows with the columns of `key` and with `version`, an expression that changes when
    a row changes. Columns `unchanged` would change by themselves in an update, and `has_triggers` says that other rows
    might.
    """

    relation: Relation
    query: str
    key: RowKey
    version: str
    unchanged: tuple[str, ...] = ()
    has_triggers: bool = False


@dataclass(frozen=True)
class Target:
    """The column to write, and how.

    `rows` are the rows of the statement. `place` is None if a table is created, which then gets the columns `selected`,
    too. `kind` (integer, float, boolean, text) is the kind of the predictions, and `type` the column's type in SQL.
    `adds` means that the column does not exist yet, and `replaces` is the table that will be replaced.
    """

    table: Table
    column: str
    kind: str
    type: str
    rows: Selection
    selected: tuple[str, ...]
    place: Place | None = None
    adds: bool = True
    replaces: Relation | None = None

    @property
    def query(self) -> str:
        """Return the query that is run."""
        return self.place.query if self.place else self.rows.query

    @property
    def does(self) -> str:
        """Return in a word or two what happens to the table."""
        if self.place is not None:
            return "new column" if self.adds else "column updated"
        return "table replaced" if self.replaces else "new table"

    @property
    def how(self) -> str:
        """Return how the rows are identified; empty if there is no need to."""
        return f"rows are identified by {self.place.key.what}" if self.place else ""


def find_target(rows: Selection, statement: Predict, record: ModelRecord, *, replace: bool) -> Target:
    """Return where the predictions of the model with this record will go.

    Raises SqlError if that would destroy something, rows cannot be identified, or the account may not write there.
    """
    engine, name = rows.engine, statement.target
    label = record.label
    check_no_transaction(engine, "PREDICT", name.position)
    given = Table(name.parts[:-1], name.quoted[:-1])
    relation = _find(engine, given)
    quoted = name.quoted[-1] if name.quoted else False
    column = name.parts[-1] if quoted else engine.fold(name.parts[-1])
    table = relation.table if relation else engine.folded(given)
    left_out = {column, label.column if label else column}
    if not engine.quoted_is_exact:
        left_out = {other for other in rows.kinds if other.lower() in {name.lower() for name in left_out}}
    selected = tuple(name for name in rows.kinds if name not in left_out)
    kind = value_kind(label)
    target = Target(table, column, kind, engine.types[kind], rows, selected)
    if relation is not None:
        if relation.kind != "table":
            raise SqlError(f"{given.name} is a {relation.kind}; predictions can only be written to tables",
                           name.position)  # fmt: skip
        target = _existing(target, relation, name, record, replace=replace)
    _check_permission(target, name.position)
    return target


def check_no_transaction(engine: Engine, what: str, place: Position) -> None:
    """Raise SqlError if a transaction is open in which this database could not undo just what a statement has done."""
    if not engine.writes_in_transaction and engine.main.in_transaction():
        raise SqlError(f"a transaction is open, in which {what} cannot write; COMMIT or ROLLBACK it first", place)


def _find(engine: Engine, table: Table) -> Relation | None:
    """Return what the name means or, if only the case of letters differs, the one table that may be meant."""
    found = engine.find(engine.folded(table))
    if found is not None or len(table.parts) > 1 or (table.quoted and table.quoted[0]):
        return found
    alike = [name for name in engine.tables() if name.lower() == table.parts[0].lower()]
    return engine.find(Table((alike[0],))) if len(alike) == 1 else None


def _existing(target: Target, relation: Relation, name: Name, record: ModelRecord, *, replace: bool) -> Target:
    nodes, written = keyedquery.uses(target.rows, relation), ".".join(name.parts[:-1])
    if not nodes:
        if not replace:
            raise SqlError(f"{written} exists and is not the table selected from; WITH replace=true replaces it",
                           name.position)  # fmt: skip
        return dataclasses.replace(target, replaces=relation)
    if len(nodes) > 1:
        raise keyedquery.not_rows(target.rows, written)
    place = _place(target, relation, nodes[0], name)
    column = _column(relation, target, quoted=bool(name.quoted and name.quoted[-1]))
    if column is None and relation.why_no_more:
        raise SqlError(f"{written} can have no more columns: {relation.why_no_more}; predict into one that it has, or "
                       "into another table", name.position)  # fmt: skip
    if column is None:
        return dataclasses.replace(target, place=place)
    _check_column(target, column, place, name)
    if column.name.lower() in _labels(record, target.rows.engine) and not replace:
        raise SqlError(f"{name.text} is the label that the model was trained on; WITH replace=true overwrites it",
                       name.position)  # fmt: skip
    return dataclasses.replace(target, column=column.name, type=column.type or target.type, place=place, adds=False)


def _labels(record: ModelRecord, engine: Engine) -> set[str]:
    """Return what the model's label was called in its query, and in the table that the query selected from."""
    if record.label is None:
        return set()
    names = {record.label.column}
    with contextlib.suppress(SqlError):  # it was stored by another version, or for another database
        for statement in parse(record.statement, engine.dialect):
            if isinstance(statement, Train):
                names.add(keyedquery.origin(statement.select, record.label.column, engine.dialect))
    return {name.lower() for name in names}


def _column(relation: Relation, target: Target, *, quoted: bool) -> Column | None:
    if quoted and target.rows.engine.quoted_is_exact:
        return next((column for column in relation.columns if column.name == target.column), None)
    return relation.column(target.column)


def _place(target: Target, relation: Relation, node: object, name: Name) -> Place:
    engine, written = target.rows.engine, ".".join(name.parts[:-1])
    if relation.why_not:
        raise SqlError(f"{written} cannot be changed safely: {relation.why_not}; predict into another table",
                       name.position)  # fmt: skip
    key, triggers = engine.row_key(relation), engine.has_triggers(relation)
    if key is None or (triggers and not key.stays):
        why = "it has triggers, and no key without NULLs" if key else "it has no key without NULLs"
        raise SqlError(f"the rows of {written} cannot be identified for certain: {why}; give it a primary key, or "
                       "predict into another table", name.position)  # fmt: skip
    own = _column(relation, target, quoted=bool(name.quoted and name.quoted[-1]))
    others = [column for column in relation.columns if column != own and not column.is_generated]
    version = engine.digest(others)
    query = keyedquery.with_key(target.rows, node, written, key.expressions, version)
    unchanged = tuple(engine.quote(column.name) for column in others if column.changes_on_update)
    return Place(relation, query, key, version, unchanged, triggers)


def _check_column(target: Target, column: Column, place: Place, name: Name) -> None:
    if column.is_generated:
        raise SqlError(f"{name.text} is computed by the database; predict into another column", name.position)
    if column.name in place.key.columns:
        raise SqlError(f"{name.text} is part of {place.key.what}, which identifies the rows; predict into another "
                       "column", name.position)  # fmt: skip
    quoted = target.rows.engine.quoted(place.relation.table.parts)
    kinds = Selection.of(target.rows.engine, f"SELECT * FROM {quoted}", name.position).kinds
    kind = kinds.get(column.name, "")
    if not _holds(kind, target.kind):
        raise SqlError(f"{name.text} has the type {kind}, but the predictions are {target.kind}", name.position)


def _holds(column: str, values: str) -> bool:
    if column == "empty":
        return True  # in SQLite, where only values have types
    if values == "text":
        return column == "text"
    if values == "float":
        return column in ("float", "decimal")
    return column in NUMBERS


def _check_permission(target: Target, place: Position) -> None:
    engine = target.rows.engine
    name = engine.quoted(target.table.parts)
    column = engine.quote(target.column)
    if target.place is not None:
        statements = [f"ALTER TABLE {name} ADD COLUMN {column} {engine.types[target.kind]}"] if target.adds else []
        statements.append(f"UPDATE {name} SET {column} = {column} WHERE 1 = 0")
    else:
        statements = [f"DROP TABLE {name}"] if target.replaces else []
        statements.append(engine.create(target.table, "(x INTEGER)", temporary=is_temporary(target)))
    if target.place is not None and target.place.relation.is_temporary:
        return  # the session's own
    try:
        engine.check(engine.main, statements)
    except SqlError as error:
        raise SqlError(f"{target.table.name} cannot be written: {error.problem}", place) from None


def is_temporary(target: Target) -> bool:
    """Whether the table will be a temporary one, as the one that it replaces was."""
    return target.replaces is not None and target.replaces.is_temporary
