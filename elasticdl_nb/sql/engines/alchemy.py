"""Databases through SQLAlchemy: what all of them have in common. Some have a module here that derives from it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from elasticdl_nb.sql.engines import arrowtypes
from elasticdl_nb.sql.engines.engine import BATCH_ROWS, Connection, Engine, RowKey, Table
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import dialect_of

_INSERTED_AT_ONCE = 1000
_LOOKED_AT = 1000


@contextlib.contextmanager
def _errors(label: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise SqlError(f"{label}: {_message(error)}") from None
    except (ArithmeticError, UnicodeError, ValueError) as error:  # a driver cannot make a Python value of this
        raise SqlError(f"{label}: {error}") from None


def _message(error: sa.exc.SQLAlchemyError) -> str:
    """The server's own message, without the query and its parameters."""
    original: Any = getattr(error, "orig", None) or error
    diagnostic = getattr(original, "diag", None)
    if diagnostic is not None and diagnostic.message_primary:
        parts = [diagnostic.message_primary, diagnostic.message_detail, diagnostic.message_hint]
        return ". ".join(part for part in parts if part)
    arguments: Any = getattr(original, "args", ())
    text = arguments[1] if len(arguments) == 2 and isinstance(arguments[1], str) else str(original)
    return " ".join(text.split()) or type(original).__name__


