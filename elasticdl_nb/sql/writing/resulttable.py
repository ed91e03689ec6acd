"""The table of INTO, which gets the few rows of an EVALUATE or EXPLAIN statement."""

from __future__ import annotations

import pyarrow as pa

from elasticdl_nb.sql.engines import Engine, Table
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name


def check_result_table(engine: Engine, into: Name | None, *, replace: bool) -> None:
    """Raise SqlError if the table of INTO cannot be created, or if it exists and may not be replaced."""
    if into is None:
        return
    table = Table(into.parts)
    exists = engine.kind_of(table)
    if exists == "view" or (exists and not replace):
        hint = "" if exists == "view" else "; WITH replace=true replaces it"
        raise SqlError(f"{table.name} exists{hint}", into.position)
    name = engine.quoted(table.parts)
    try:
        with engine.connect() as connection:
            engine.check(connection, [*([f"DROP TABLE {name}"] if exists else []), f"CREATE TABLE {name} (x INTEGER)"])
    except SqlError as error:
        raise SqlError(f"{table.name} cannot be written: {error.problem}", into.position) from None


def write_result_table(engine: Engine, into: Name | None, result: pa.Table) -> None:
    """Create the table of INTO, if there is one, with these rows; an existing table is replaced."""
    if into is None:
        return
    name = engine.quoted(into.parts)
    kinds = ["text" if pa.types.is_string(field.type) else "float" for field in result.schema]
    columns = [
        f"{engine.quote(field.name)} {engine.types[kind]}" for field, kind in zip(result.schema, kinds, strict=True)
    ]
    with engine.connect() as connection, connection.transaction():
        connection.run(f"DROP TABLE IF EXISTS {name}")
        connection.run(f"CREATE TABLE {name} ({', '.join(columns)})")
        connection.insert(name, result.to_reader())
