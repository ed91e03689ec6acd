"""`Session`: a database and a model store, and statements that run on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from elasticdl_nb.sql import engines
from elasticdl_nb.sql.engines.parameters import bind
from elasticdl_nb.sql.execution import Execution, WithJob
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

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


class Session:
    """Runs SQL, with TRAIN, PREDICT, EVALUATE and EXPLAIN, on a database.

    `connect` is what `engines.connect` takes; `store` the folder or fsspec URL that trained models are kept in, by
    default one of this user's. `namespace` is where model classes that are not pre-built are looked for by their names,
    a notebook's variables for example. Raises OptionError for a database or store that cannot be used.
    """

    def __init__(
        self, connect: Any = None, store: str | None = None, *, namespace: Mapping[str, Any] | None = None
    ) -> None:
        self.engine = engines.connect(connect)
        self.store = ModelStore(store)
        self.namespace: Mapping[str, Any] = {} if namespace is None else namespace

    @property
    def dialect(self) -> str:
        """The database's dialect, by sqlglot's name."""
        return self.engine.dialect

    @property
    def _execution(self) -> Execution:
        return Execution(self.engine, self.store, self.namespace)

    # ------------------------------------------------------------ statements

    def run(
        self,
        text: str,
        *,
        params: Mapping[str, Any] | None = None,
        wait: bool = True,
        on_job: Callable[[Job], None] | None = None,
    ) -> list[Result]:
        """Run statements in order and return a result for each.

        `params` are values for `:name` in queries. `on_job` gets each job as soon as it runs. With `wait=False` the
        call returns while a last TRAIN goes on. Raises SqlError for what is wrong with a statement, before that
        statement has changed anything, and JobFailed or JobCancelled for a job that ends otherwise; statements before
        it have happened then.
        """
        return list(self.results(text, params=params, wait=wait, on_job=on_job))

    def results(
        self,
        text: str,
        *,
        params: Mapping[str, Any] | None = None,
        wait: bool = True,
        on_job: Callable[[Job], None] | None = None,
    ) -> Iterator[Result]:
        """Run statements in order, each when its result is asked for; otherwise as `run` does."""
        statements = self._parse(text, params or {})
        for statement in statements:
            try:
                result = self._run(statement, params or {}, wait or statement is not statements[-1], on_job)
            except SqlError as error:
                raise error.at(statement.position).within(text) from None
            yield result

    def plan(self, text: str, *, params: Mapping[str, Any] | None = None) -> list[Plan]:
        """Return what `run` would do, a plan for each statement, after all checks that `run` makes before any work."""
        try:
            return [self._plan(statement, params or {}) for statement in self._parse(text, params or {})]
        except SqlError as error:
            raise error.within(text) from None

    def _parse(self, text: str, params: Mapping[str, Any]) -> list[Statement]:
        return parse(text, self.dialect, params)

    def _plan(self, statement: Statement, params: Mapping[str, Any]) -> Plan:
        if isinstance(statement, (Train, Predict, Evaluate, Explain)):
            return self._execution.plan(self._bound(statement, params), params)
        return Plan(statement, bind(statement.text, params, self.engine))

    def _bound(self, statement: WithJob, params: Mapping[str, Any]) -> WithJob:
        try:
            return dataclasses.replace(statement, select=bind(statement.select, params, self.engine))
        except SqlError as error:
            raise SqlError(error.problem, error.position or statement.select_position) from None

    def _run(
        self, statement: Statement, params: Mapping[str, Any], wait: bool, on_job: Callable[[Job], None] | None
    ) -> Result:
        if isinstance(statement, (Train, Predict, Evaluate, Explain)):
            return self._execution.run(self._bound(statement, params), wait, on_job)
        if isinstance(statement, Query):
            reader = self.engine.main.execute(bind(statement.text, params, self.engine))
            return Result(statement, table=None if reader is None else reader.read_all())
        if isinstance(statement, ShowModels):
            return Result(statement, table=self.store.table())
        if isinstance(statement, ShowTrain):
            return Result(statement, table=self.store.find(statement.model).facts())
        if isinstance(statement, DropModel):
            return Result(statement, messages=(self.store.drop(statement.model, missing_ok=statement.if_exists),))
        raise SqlError(f"a {type(statement).__name__} cannot be run", statement.position)

    # ------------------------------------------------------------ what there is

    def tables(self) -> list[str]:
        """Return the names of the database's tables and views."""
        return self.engine.tables()

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns of a table and their types; raise SqlError if there is no such table."""
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
