"""Evaluates a statement's queries once and keeps their rows, so that all that is learned from them fits together."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.engines.duck import DuckEngine
from elasticdl_nb.sql.features.columntypes import LIST
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.language.errors import SqlError


@contextlib.contextmanager
def snapshots(selections: Sequence[Selection]) -> Iterator[list[Selection]]:
    """Return selections of the rows that these queries return at one moment, until the block ends.

    The rows are in temporary tables of the session or, if it cannot have those, in a DuckDB file. All queries must be
    on the same database. Raises SqlError if a query fails.
    """
    engine = selections[0].engine
    names = [engine.temporary(f"elasticdl_nb_rows_{secrets.token_hex(4)}") for _ in selections]
    with contextlib.ExitStack() as stack:
        try:
            with engine.main.transaction():
                for rows, name in zip(selections, names, strict=True):
                    query = f"SELECT * FROM (\n{rows.query}\n) AS q"
                    engine.main.run(f"CREATE TEMPORARY TABLE {name} AS {query}")
        except SqlError:
            kept = stack.enter_context(_in_file(selections))
        else:
            stack.callback(_drop, engine, names)
            kept = [_of_table(rows, name) for rows, name in zip(selections, names, strict=True)]
        yield kept


def _of_table(rows: Selection, name: str) -> Selection:
    query = f"SELECT * FROM {name}"
    if rows.engine.types_of_values:
        return Selection.of(rows.engine, query, rows.position, rows.what)
    return replace(rows, query=query)


def _drop(engine: Engine, names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(SqlError):  # a lost connection has dropped it
            engine.main.run(engine.dropping(name))


@contextlib.contextmanager
def _in_file(selections: Sequence[Selection]) -> Iterator[list[Selection]]:
    engine = selections[0].engine
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder, contextlib.ExitStack() as moment:
        local = DuckEngine(f"{folder}/rows.duckdb")
        try:
            kept = []
            with contextlib.suppress(SqlError):  # a database may have no transactions
                moment.enter_context(engine.main.transaction(keep=False))
            for number, rows in enumerate(selections):
                listed = ", ".join(_read(rows, name) for name in rows.kinds)
                reader = engine.stream(f"SELECT {listed} FROM (\n{rows.query}\n) AS q")
                _insert(local, f"rows_{number}", reader)
                kept.append(replace(rows, engine=local, query=f"SELECT * FROM rows_{number}"))
            moment.close()
            yield kept
        finally:
            local.close()


def _insert(local: DuckEngine, name: str, reader: pa.RecordBatchReader) -> None:
    """Keep the rows; raise the reader's own error, and not what DuckDB says about it."""
    errors = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except SqlError as error:
            errors.append(error)
            raise

    try:
        local.main.insert(name, pa.RecordBatchReader.from_batches(reader.schema, batches()), create=True)
    except SqlError as error:
        raise (errors[0] if errors else error) from None


def _read(rows: Selection, name: str) -> str:
    """Return a column in a type that Arrow has; lists stay lists, which DuckDB has, too."""
    return f"q.{rows.engine.quote(name)}" if rows.kinds[name] == LIST else rows.listed([name], "q")
