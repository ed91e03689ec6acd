"""What every SQL engine must do: describe a query, stream its rows as Arrow batches, and write in one step.

An `Engine` is the database. A `Connection` is one conversation with it, and owns the temporary tables made there. Both
are small: `sqltext` has the SQL that all dialects share, and each dialect implements the remaining methods.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from elasticdl_nb.sql.engines.sqltext import SqlText
from elasticdl_nb.sql.language.errors import SqlError

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Table:
    """A table, which may not exist yet, by the parts of its name. The last part is the table's own name."""

    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name as users write it."""
        return ".".join(self.parts)


@dataclass(frozen=True)
class RowKey:
    """What identifies a table's rows: expressions of the table's columns, with `{}` for the table's alias."""

    expressions: tuple[str, ...]


class Connection(ABC):
    """One conversation with a database; not to be used by several threads at once."""

    @abstractmethod
    def run(self, statement: str) -> int:
        """Run a statement that returns no rows; return how many rows it changed, or -1 if that is not known."""

    @abstractmethod
    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query that returns few rows."""

    @abstractmethod
    def describe(self, query: str) -> pa.Schema:
        """Return names and types of a query's columns without running it to the end; raise SqlError if it is wrong."""

    @abstractmethod
    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the query's rows in batches; only a few batches are in memory at any time.

        Read it to the end, or close it, before you use the connection for anything else.
        """

    @abstractmethod
    def insert(self, table: str, reader: pa.RecordBatchReader) -> None:
        """Add rows to a table (a quoted name) whose columns are those of the reader, in order."""

    @abstractmethod
    def execute(self, statement: str) -> pa.RecordBatchReader | None:
        """Run any statement unchanged; return its rows if it returns any."""

    @abstractmethod
    def close(self) -> None:
        """End the conversation."""

    @contextlib.contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """All statements of the block take effect, or none if it raises; with `keep=False`, none does in any case."""
        self.run("BEGIN")
        try:
            yield
        except BaseException:
            with contextlib.suppress(SqlError):
                self.run("ROLLBACK")
            raise
        self.run("COMMIT" if keep else "ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


class Engine(SqlText, ABC):
    """A database. `dialect` is its name in sqlglot, and `label` its name in messages (without a password)."""

    dialect: str
    label: str
    url: str = ""
    """The URL for the same data from another process; empty if there is none."""
    transactional_ddl = True
    has_blocks = False
    """Whether several statements, and those that undo them, can be sent as one (`BEGIN NOT ATOMIC`)."""

    @abstractmethod
    def connect(self) -> Connection:
        """Return a new connection, which the caller must close."""

    def connect_for(self, table: Table) -> Connection:
        """Return a new connection for writing to this table, on which temporary tables can be made."""
        return self.connect()

    @property
    @abstractmethod
    def main(self) -> Connection:
        """The connection that the user's own statements run on."""

    @abstractmethod
    def close(self) -> None:
        """Close everything that was opened here."""

    # ------------------------------------------------------------ reading

    def reading(self, query: str) -> contextlib.AbstractContextManager[Connection]:
        """Return a connection on which the query can be read while other connections are in use."""
        return self.connect()

    def describe(self, query: str) -> pa.Schema:
        """Return names and types of the query's columns; raise SqlError if it is wrong or has the same name twice."""
        with self.reading(query) as connection:
            schema = connection.describe(query)
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise SqlError(f"the query has two columns named {twice[0]!r}; rename one of them with AS")
        return schema

    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the query's rows in batches, read on a separate connection that closes after the last one."""
        stack = contextlib.ExitStack()
        connection = stack.enter_context(self.reading(query))
        try:
            reader = connection.stream(query, batch_rows)
        except BaseException:
            stack.close()
            raise

        def batches() -> Iterator[pa.RecordBatch]:
            with stack:
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query that returns few rows."""
        with self.reading(query) as connection:
            return connection.rows(query)

    # ------------------------------------------------------------ the catalogue

    @abstractmethod
    def tables(self) -> list[str]:
        """Return the names of tables and views; those in the current schema come without the schema's name."""

    def columns(self, table: str) -> dict[str, str]:
        """Return a table's columns with their types as text; raise SqlError if there is no such table."""
        schema = self.describe(f"SELECT * FROM {self.quoted(table.split('.'))}")
        return {field.name: str(field.type) for field in schema}

    @abstractmethod
    def kind_of(self, table: Table) -> str:
        """Return "table", "view", or an empty string if there is nothing of that name."""

    @abstractmethod
    def row_key(self, table: Table) -> RowKey | None:
        """Return what identifies the table's rows; None if nothing does."""

    # ------------------------------------------------------------ writing

    def update_from(self, table: Table, column: str, value: str, source: str, condition: str) -> str:
        """Return the UPDATE of `table AS t` that sets `column` (a quoted name) to `value`, taken from the tables
        `source`, where `condition` holds.
        """
        return f"UPDATE {self.quoted(table.parts)} AS t SET {column} = {value} FROM {source} WHERE {condition}"

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Raise SqlError if these statements, which create or alter, may not be run; nothing is changed."""
        with connection.transaction(keep=False):
            for statement in statements:
                connection.run(statement)
