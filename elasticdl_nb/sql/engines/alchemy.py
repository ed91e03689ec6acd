"""Databases through SQLAlchemy: what all of them have in common. Some have a module here that derives from it."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow as pa
import sqlalchemy as sa

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql import engines
from elasticdl_nb.sql.engines import arrowtypes, postgrescopy
from elasticdl_nb.sql.engines.engine import BATCH_ROWS, Connection, Engine, Fetch
from elasticdl_nb.sql.engines.interrupting import StillRunningError, interruptible
from elasticdl_nb.sql.engines.relations import Column, Relation, RowKey, Table
from elasticdl_nb.sql.engines.state import SessionState
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import dialect_of

_T = TypeVar("_T")

_INSERTED_AT_ONCE = 1000
_LOOKED_AT = 1000
_COMMITS = re.compile(r"\s*(COMMIT|END)\b", re.IGNORECASE)
_DRIVERS = ("psycopg", "pymysql", "MySQLdb", "sqlite3")


@contextlib.contextmanager
def _errors(label: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise SqlError(f"{label}: {_message(error)}") from None
    except (ArithmeticError, UnicodeError, ValueError) as error:  # a driver cannot make a Python value of this
        raise SqlError(f"{label}: {error}") from None
    except Exception as error:
        if not is_of_driver(error):
            raise
        raise SqlError(f"{label}: {_message(error)}") from None


def is_of_driver(error: Exception) -> bool:
    """Whether a database driver has raised the error, outside of SQLAlchemy."""
    return any(kind.__name__ == "Error" and kind.__module__.startswith(_DRIVERS) for kind in type(error).__mro__)


def _message(error: Exception) -> str:
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
    """A connection on which each statement is a transaction of its own, unless one is begun.

    `given` is a connection of the user, which stays open; otherwise a new one is made, and again if it was lost.
    """

    def __init__(self, engine: AlchemyEngine, given: sa.Connection | None = None) -> None:
        super().__init__()
        self._engine = engine
        self._given = given
        self._connection = given or engine.open()
        self._state = SessionState()
        self._told = ""
        self._abandoned = self._lost = False
        self.begin = engine.begin

    @property
    def _driver(self) -> Any:
        """The driver's own connection; None if it was lost."""
        if self._abandoned or self._connection.closed or self._connection.invalidated:
            return None
        return self._connection.connection.driver_connection

    # ------------------------------------------------------------ running statements

    def _do(self, call: Callable[[], _T]) -> _T:
        try:
            with _errors(self._engine.label):
                return interruptible(call, self.cancel) if self._engine.has_threads else call()
        except StillRunningError as error:
            self._abandoned = True
            raise error.__cause__ or error from None
        except Exception:
            raise
        except BaseException:
            self._end_aborted()
            raise

    def _end_aborted(self) -> None:
        """An interrupt in the user's transaction may leave one that accepts nothing any more."""
        driver = None if self._begun else self._driver
        if driver is not None and self._engine.is_aborted(driver):
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._connection.exec_driver_sql("ROLLBACK")
            self._state.in_transaction = False
            self._told = "the interrupted transaction was rolled back"

    def _result(
        self, statement: str, parameters: Any = None, *, streamed: bool = False, batch_rows: int = BATCH_ROWS
    ) -> sa.CursorResult[Any]:
        # Options stay with a connection, so each is given every time. Without parameters, no character in the text
        # stands for one.
        connection = self._connection.execution_options(
            no_parameters=parameters is None, stream_results=streamed, max_row_buffer=batch_rows
        )
        return connection.exec_driver_sql(statement, parameters)

    def run(self, statement: str) -> int:
        """Run a statement that returns no rows."""

        def call() -> int:
            with self._result(statement) as result:
                return result.rowcount

        self._use()
        return self._do(call)

    def _all(self, query: str) -> tuple[list[str], list[Any], tuple[Any, Any]]:
        """Return names, rows, and what the driver says about the columns; no names if the statement has no rows."""

        def call() -> tuple[list[str], list[Any], tuple[Any, Any]]:
            with self._result(query) as result:
                if not result.returns_rows:
                    return [], [], ((), ())
                cursor: Any = result.cursor
                described = getattr(cursor, "description", None) or ()  # the cursor is gone after the last row
                details = getattr(getattr(cursor, "_result", None), "fields", ())
                return list(result.keys()), list(result), (described, details)

        self._use()
        return self._do(call)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return [tuple(row) for row in self._all(query)[1]]

    def execute(self, statement: str) -> pa.RecordBatchReader | None:
        """Run any statement."""
        self._engine.check_statement(statement)
        driver = self._driver
        was_aborted = driver is not None and self._engine.is_aborted(driver)
        try:
            names, rows, _ = self._all(statement)
        finally:
            self._state.in_transaction = self.in_transaction()
        if was_aborted and _COMMITS.match(statement):
            raise SqlError(f"{self._engine.label}: the transaction had failed before, so all of it was rolled back")
        self._state.ran(statement, in_transaction=self._state.in_transaction)
        return arrowtypes.to_table(names, rows).to_reader() if names else None

    def describe(self, query: str) -> pa.Schema:
        """Return the columns' types, as given by the driver or, for SQLite, by the values themselves."""
        if self._engine.dialect not in ("postgres", "mysql"):
            return self._describe_values(query)
        _, _, (described, details) = self._all(f"SELECT * FROM (\n{query}\n) AS q LIMIT 0")
        columns = [(item[0], item[1]) for item in described]
        if self._engine.dialect == "postgres":
            return arrowtypes.of_postgres(columns, self.rows)
        return arrowtypes.of_mysql(columns, details)

    def is_zoned(self, query: str) -> bool:
        """Whether MySQL's first column of a query is a TIMESTAMP, whose values depend on the session's time zone."""
        described, _ = self._all(f"SELECT * FROM (\n{query}\n) AS q LIMIT 0")[2]
        return bool(described[0][1] == arrowtypes.MYSQL_TIMESTAMP)

    def _describe_values(self, query: str) -> pa.Schema:
        """Look at the values: in SQLite, where each value has a type, at all of them; otherwise, at the first rows."""
        names, rows, _ = self._all(f"SELECT * FROM (\n{query}\n) AS q LIMIT {_LOOKED_AT}")
        if not self._engine.types_of_values or len(set(names)) < len(names):
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

    def _start(self, query: str, schema: pa.Schema, batch_rows: int, stack: contextlib.ExitStack) -> Fetch:
        """Read from a server-side cursor if the driver has one, or with COPY if the server supports it."""
        copied = self._engine.start_copy(self._driver, query, schema, batch_rows, stack, self._do)
        if copied is not None:
            return copied
        if self._engine.cursors_need_transaction and not self.in_transaction():
            self._do(lambda: self._result("BEGIN").close())
            stack.callback(lambda: self._result("COMMIT").close())
        result = stack.enter_context(self._do(lambda: self._result(query, streamed=True, batch_rows=batch_rows)))

        done = 0

        def fetch() -> pa.RecordBatch | None:
            nonlocal done
            rows = self._do(lambda: result.fetchmany(batch_rows))
            if not rows:
                return None
            done += len(rows)
            return arrowtypes.to_batch(rows, schema, done - len(rows) + 1)

        return fetch

    def insert(self, table: str, reader: pa.RecordBatchReader) -> None:
        """Add rows, with COPY if the server supports it."""
        self._use()
        driver = self._driver
        if self._engine.dialect == "postgres" and hasattr(driver, "pgconn"):
            self._do(lambda: postgrescopy.insert(driver, table, reader))
            return
        sign = "?" if self._engine.dialect == "sqlite" else "%s"
        statement = f"INSERT INTO {table} VALUES ({', '.join([sign] * len(reader.schema))})"
        for batch in reader:
            rows = arrowtypes.to_rows(batch)
            for start in range(0, len(rows), _INSERTED_AT_ONCE):
                some = rows[start : start + _INSERTED_AT_ONCE]
                self._do(lambda some=some: self._result(statement, some).close())  # type: ignore[misc]

    # ------------------------------------------------------------ its state

    def cancel(self) -> None:
        """Cancel what runs, in the database."""
        driver = self._driver
        if driver is not None:
            with contextlib.suppress(Exception):  # it may have ended, and the connection with it
                self._engine.cancel_on(driver)

    def in_transaction(self) -> bool:
        """Whether the driver or the server says so."""
        driver = self._driver
        if driver is None:
            return self._state.in_transaction
        return self._engine.has_transaction(driver, self)

    def ready(self, statement: str | None) -> str:
        """Open a new connection if this one was lost."""
        if not self._is_alive():
            self._reopen()
        if statement is None:
            return ""
        told, self._told = self._told, ""
        lost, self._lost = self._lost, False
        return self._state.lost(self._engine.label, statement) if lost else told

    def set_up(self) -> list[str]:
        """Return the session's statements that have set something up."""
        return list(self._state.made)

    def _reopen(self) -> None:
        self._lost = self._abandoned = True
        if self._given is not None:
            self._given.invalidate()
            self._given.rollback()
        else:
            self.close()
            with _errors(self._engine.label):
                self._connection = self._engine.open()
        self._abandoned = False

    def _is_alive(self) -> bool:
        driver = self._driver
        if driver is None or self._engine.is_busy(driver):
            return False
        dialect = self._connection.dialect
        try:
            return interruptible(lambda: dialect.do_ping(driver), lambda: None) is not False
        except dialect.loaded_dbapi.Error as error:
            return not dialect.is_disconnect(error, driver, None)

    def close(self) -> None:
        """Give the connection back."""
        self._use()
        if self._given is not None:
            return
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            if self._abandoned:
                self._connection.invalidate()
            self._connection.close()


