"""DuckDB, in this process: in memory or in a file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, ClassVar

import duckdb
import pyarrow as pa

from elasticdl_nb.sql.engines.engine import BATCH_ROWS, Connection, Engine, RowKey, Table
from elasticdl_nb.sql.language.errors import SqlError

_EXCERPT = re.compile(r"^(?P<label>LINE \d+: )(?P<line>.*)\n(?P<caret> *)\^", re.MULTILINE)

_NAMED = re.compile(r'(?:column|table) "([^"]+)" not found|with name (\S+) does not exist')


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise SqlError(_message(error), near=_near(error)) from None
    except pa.ArrowException as error:
        raise SqlError(f"DuckDB: {error}") from None


def _near(error: Exception) -> tuple[str, int]:
    """The line of the query that DuckDB shows and the place that its caret points at, or the name that it mentions."""
    match = _EXCERPT.search(str(error))
    if match is None:
        name = _NAMED.search(str(error))
        return (name[1] or name[2], 0) if name else ("", 0)
    cut = 3 if match["line"].startswith("...") else 0
    excerpt = match["line"][cut:].removesuffix("...").rstrip()
    return excerpt, min(max(0, len(match["caret"]) - len(match["label"]) - cut), len(excerpt))


def _message(error: Exception) -> str:
    """DuckDB's message without its excerpt, as the query contains more than the user's text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    end = next((number for number, line in enumerate(lines) if line.startswith("LINE ")), len(lines))
    return "DuckDB: " + " ".join(line for line in lines[:end] if line.strip())


class DuckConnection(Connection):
    """A cursor of a DuckDB database."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, *, owned: bool = True) -> None:
        self._cursor = cursor
        self._owned = owned

    def run(self, statement: str) -> int:
        """Run a statement; the single row that it returns says how many rows were changed."""
        with _errors():
            cursor = self._cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
        return int(row[0]) if row and len(row) == 1 and isinstance(row[0], int) else -1

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows."""
        with _errors():
            return list(self._cursor.execute(query).fetchall())

    def describe(self, query: str) -> pa.Schema:
        """Return the types of DuckDB's own Arrow export."""
        with _errors():
            return self._cursor.sql(f"SELECT * FROM (\n{query}\n) AS q LIMIT 0").to_arrow_table().schema

    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return DuckDB's own stream of batches."""
        with _errors():
            return self._cursor.sql(query).to_arrow_reader(batch_rows)

    def insert(self, table: str, reader: pa.RecordBatchReader) -> None:
        """Add the rows of an Arrow stream."""
        with _errors():
            self._cursor.register("elasticdl_nb_rows", reader)
            try:
                self._cursor.execute(f"INSERT INTO {table} SELECT * FROM elasticdl_nb_rows")
            finally:
                self._cursor.unregister("elasticdl_nb_rows")

    def execute(self, statement: str) -> pa.RecordBatchReader | None:
        """Run any statement."""
        with _errors():
            kinds = [kind for item in self._cursor.extract_statements(statement) for kind in item.expected_result_type]
            relation = self._cursor.sql(statement)
            changes = duckdb.ExpectedResultType.QUERY_RESULT not in kinds or len(kinds) > 1
            if relation is None or (changes and relation.columns in (["Count"], ["Success"])):
                return None
            # All rows at once: the connection is used for other statements while they are read.
            return relation.to_arrow_table().to_reader()

    def close(self) -> None:
        """Close the cursor, unless it is the user's own connection."""
        if self._owned:
            self._cursor.close()


class DuckEngine(Engine):
    """A DuckDB database: a file, `:memory:`, or a connection that is already open."""

    dialect = "duckdb"
    double = "DOUBLE"
    text = "VARCHAR"
    most_columns = 100_000
    types: ClassVar = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "text": "VARCHAR"}

    def __init__(self, target: str | duckdb.DuckDBPyConnection = ":memory:", *, url: str = "") -> None:
        self._owned = isinstance(target, str)
        with _errors():
            self._database = duckdb.connect(target) if isinstance(target, str) else target
        self._main = DuckConnection(self._database, owned=False)
        self.label = f"DuckDB ({target})" if isinstance(target, str) else "DuckDB"
        self.url = url

    @property
    def main(self) -> Connection:
        """The database's first connection."""
        return self._main

    def connect(self) -> Connection:
        """Return a new cursor."""
        with _errors():
            return DuckConnection(self._database.cursor())

    def reading(self, query: str) -> contextlib.AbstractContextManager[Connection]:
        """Return a new cursor, or the main connection if only that sees the query's tables.

        Temporary tables and registered frames belong to the connection that made them.
        """
        cursor = self._database.cursor()
        try:
            cursor.execute(f"EXPLAIN {query}")
        except duckdb.Error:
            cursor.close()
            return contextlib.nullcontext(self._main)
        return DuckConnection(cursor)

    def close(self) -> None:
        """Close the database, unless it is the user's own connection."""
        if self._owned:
            self._database.close()

    # ------------------------------------------------------------ the catalogue

    def tables(self) -> list[str]:
        """Return the names of tables and views."""
        found = self._main.rows(
            "SELECT table_catalog = current_database() AND table_schema = current_schema(), table_schema, table_name "
            "FROM information_schema.tables WHERE table_schema NOT IN ('information_schema', 'pg_catalog') "
            "ORDER BY table_name"
        )
        return [name if here or schema == "main" else f"{schema}.{name}" for here, schema, name in found]

    def kind_of(self, table: Table) -> str:
        """Return "table", "view" or nothing."""
        conditions = ["lower(table_name) = lower(" + self.string(table.parts[-1]) + ")"]
        if len(table.parts) > 1:
            part = self.string(table.parts[-2])
            # One part before the name may be a schema or a database.
            conditions.append(f"(lower(table_schema) = lower({part}) OR lower(table_catalog) = lower({part}))")
        else:
            conditions.append("(table_schema = current_schema() OR table_catalog = 'temp')")
        found = self._main.rows(f"SELECT table_type FROM information_schema.tables WHERE {' AND '.join(conditions)}")
        if not found:
            return ""
        return "view" if "VIEW" in found[0][0] else "table"

    def row_key(self, table: Table) -> RowKey | None:
        """Return the row number, which every table has."""
        return RowKey(("{}.rowid",))

    def finite(self, expression: str, kind: str) -> str:
        """Return the expression without infinities and NaN."""
        if kind in ("date", "timestamp"):  # isfinite does not take all of these types
            return f"CASE WHEN epoch({expression}) IS NOT NULL THEN {expression} END"
        return f"CASE WHEN isfinite({expression}) THEN {expression} END" if kind == "float" else expression

    def seconds(self, expression: str, kind: str) -> str:
        """Return a moment or a time in seconds."""
        return f"epoch({expression})"

    def listing(self, expression: str) -> str:
        """Return a list as DuckDB writes it, without its brackets."""
        text = f"CAST({expression} AS VARCHAR)"
        for mark in ("[", "]", "NULL"):
            text = f"replace({text}, '{mark}', '')"
        return text

    def length(self, expression: str) -> str:
        """Return how many numbers are in a list or an array."""
        return f"len({expression})"
