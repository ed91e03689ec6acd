"""The table of INTO, which gets the few rows of an EVALUATE or EXPLAIN statement."""

from __future__ import annotations

import contextlib
import secrets

import pyarrow as pa

from elasticdl_nb.sql.engines import Engine, Table
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name
from elasticdl_nb.sql.writing import stepwise
from elasticdl_nb.sql.writing.targets import check_no_transaction


def check_result_table(engine: Engine, into: Name | None, *, replace: bool) -> None:
    """Raise SqlError if the table of INTO cannot be created, or if it exists and may not be replaced."""
    if into is None:
        return
    check_no_transaction(engine, "INTO", into.position)
    table = _folded(engine, into)
    found = engine.find(table)
    if found is not None and (found.kind != "table" or not replace):
        hint = "; WITH replace=true replaces it" if found.kind == "table" else f"; it is a {found.kind}"
        raise SqlError(f"{table.name} exists{hint}", into.position)
    name = engine.quoted(table.parts)
    try:
        engine.check(engine.main, [*([f"DROP TABLE {name}"] if found else []), f"CREATE TABLE {name} (x INTEGER)"])
    except SqlError as error:
        raise SqlError(f"{table.name} cannot be written: {error.problem}", into.position) from None


def write_result_table(engine: Engine, into: Name | None, result: pa.Table, *, replace: bool) -> None:
    """Create the table of INTO, if there is one, with these rows; `replace` allows to replace an existing one."""
    if into is None:
        return
    table = _folded(engine, into)
    name = engine.quoted(table.parts)
    kinds = ["text" if pa.types.is_string(field.type) else "float" for field in result.schema]
    columns = [
        f"{engine.quote(field.name)} {engine.types[kind]}" for field, kind in zip(result.schema, kinds, strict=True)
    ]
    made_by = f"({', '.join(columns)})"
    if not engine.transactional_ddl:
        _exchange(engine, table, made_by, result, replaces=replace and engine.find(table) is not None)
        return
    with engine.main.transaction():
        if replace:
            engine.main.run(f"DROP TABLE IF EXISTS {name}")
        engine.main.run(f"CREATE TABLE {name} {made_by}")
        engine.main.insert(name, result.to_reader())


def _exchange(engine: Engine, table: Table, made_by: str, result: pa.Table, *, replaces: bool) -> None:
    """Do the same where a table cannot be created or dropped in a transaction."""
    temporary = engine.temporary(f"elasticdl_nb_result_{secrets.token_hex(4)}", table)
    engine.main.run(f"CREATE TEMPORARY TABLE {temporary} {made_by}")
    try:
        engine.main.insert(temporary, result.to_reader())
        as_selected = f"AS SELECT * FROM {temporary}"
        stepwise.exchange(engine, engine.main, table, as_selected, result.num_rows, replaces=replaces)
    finally:
        with contextlib.suppress(SqlError):  # a lost connection has dropped it
            engine.main.run(engine.dropping(temporary))


def _folded(engine: Engine, into: Name) -> Table:
    return engine.folded(Table(into.parts, into.quoted))
