"""DuckDB, in this process: in memory or in a file."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import duckdb
import pyarrow as pa

from elasticdl_nb.sql.engines.engine import Connection, Engine, Fetch
from elasticdl_nb.sql.engines.interrupting import interruptible
from elasticdl_nb.sql.engines.relations import Column, Relation, RowKey, Table, key_of
from elasticdl_nb.sql.language.errors import SqlError

_T = TypeVar("_T")

_EXCERPT = re.compile(r"^(?P<label>LINE \d+: )(?P<line>.*)\n(?P<caret> *)\^", re.MULTILINE)

_URL = "duckdb:///"
_TRIES, _PAUSE_SECONDS = 50, 0.1

_NAMED = re.compile(r'(?:column|table) "([^"]+)" not found|with name (\S+) does not exist')


_SETTINGS = (
    "SELECT name, value FROM duckdb_settings() WHERE name IN ('TimeZone', 'Calendar', 'default_collation', "
    "'default_null_order', 'default_order', 'integer_division', 'ieee_floating_point_ops', 'old_implicit_casting') "
    "ORDER BY name"
)
"""Settings that change what queries return."""


@functools.cache
def _usual_settings() -> dict[str, str]:
    with duckdb.connect() as fresh:
        return dict(fresh.execute(_SETTINGS).fetchall())


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise SqlError(_message(error), near=_near(error)) from None
    except pa.ArrowException as error:
        raise SqlError(f"DuckDB: {error}") from None
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from None  # DuckDB has seen the signal itself


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

    has_savepoints = False

    def __init__(self, cursor: duckdb.DuckDBPyConnection, *, owned: bool = True) -> None:
        super().__init__()
        self._cursor = cursor
        self._owned = owned
        self._told = ""
        self.lost = False
        """Whether its database was closed meanwhile."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return another cursor of the same database."""
        return self._cursor.cursor()

    def reopened(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Use this cursor from now on."""
        self._cursor, self.lost = cursor, False

    def _do(self, call: Callable[[], _T]) -> _T:
        try:
            with _errors():
                return interruptible(call, self.cancel)
        except Exception:
            raise
        except BaseException:
            self._end_aborted()
            raise

    def _end_aborted(self) -> None:
        """An interrupt in the user's transaction leaves one that accepts nothing any more."""
        if self._begun:
            return
        try:
            self._cursor.execute("SELECT txid_current()").fetchall()
        except duckdb.TransactionException:
            self._cursor.execute("ROLLBACK")
            self._told = "the interrupted transaction was rolled back"

    def run(self, statement: str) -> int:
        """Run a statement; the single row that it returns says how many rows were changed."""

        def call() -> Any:
            cursor = self._cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None

        self._use()
        row = self._do(call)
        return int(row[0]) if row and len(row) == 1 and isinstance(row[0], int) else -1

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows."""
        self._use()
        return self._do(lambda: list(self._cursor.execute(query).fetchall()))

    def describe(self, query: str) -> pa.Schema:
        """Return the types of DuckDB's own Arrow export."""
        self._use()
        limited = f"SELECT * FROM (\n{query}\n) AS q LIMIT 0"
        return self._do(lambda: self._cursor.sql(limited).to_arrow_table().schema)

    def _start(self, query: str, schema: pa.Schema, batch_rows: int, stack: contextlib.ExitStack) -> Fetch:
        reader = self._do(lambda: self._cursor.sql(query).to_arrow_reader(batch_rows))
        stack.callback(reader.close)
        return lambda: self._do(lambda: next(reader, None))

    def insert(self, table: str, reader: pa.RecordBatchReader, *, create: bool = False) -> None:
        """Add the rows of an Arrow stream to a table, which may be created with the same columns."""
        self._use()
        how = f"CREATE TABLE {table} AS" if create else f"INSERT INTO {table}"
        with _errors():
            self._cursor.register("elasticdl_nb_rows", reader)
        try:
            self._do(lambda: self._cursor.execute(f"{how} SELECT * FROM elasticdl_nb_rows"))
        finally:
            self._cursor.unregister("elasticdl_nb_rows")

    def execute(self, statement: str) -> pa.RecordBatchReader | None:
        """Run any statement."""
        self._use()
        return self._do(lambda: self._executed(statement))

    def _executed(self, statement: str) -> pa.RecordBatchReader | None:
        kinds = [kind for item in self._cursor.extract_statements(statement) for kind in item.expected_result_type]
        relation = self._cursor.sql(statement)
        changes = duckdb.ExpectedResultType.QUERY_RESULT not in kinds or len(kinds) > 1
        if relation is None or (changes and relation.columns in (["Count"], ["Success"])):
            return None
        # All rows at once: the connection is used for other statements while they are read.
        return relation.to_arrow_table().to_reader()

    def cancel(self) -> None:
        """Interrupt what runs."""
        self._cursor.interrupt()

    def in_transaction(self) -> bool:
        """Whether two statements have the same transaction."""
        self._use()
        try:
            numbers = [self._cursor.execute("SELECT txid_current()").fetchall() for _ in range(2)]
        except duckdb.TransactionException:  # an aborted one
            return True
        return bool(numbers[0] == numbers[1])

    def ready(self, statement: str | None) -> str:
        """Return what an interrupt has undone."""
        if statement is None:
            return ""
        told, self._told = self._told, ""
        return told

    def set_up(self) -> list[str]:
        """Return what only this connection, or this process, knows."""
        found = self.rows(
            "SELECT 'the temporary table ' || table_name FROM duckdb_tables() WHERE temporary UNION ALL "
            "SELECT 'the temporary view ' || view_name FROM duckdb_views() WHERE temporary AND NOT internal UNION ALL "
            "SELECT 'the attached database ' || database_name FROM duckdb_databases() WHERE NOT internal AND "
            "database_name <> (SELECT min_by(database_name, database_oid) FROM duckdb_databases() WHERE NOT internal) "
            "UNION ALL SELECT 'USE ' || current_schema() WHERE current_schema() <> 'main' "
            "UNION ALL SELECT 'SET VARIABLE ' || name FROM duckdb_variables()"
        )
        usual = _usual_settings()
        changed = [f"SET {name}" for name, value in self.rows(_SETTINGS) if usual.get(name) != value]
        return [*(str(row[0]) for row in found), *changed]

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
    writes_in_transaction = False

    def __init__(
        self, target: str | duckdb.DuckDBPyConnection = ":memory:", *, url: str = "", owned: bool = False
    ) -> None:
        self._owned = owned or isinstance(target, str)
        with _errors():
            self._database = duckdb.connect(target) if isinstance(target, str) else target
        self._main = DuckConnection(self._database, owned=False)
        self._lends = False
        self.label = f"DuckDB ({target})" if isinstance(target, str) else "DuckDB"
        self.url = url

    @property
    def main(self) -> DuckConnection:
        """The database's first connection, or the user's own."""
        if self._main.lost:
            self._database = _opened_again(self.url.removeprefix(_URL))
            self._main.reopened(self._database)
        return self._main

    def connect(self) -> Connection:
        """Return a new cursor."""
        with _errors():
            return DuckConnection(self.main.cursor())

    def apart(self) -> Engine:
        """Return the same file for another cursor of this process."""
        if not self._owned or not self.url:
            return super().apart()
        return DuckEngine(self.main.cursor(), url=self.url, owned=True)

    def let_go(self) -> None:
        """Close the file until it is used again, as no other process can open it."""
        if self._owned and self.url:
            self._database.close()
            self._main.lost = self._lends = True

    @contextlib.contextmanager
    def statement(self) -> Iterator[None]:
        """Once the file was closed for others, close it after each statement that leaves nothing behind."""
        try:
            yield
        finally:
            if self._lends and not self._main.lost and not self._main.in_transaction() and not self._main.set_up():
                self.let_go()

    def close(self) -> None:
        """Close the database, unless it is the user's own connection."""
        if self._owned:
            self._database.close()

    # ------------------------------------------------------------ the catalogue

    def tables(self) -> list[str]:
        """Return the names of tables and views."""
        found = self.main.rows(
            "SELECT table_catalog = current_database() AND table_schema = current_schema(), table_schema, table_name "
            "FROM information_schema.tables WHERE table_schema NOT IN ('information_schema', 'pg_catalog') "
            "ORDER BY table_name"
        )
        return [name if here or schema == "main" else f"{schema}.{name}" for here, schema, name in found]

    def find(self, table: Table) -> Relation | None:
        """Return the table or view; temporary ones come first, then those of the search path."""
        found = self._named(table.parts[-1], table.parts[:-1])
        places = [tuple(part.lower() for part in place) for place in self._places(table.parts[:-1])]
        by_place = {(database.lower(), schema.lower()): row for row in found for database, schema, _, _ in [row]}
        match = next((by_place[place] for place in places if place in by_place), None)
        if match is None:
            return None
        database, schema, name, kind = match
        columns = self._columns(database, schema, name) if kind == "table" else ()
        return Relation(Table((database, schema, name)), kind, columns, is_temporary=database == "temp")

    def _named(self, name: str, before: Sequence[str]) -> list[tuple[Any, ...]]:
        same = f"= lower({self.string(name)})"
        return self.main.rows(
            "SELECT database_name, schema_name, table_name, 'table' FROM duckdb_tables() "
            f"WHERE lower(table_name) {same} "
            "UNION ALL SELECT database_name, schema_name, view_name, 'view' FROM duckdb_views() "
            f"WHERE lower(view_name) {same}"
        )

    def _places(self, before: Sequence[str]) -> list[tuple[str, str]]:
        """Return where a name is looked for, in order, as databases and schemas; `before` are the parts before it."""
        path, here, schema = self.main.rows(
            "SELECT current_setting('search_path'), current_database(), current_schema()"
        )[0]
        if len(before) >= 2:
            return [(before[-2], before[-1])]
        if before:
            # The one part may be a schema or a database; DuckDB refuses names that may be both.
            return [("temp", before[0]), (here, before[0]), (before[0], "main")]
        listed = [_split(entry) for entry in _entries(path)]
        return [("temp", "main"), *((entry[0] or here, entry[1]) for entry in listed), (here, schema), (here, "main")]

    def _columns(self, database: str, schema: str, name: str) -> tuple[Column, ...]:
        same = " AND ".join(
            f"{part}_name = {self.string(value)}"
            for part, value in (("database", database), ("schema", schema), ("table", name))
        )
        rows = self.main.rows(
            f"SELECT column_name, data_type, is_generated FROM duckdb_columns() WHERE {same} ORDER BY column_index"
        )
        return tuple(Column(column, kind, bool(generated)) for column, kind, generated in rows)

    def row_key(self, relation: Relation) -> RowKey | None:
        """Return the primary key, a unique one without NULLs, or the row number, which an update may change."""
        database, schema, name = relation.table.parts
        rows = self.main.rows(
            "SELECT constraint_type, constraint_column_names FROM duckdb_constraints() WHERE database_name = "
            f"{self.string(database)} AND schema_name = {self.string(schema)} AND table_name = {self.string(name)}"
        )
        key = key_of(
            [columns for kind, columns in rows if kind == "PRIMARY KEY"],
            [columns for kind, columns in rows if kind == "UNIQUE"],
            {columns[0] for kind, columns in rows if kind == "NOT NULL"},
            self.field,
        )
        if key is not None:
            return key
        if any(column.name.lower() == "rowid" for column in relation.columns):
            return None  # that column hides the row's number
        return RowKey(("{0}.rowid",), "the row number (rowid)", stays=False)

    def digest(self, columns: Sequence[Column]) -> str:
        """Return a hash of 64 bits."""
        return f"hash({', '.join(self.field(column.name) for column in columns)})" if columns else "0"

    def create(self, table: Table, made_by: str, *, temporary: bool) -> str:
        """Return the statement; DuckDB wants temporary tables to be called so."""
        return f"CREATE {'TEMPORARY ' if temporary else ''}TABLE {self.quoted(table.parts)} {made_by}"

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


def _opened_again(path: str) -> duckdb.DuckDBPyConnection:
    """Open a file; one that is being read by another process is free soon."""
    with _errors():
        for _ in range(_TRIES):
            with contextlib.suppress(duckdb.IOException):
                return duckdb.connect(path)
            time.sleep(_PAUSE_SECONDS)
        return duckdb.connect(path)


def _entries(path: str) -> list[str]:
    """Return the entries of a search path, which may be in quotes."""
    return [entry.strip() for entry in re.findall(r'(?:"(?:[^"]|"")*"|[^,"])+', path) if entry.strip()]


def _split(entry: str) -> tuple[str, str]:
    """Return an entry's database, which may be empty, and its schema."""
    parts = [part.strip('"').replace('""', '"') for part in re.findall(r'"(?:[^"]|"")*"|[^."]+', entry)]
    return (parts[-2], parts[-1]) if len(parts) > 1 else ("", parts[-1])
