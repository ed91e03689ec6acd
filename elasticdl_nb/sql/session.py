"""`Session`: runs statements on a database and a model store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from elasticdl_nb.sql import engines, execution
from elasticdl_nb.sql.engines.parameters import plain_parameters
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import (
    DropModel,
    Evaluate,
    Explain,
    Predict,
    Query,
    ShowModels,
    ShowTrain,
    Statement,
    Train,
)
from elasticdl_nb.sql.models.store import ModelStore
from elasticdl_nb.sql.plan import Plan
from elasticdl_nb.sql.result import Result
from elasticdl_nb.sql.verbs.context import Context

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


class Session:
    """Runs SQL, with TRAIN, PREDICT, EVALUATE and EXPLAIN, on a database.

    `connect` is what `engines.connect` takes. `store` is the folder or fsspec URL where trained models are kept, by
    default a directory of this user. Model classes that are not built in are looked up by name in `namespace`, such as
    a notebook's variables. Raises OptionError if the database or store cannot be used.
    """

    def __init__(
        self, connect: Any = None, store: str | None = None, *, namespace: Mapping[str, Any] | None = None
    ) -> None:
        self.engine = engines.connect(connect)
        self.store = ModelStore(store)
        self.namespace: Mapping[str, Any] = {} if namespace is None else namespace

    @property
    def dialect(self) -> str:
        """The database's dialect, by the name that sqlglot gives it."""
        return self.engine.dialect

    # ------------------------------------------------------------ statements

    def run(
        self,
        text: str,
        *,
        params: Mapping[str, Any] | None = None,
        wait: bool = True,
        on_job: Callable[[Job], None] | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> list[Result]:
        """Run statements in order and return a result for each.

        `params` are values for `:name` in queries. `on_job` gets each job as soon as it runs. `on_message` gets what is
        to be known before a job starts, such as the label; without it, the result has these messages. With
        `wait=False`, the call does not wait for a TRAIN that comes last. Raises SqlError if a statement is wrong,
        before it has changed anything, and JobFailed or JobCancelled if a job failed or was cancelled. By then, the
        statements before it have taken effect.
        """
        return list(self.results(text, params=params, wait=wait, on_job=on_job, on_message=on_message))

    def results(
        self,
        text: str,
        *,
        params: Mapping[str, Any] | None = None,
        wait: bool = True,
        on_job: Callable[[Job], None] | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> Iterator[Result]:
        """Like `run`, but yield the results: each statement runs when its result is asked for."""
        given = plain_parameters(params)
        statements = parse(text, self.dialect, given)
        for statement in statements:
            waits = wait or statement is not statements[-1]
            context = Context(self.engine, self.store, self.namespace, given, on_job, waits, on_message)
            with _shown_in(text, statement), self._using(statement) as told, context.cleanup:
                result = self._run(statement, context)
            yield replace(result, messages=(told, *result.messages)) if told else result

    def plan(self, text: str, *, params: Mapping[str, Any] | None = None) -> list[Plan]:
        """Return a plan for each statement, after all the checks that `run` makes before it starts work."""
        given = plain_parameters(params)
        plans = []
        for statement in parse(text, self.dialect, given):
            context = Context(self.engine, self.store, self.namespace, given)
            with _shown_in(text, statement), self._using(statement), context.cleanup:
                plans.append(self._plan(statement, context))
        return plans

    def _plan(self, statement: Statement, context: Context) -> Plan:
        if isinstance(statement, (Train, Predict, Evaluate, Explain)):
            return execution.plan(statement, context)
        return Plan(statement, context.bound(statement.text, statement.position))

    def _run(self, statement: Statement, context: Context) -> Result:
        if isinstance(statement, (Train, Predict, Evaluate, Explain)):
            return execution.run(statement, context)
        if isinstance(statement, Query):
            reader = self.engine.main.execute(context.bound(statement.text, statement.position))
            return Result(statement, table=None if reader is None else reader.read_all())
        if isinstance(statement, ShowModels):
            return Result(statement, table=self.store.table())
        if isinstance(statement, ShowTrain):
            return Result(statement, table=self.store.find(statement.model).facts())
        if isinstance(statement, DropModel):
            return Result(statement, messages=(self.store.drop(statement.model, missing_ok=statement.if_exists),))
        raise SqlError(f"a {type(statement).__name__} cannot be run", statement.position)

    @contextlib.contextmanager
    def _using(self, statement: Statement | None) -> Iterator[str]:
        """Use the database for a statement, or None for a look into its catalogue.

        Yields what was lost before with a connection, as a sentence.
        """
        text = statement.text if isinstance(statement, Query) else type(statement).__name__ if statement else None
        with self.engine.statement():
            told = self.engine.main.ready(text)
            with self._undoable(statement):
                yield told

    @contextlib.contextmanager
    def _undoable(self, statement: Statement | None) -> Iterator[None]:
        """Let an error of ours, in the user's open transaction, undo only what its statement has done."""
        main = self.engine.main
        if isinstance(statement, Query) or not self.engine.errors_abort or not main.in_transaction():
            yield
            return
        with main.transaction():
            yield

    def cancel(self) -> None:
        """End the statement that runs in the database, if any; may be called by another thread."""
        self.engine.cancel()

    # ------------------------------------------------------------ the catalogue

    def tables(self) -> list[str]:
        """Return the names of the database's tables and views."""
        with self._using(None):
            return self.engine.tables()

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns of a table and their types; raise SqlError if there is no such table."""
        with self._using(None):
            return self.engine.columns(table)

    def models(self) -> list[str]:
        """Return the names of the stored models."""
        return self.store.names()

    def close(self) -> None:
        """Close the connections that the session opened."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


@contextlib.contextmanager
def _shown_in(text: str, statement: Statement) -> Iterator[None]:
    """Add to errors the text, and the statement's place if they have none of their own."""
    try:
        yield
    except SqlError as error:
        raise error.at(statement.position).within(text) from None