class AlchemyEngine(Engine):
    """A database behind a SQLAlchemy URL; dialects with a module here derive from it.

    Of the databases without a module of their own, rows cannot be identified, so that PREDICT only writes new tables.
    """

    dialect = ""
    begin = "BEGIN"
    cursors_need_transaction = False
    has_threads = True
    """Whether the driver's connection may be used by another thread than the one that opened it."""

    def __init__(self, engine: sa.Engine, *, owned: bool, given: sa.Connection | None = None) -> None:
        self._owned = owned
        self._given = given
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.label = engine.url.render_as_string(hide_password=True)
        self.url = engine.url.render_as_string(hide_password=False)
        self.dialect = self.dialect or engine.dialect.name

    def open(self) -> sa.Connection:
        """Return a new connection of SQLAlchemy."""
        return self._engine.connect()

    @functools.cached_property
    def main(self) -> AlchemyConnection:
        """The connection of the user's session."""
        with _errors(self.label):
            return AlchemyConnection(self, self._given)

    def connect(self) -> Connection:
        """Return another connection."""
        with _errors(self.label):
            return AlchemyConnection(self)

    def apart(self) -> Engine:
        """Return the engine of the same URL."""
        if self.dialect == "sqlite" and self._engine.url.database in (None, "", ":memory:"):
            return super().apart()
        try:
            return engines.connect(self.url)
        except OptionError as error:
            raise SqlError(f"another process cannot open this database: {error}") from None

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

    @contextlib.contextmanager
    def statement(self) -> Iterator[None]:
        """Run statements on a given connection in its open transaction, or in none, as on other connections."""
        given = self._given
        if given is None or given.in_transaction():
            yield
            return
        level = given.get_isolation_level()
        given.execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield
        finally:
            if not self.main.in_transaction() and not given.invalidated:
                given.rollback()  # ends what SQLAlchemy counts as a transaction
                given.execution_options(isolation_level=level)

    # ------------------------------------------------------------ what drivers differ in

    def check_statement(self, statement: str) -> None:
        """Raise SqlError for a statement of the user that would leave the connection unusable."""

    def cancel_on(self, driver: Any) -> None:
        """Cancel what runs on the driver's connection."""
        if hasattr(driver, "cancel"):
            driver.cancel()

    def has_transaction(self, driver: Any, connection: Connection) -> bool:
        """Whether a transaction is open on the driver's connection, as far as that can be known."""
        return self._given is not None and self._given.get_isolation_level() != "AUTOCOMMIT"

    def is_aborted(self, driver: Any) -> bool:
        """Whether a transaction is open that accepts nothing but ROLLBACK."""
        return False

    def is_busy(self, driver: Any) -> bool:
        """Whether the driver's connection waits for the end of something that nobody reads any more."""
        return False

    def start_copy(
        self, driver: Any, query: str, schema: pa.Schema, batch_rows: int, stack: contextlib.ExitStack,
        do: Callable[[Callable[[], Any]], Any],
    ) -> Fetch | None:  # fmt: skip
        """Run the query with COPY and return what fetches its batches; None if the driver has no COPY."""
        return None

    # ------------------------------------------------------------ the catalogue

    def _inspect(self) -> Any:
        with _errors(self.label):
            return sa.inspect(self.main._connection)

    def _split(self, table: Table) -> tuple[str, str | None]:
        return table.parts[-1], table.parts[-2] if len(table.parts) > 1 else None

    def tables(self) -> list[str]:
        """Return the tables and views of the current schema."""
        inspector = self._inspect()
        return sorted([*inspector.get_table_names(), *inspector.get_view_names()])

    def find(self, table: Table) -> Relation | None:
        """Return the table or view, as SQLAlchemy finds it."""
        name, schema = self._split(table)
        inspector = self._inspect()
        if name in inspector.get_view_names(schema=schema):
            return Relation(table, "view")
        if not inspector.has_table(name, schema=schema):
            return None
        columns = inspector.get_columns(name, schema=schema)
        return Relation(table, "table", tuple(Column(column["name"], str(column["type"])) for column in columns))

    def row_key(self, relation: Relation) -> RowKey | None:
        """Return None: nothing is known for certain."""
        return None