class AlchemyConnection(Connection):
    """A connection on which each statement is a transaction of its own, unless one is begun."""

    def __init__(self, engine: AlchemyEngine, connection: sa.Connection) -> None:
        self._engine = engine
        self._connection = connection

    def _execute(
        self, statement: str, parameters: Any = None, *, streamed: bool = False, batch_rows: int = BATCH_ROWS
    ) -> sa.CursorResult[Any]:
        # Options stay with a connection, so each is given every time. Without parameters, no character in the text
        # stands for one.
        connection = self._connection.execution_options(
            no_parameters=parameters is None, stream_results=streamed, max_row_buffer=batch_rows
        )
        with _errors(self._engine.label):
            return connection.exec_driver_sql(statement, parameters)

    def run(self, statement: str) -> int:
        """Run a statement that returns no rows."""
        with self._execute(statement) as result:
            return result.rowcount

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows."""
        with self._execute(query) as result, _errors(self._engine.label):
            return [tuple(row) for row in result]

    def describe(self, query: str) -> pa.Schema:
        """Return the columns' types, as given by the driver or, for SQLite, by the values themselves."""
        if self._engine.dialect not in ("postgres", "mysql"):
            return self._describe_values(query)
        with self._execute(f"SELECT * FROM (\n{query}\n) AS q LIMIT 0") as result:
            cursor: Any = result.cursor
            columns = [(item[0], item[1]) for item in cursor.description or ()]
            details = getattr(getattr(cursor, "_result", None), "fields", ())
        if self._engine.dialect == "postgres":
            return arrowtypes.of_postgres(columns, self.rows)
        return arrowtypes.of_mysql(columns, details)

    def _describe_values(self, query: str) -> pa.Schema:
        """Look at the values: in SQLite, where each value has a type, at all of them; otherwise, at the first rows."""
        look = f"SELECT * FROM (\n{query}\n) AS q LIMIT {_LOOKED_AT}"
        with self._execute(look) as result, _errors(self._engine.label):
            names, rows = list(result.keys()), list(result)
        if self._engine.dialect != "sqlite" or len(set(names)) < len(names):
            return pa.schema([(name, arrowtypes.of_values([row[n] for row in rows])) for n, name in enumerate(names)])
        kinds = [
            f"MAX(typeof({column}) = '{kind}')"
            for column in map(self._engine.quote, names)
            for kind in ("blob", "text", "real", "integer")
        ]
        flags: list[Any] = []
        for start in range(0, len(kinds), self._engine.most_columns):
            part = ", ".join(kinds[start : start + self._engine.most_columns])
            flags += self.rows(f"SELECT {part} FROM (\n{query}\n) AS q")[0]
        types = (pa.binary(), pa.string(), pa.float64(), pa.int64())
        return pa.schema([
            (name, next((kind for kind, flag in zip(types, flags[4 * n : 4 * n + 4], strict=True) if flag), pa.null()))
            for n, name in enumerate(names)
        ])  # fmt: skip

    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the rows in batches, from a server-side cursor if the driver has one."""
        schema = self.describe(query)
        return pa.RecordBatchReader.from_batches(schema, self._batches(query, schema, batch_rows))

    def _batches(self, query: str, schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        # PostgreSQL's cursors need a transaction.
        with contextlib.ExitStack() as stack:
            if self._engine.dialect == "postgres":
                stack.enter_context(self.transaction())
            result = stack.enter_context(self._execute(query, streamed=True, batch_rows=batch_rows))
            first = 1
            while True:
                with _errors(self._engine.label):
                    rows = result.fetchmany(batch_rows)
                if not rows:
                    return
                yield arrowtypes.to_batch(rows, schema, first)
                first += len(rows)

    def insert(self, table: str, reader: pa.RecordBatchReader) -> None:
        """Add rows, with COPY if the server supports it."""
        driver: Any = self._connection.connection.driver_connection
        if self._engine.dialect == "postgres" and hasattr(driver, "pgconn"):
            with (
                _errors(self._engine.label),
                driver.cursor() as cursor,
                cursor.copy(f"COPY {table} FROM STDIN") as copy,
            ):
                for batch in reader:
                    for row in arrowtypes.to_rows(batch):
                        copy.write_row(row)
            return
        sign = "?" if self._engine.dialect == "sqlite" else "%s"
        statement = f"INSERT INTO {table} VALUES ({', '.join([sign] * len(reader.schema))})"
        for batch in reader:
            rows = arrowtypes.to_rows(batch)
            for start in range(0, len(rows), _INSERTED_AT_ONCE):
                self._execute(statement, rows[start : start + _INSERTED_AT_ONCE]).close()

    def execute(self, statement: str) -> pa.RecordBatchReader | None:
        """Run any statement."""
        with self._execute(statement) as result:
            if not result.returns_rows:
                return None
            with _errors(self._engine.label):
                names, rows = list(result.keys()), list(result)
        return arrowtypes.to_table(names, rows).to_reader()

    def close(self) -> None:
        """Give the connection back."""
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._connection.close()


class AlchemyEngine(Engine):
    """A database behind a SQLAlchemy URL; dialects with a module here derive from it."""

    dialect = ""

    def __init__(self, engine: sa.Engine, *, owned: bool) -> None:
        self._owned = owned
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.label = engine.url.render_as_string(hide_password=True)
        self.url = engine.url.render_as_string(hide_password=False)
        self.dialect = self.dialect or engine.dialect.name

    @functools.cached_property
    def main(self) -> Connection:
        """The connection that the user's own statements run on."""
        return self.connect()

    def connect(self) -> Connection:
        """Return another connection."""
        with _errors(self.label):
            return AlchemyConnection(self, self._engine.connect())

    def close(self) -> None:
        """Close all connections."""
        if "main" in self.__dict__:
            self.main.close()
            del self.__dict__["main"]
        if self._owned:
            self._engine.dispose()

    def string(self, value: str) -> str:
        """Return a text as SQL, as the dialect writes it."""
        if dialect_of(self.dialect).backslashes:
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        return super().string(value)

    def _inspect(self) -> Any:
        with _errors(self.label):
            return sa.inspect(self._engine)

    def _split(self, table: Table) -> tuple[str, str | None]:
        return table.parts[-1], table.parts[-2] if len(table.parts) > 1 else None

    def tables(self) -> list[str]:
        """Return the tables and views of the current schema."""
        inspector = self._inspect()
        return sorted([*inspector.get_table_names(), *inspector.get_view_names()])

    def kind_of(self, table: Table) -> str:
        """Return "table", "view" or nothing."""
        name, schema = self._split(table)
        inspector = self._inspect()
        if name in inspector.get_view_names(schema=schema):
            return "view"
        return "table" if inspector.has_table(name, schema=schema) else ""

    def row_key(self, table: Table) -> RowKey | None:
        """Return the primary key, or else the columns of a unique index without NULLs."""
        name, schema = self._split(table)
        inspector = self._inspect()
        key = list(inspector.get_pk_constraint(name, schema=schema).get("constrained_columns") or ())
        if not key:
            required = {
                column["name"] for column in inspector.get_columns(name, schema=schema) if not column["nullable"]
            }
            unique = [index["column_names"] for index in inspector.get_indexes(name, schema=schema) if index["unique"]]
            key = next((list(columns) for columns in unique if required.issuperset(columns)), [])
        return RowKey(tuple("{}." + self.quote(column) for column in key)) if key else None
