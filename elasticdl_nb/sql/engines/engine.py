"""What every SQL engine has to do: describe a query, stream its rows as Arrow batches, and write in one step.

An `Engine` holds the database; a `Connection` is one conversation with it, in which temporary tables live. Both are
small: what all dialects write alike is in `sqltext`, and the rest is a method that each dialect fills in.
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
    """A table, or one that may be made, by its name's parts; the last is its own."""

    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name as people write it."""
        return ".".join(self.parts)


@dataclass(frozen=True)
class RowKey:
    """What tells a table's rows apart: expressions of the table's columns, with `{}` for the table's alias."""

    expressions: tuple[str, ...]


class Connection(ABC):
    """One conversation with a database; not for several threads at once."""

    @abstractmethod
    def run(self, statement: str) -> int:
        """Run a statement that returns no rows; return how many rows it changed, -1 where that is not known."""

    @abstractmethod
    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query that returns few."""

    @abstractmethod
    def describe(self, query: str) -> pa.Schema:
        """Return names and types of a query's columns without running it through; raise SqlError if it is wrong."""

    @abstractmethod
    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the query's rows in batches; only a few batches are in memory at any time.

        Read it to its end, or close it, before the connection is used for anything else.
        """

    @abstractmethod
    def insert(self, table: str, reader: pa.RecordBatchReader) -> None:
        """Add rows to a table (a quoted name) whose columns are those of the reader, in order."""

    @abstractmethod
    def execute(self, statement: str) -> pa.RecordBatchReader | None:
        """Run any statement as it is; return its rows if it returns any."""

    @abstractmethod
    def close(self) -> None:
        """End the conversation."""

    @contextlib.contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """All statements of the block happen, or none does if it raises; with `keep=False` none does anyway."""
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
    """A database. `dialect` is its name in sqlglot, `label` how messages call it (without a password)."""

    dialect: str
    label: str
    url: str = ""
    """What connects to the same data from another process; empty if nothing does."""
    transactional_ddl = True
    has_blocks = False
    """Whether several statements and what undoes them can be sent as one (`BEGIN NOT ATOMIC`)."""

    @abstractmethod
    def connect(self) -> Connection:
        """Return a connection of its own, to be closed by the caller."""

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
        """Return names and types of the query's columns; raise SqlError if it is wrong or a name comes twice."""
        with self.reading(query) as connection:
            schema = connection.describe(query)
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise SqlError(f"the query has two columns named {twice[0]!r}; name one of them with AS")
        return schema

    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the query's rows in batches, read on a connection of its own that closes at their end."""
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
        """Return all rows of a query that returns few."""
        with self.reading(query) as connection:
            return connection.rows(query)

    # ------------------------------------------------------------ the catalogue

    @abstractmethod
    def tables(self) -> list[str]:
        """Return the names of tables and views, those of the current schema without its name."""

    def columns(self, table: str) -> dict[str, str]:
        """Return a table's columns with their types as text; raise SqlError if there is no such table."""
        schema = self.describe(f"SELECT * FROM {self.quoted(table.split('.'))}")
        return {field.name: str(field.type) for field in schema}

    @abstractmethod
    def kind_of(self, table: Table) -> str:
        """Return "table", "view", or an empty string if there is nothing of that name."""

    @abstractmethod
    def row_key(self, table: Table) -> RowKey | None:
        """Return what tells the table's rows apart; None if nothing does."""

    # ------------------------------------------------------------ writing

    def update_from(self, table: Table, column: str, value: str, source: str, condition: str) -> str:
        """Return the UPDATE of `table AS t` that sets a column, a quoted name, to `value`, from the tables `source`,
        where `condition` holds.
        """
        return f"UPDATE {self.quoted(table.parts)} AS t SET {column} = {value} FROM {source} WHERE {condition}"

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Raise SqlError if these statements, which create or alter, may not be run; nothing is changed."""
        with connection.transaction(keep=False):
            for statement in statements:
                connection.run(statement)
