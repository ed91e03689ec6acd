"""What every SQL engine must do: describe a query, stream its rows as Arrow batches, and write in one step.

An `Engine` is the database. Its `main` connection is the user's session: everything that a statement reads or writes
goes through it, so that it sees the session's schema, settings, temporary tables and open transaction. Both classes
are small: `sqltext` has the SQL that all dialects share, and each dialect implements the remaining methods.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from elasticdl_nb.sql.engines.relations import Column, Relation, RowKey, Table
from elasticdl_nb.sql.engines.sqltext import SqlText
from elasticdl_nb.sql.language.errors import SqlError

BATCH_ROWS = 65_536
_SAVEPOINT = "elasticdl_nb"

Fetch = Callable[[], pa.RecordBatch | None]


class Connection(ABC):
    """One conversation with a database; not to be used by several threads at once, except for `cancel`."""

    begin = "BEGIN"
    """Begins a transaction whose queries all see the same state of the database."""
    has_savepoints = True

    def __init__(self) -> None:
        self._uses = 0
        self._begun = 0
        """How many transactions and savepoints of `transaction` are open."""
        self._open: contextlib.ExitStack | None = None

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
    def insert(self, table: str, reader: pa.RecordBatchReader) -> None:
        """Add rows to a table (a quoted name) whose columns are those of the reader, in order."""

    @abstractmethod
    def execute(self, statement: str) -> pa.RecordBatchReader | None:
        """Run any statement of the user unchanged; return its rows if it returns any."""

    @abstractmethod
    def close(self) -> None:
        """End the conversation."""

    # ------------------------------------------------------------ streams

    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the query's rows in batches; only a few batches are in memory at any time.

        The query runs when the first batch is read. If the connection is used for anything else before the last one,
        the next batch is an SqlError.
        """
        schema = self.describe(query)
        return pa.RecordBatchReader.from_batches(schema, self._batches(query, schema, batch_rows))

    def _batches(self, query: str, schema: pa.Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
        self._use()
        mine = self._uses
        with contextlib.ExitStack() as stack:
            self._open = stack
            fetch = self._start(query, schema, batch_rows, stack)
            while (batch := fetch()) is not None:
                yield batch
                if self._uses != mine:
                    raise SqlError("the connection was used for something else before all rows had been read")
            self._open = None

    @abstractmethod
    def _start(self, query: str, schema: pa.Schema, batch_rows: int, stack: contextlib.ExitStack) -> Fetch:
        """Run the query; return what fetches the next batch. `stack` gets what must be closed in the end."""

    def _use(self) -> None:
        """Note that the connection is used: it has one result at a time, so this ends an open stream."""
        self._uses += 1
        stack, self._open = self._open, None
        if stack is not None:
            with contextlib.suppress(Exception):  # nobody reads that result any more
                stack.close()

    # ------------------------------------------------------------ its state

    @abstractmethod
    def cancel(self) -> None:
        """End the statement that runs, if any; may be called by another thread."""

    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether a transaction is open that the user has begun."""

    def ready(self, statement: str | None) -> str:
        """Reopen the connection if it was lost; return what to tell the user, if anything was lost with it.

        Raises SqlError if `statement`, which will run next, may rely on what was lost. None is for what is not a
        statement: it hears of nothing, and the next one does.
        """
        return ""

    def set_up(self) -> list[str]:
        """Return what the session has set up that another connection lacks, as statements or in words."""
        return []

    @contextlib.contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """All statements of the block take effect, or none if it raises; with `keep=False`, none does in any case.

        Inside the user's own transaction this is a savepoint. Without savepoints, statements there just run.
        """
        begin, undo, end = self.begin, ["ROLLBACK"], "COMMIT"
        if self.in_transaction():
            if not self.has_savepoints:
                yield
                return
            begin, end = f"SAVEPOINT {_SAVEPOINT}", f"RELEASE SAVEPOINT {_SAVEPOINT}"
            undo = [f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}", end]
        self.run(begin)
        self._begun += 1
        try:
            yield
        except BaseException:
            with contextlib.suppress(SqlError):
                self._run_all(undo)
            raise
        finally:
            self._begun -= 1
        self._run_all([end] if keep else undo)

    def _run_all(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.run(statement)

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
    writes_in_transaction = True
    """Whether PREDICT can write inside the user's own transaction, and undo only what it has done there."""
    errors_abort = False
    """Whether an error in an open transaction leaves one that accepts nothing but its end."""
    has_blocks = False
    """Whether several statements, and those that undo them, can be sent as one (`BEGIN NOT ATOMIC`)."""
    types_of_values = False
    """Whether values have types and columns do not."""
    quoted_is_exact = False
    """Whether names in quotes that differ in the case of letters are different."""

    @property
    @abstractmethod
    def main(self) -> Connection:
        """The connection of the user's session, which all statements run on."""

    @abstractmethod
    def connect(self) -> Connection:
        """Return a new connection, which the caller must close. It knows nothing of the session."""

    @abstractmethod
    def close(self) -> None:
        """Close everything that was opened here."""

    def apart(self) -> Engine:
        """Return the same database for a connection that knows nothing of the session; the caller must close it.

        Raises SqlError if another process cannot open the database.
        """
        raise SqlError(f"{self.label}: another process cannot open this database; give the URL of a server, or a file")

    def let_go(self) -> None:
        """Let other processes open the database, if this one keeps them from it, until it is used again."""

    def watermark_problem(self, query: str, column: str) -> str:
        """Return why values of a query's column do not grow with time; empty if they may."""
        return ""

    def statement(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which one statement of the session runs."""
        return contextlib.nullcontext()

    def cancel(self) -> None:
        """End the statement that runs in the session, if any; may be called by another thread."""
        self.main.cancel()

    # ------------------------------------------------------------ reading

    def describe(self, query: str) -> pa.Schema:
        """Return names and types of the query's columns; raise SqlError if it is wrong or has the same name twice."""
        schema = self.main.describe(query)
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise SqlError(f"the query has two columns named {twice[0]!r}; rename one of them with AS")
        return schema

    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the query's rows in batches; see `Connection.stream`."""
        return self.main.stream(query, batch_rows)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query that returns few rows."""
        return self.main.rows(query)

    # ------------------------------------------------------------ the catalogue

    @abstractmethod
    def tables(self) -> list[str]:
        """Return the names of tables and views; those in the current schema come without the schema's name."""

    def columns(self, table: str) -> dict[str, str]:
        """Return a table's columns with their types as text; raise SqlError if there is no such table."""
        schema = self.describe(f"SELECT * FROM {self.quoted(table.split('.'))}")
        return {field.name: str(field.type) for field in schema}

    def fold(self, name: str) -> str:
        """Return what the database makes of a name that is not in quotes."""
        return name

    def folded(self, table: Table) -> Table:
        """Return the table's name as the database reads it."""
        return Table(tuple(part if table.is_quoted(n) else self.fold(part) for n, part in enumerate(table.parts)))

    @abstractmethod
    def find(self, table: Table) -> Relation | None:
        """Return what the session's connection means by this name now; None if there is nothing of that name."""

    def kind_of(self, table: Table) -> str:
        """Return "table", "view" or another word for what this name stands for; empty if there is nothing."""
        found = self.find(table)
        return found.kind if found else ""

    @abstractmethod
    def row_key(self, relation: Relation) -> RowKey | None:
        """Return what identifies a table's rows: a key without NULLs, the row's own number or place, or all columns.

        None if nothing does.
        """

    def field(self, name: str) -> str:
        """Return a column as an expression with `{0}` for the table's alias."""
        return "{0}." + self.quote(name).replace("{", "{{").replace("}", "}}")

    def groups(self, query: str, functions: Collection[str]) -> bool:
        """Whether the query groups its rows, if some of these functions (in lower case) are the user's aggregates.

        In most databases, such a query with a column outside of the aggregates is an error by itself.
        """
        return False

    def has_triggers(self, relation: Relation) -> bool:
        """Whether an update of some rows of the table may change other rows of it."""
        return False

    def exact(self, expression: str, kind: str) -> str:
        """Return an expression of this kind so that two are equal only if they are exactly the same."""
        return expression

    def same(self, left: str, right: str, kind: str) -> str:
        """Return the condition that two expressions of this kind have exactly the same value, or are both NULL."""
        return f"{self.exact(left, kind)} IS NOT DISTINCT FROM {self.exact(right, kind)}"

    def digest(self, columns: Sequence[Column]) -> str:
        """Return an expression, with `{0}` for the table's alias, that changes if one of these columns changes."""
        raise SqlError(f"{self.label}: rows of a table cannot be compared in this database")

    # ------------------------------------------------------------ writing

    def temporary(self, name: str, beside: Table | None = None) -> str:
        """Return the quoted name of a temporary table, which means nothing else; `beside` is a table of the session."""
        return self.quote(name)

    def dropping(self, temporary: str) -> str:
        """Return the statement that drops a temporary table of this quoted name, if there is one, and nothing else."""
        return f"DROP TABLE IF EXISTS {temporary}"

    def create(self, table: Table, made_by: str, *, temporary: bool) -> str:
        """Return the statement that creates a table of this full name as `made_by` says."""
        return f"CREATE TABLE {self.quoted(table.parts)} {made_by}"

    def update_from(
        self, table: Table, column: str, value: str, source: str, condition: str, unchanged: Sequence[str] = ()
    ) -> str:
        """Return the UPDATE of `table AS t` that sets `column` (a quoted name) to `value`, taken from the tables
        `source`, where `condition` holds. Columns `unchanged` would otherwise change by themselves.
        """
        return f"UPDATE {self.quoted(table.parts)} AS t SET {column} = {value} FROM {source} WHERE {condition}"

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Return the context for writing: there, a value that does not fit is an error."""
        return contextlib.nullcontext()

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Raise SqlError if these statements, which create or alter, may not be run; nothing is changed."""
        with connection.transaction(keep=False):
            for statement in statements:
                connection.run(statement)
