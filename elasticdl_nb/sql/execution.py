"""Running the statements that start jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from elasticdl_nb.sql import predicting, training
from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.errors import SqlError
from elasticdl_nb.sql.plan import Plan
from elasticdl_nb.sql.result import Result
from elasticdl_nb.sql.statements import Evaluate, Explain, Predict, Train
from elasticdl_nb.sql.store import ModelStore

if TYPE_CHECKING:
    from elasticdl_nb.job import Job

OnJob = Callable[["Job"], None] | None
WithJob = Train | Predict | Evaluate | Explain


def run_job(
    statement: WithJob,
    engine: Engine,
    store: ModelStore,
    namespace: Mapping[str, Any],
    wait: bool,
    on_job: OnJob,
) -> Result:
    """Check the statement, run its job, and return what came of it; without `wait`, a training goes on."""
    if isinstance(statement, Train):
        return _train(statement, engine, store, namespace, wait, on_job)
    if isinstance(statement, Predict):
        return _predict(statement, engine, store, on_job)
    raise SqlError("not yet", statement.position)


def _predict(statement: Predict, engine: Engine, store: ModelStore, on_job: OnJob) -> Result:
    prepared = predicting.prepare(statement, engine, store)
    job, rows = predicting.run(prepared, engine, on_job)
    message = f"{rows:,} rows predicted into {statement.target} ({prepared.target.does})"
    return Result(statement, messages=(message,), job=job)


def _train(
    statement: Train, engine: Engine, store: ModelStore, namespace: Mapping[str, Any], wait: bool, on_job: OnJob
) -> Result:
    prepared = training.prepare(statement, engine, store, namespace)
    job = training.start(prepared, engine)
    if on_job is not None:
        on_job(job)
    messages = [*prepared.messages]
    if wait:
        job.wait()
        messages.append(f"model {statement.into} is in {store.path}")
    return Result(statement, messages=tuple(messages), job=job)


def plan_job(statement: WithJob, engine: Engine, store: ModelStore, namespace: Mapping[str, Any]) -> Plan:
    """Return what the statement is going to do, after all checks."""
    if isinstance(statement, Train):
        prepared = training.prepare(statement, engine, store, namespace)
        return Plan(statement, prepared.query, prepared.features, prepared.options(), prepared.messages)
    raise SqlError("not yet", statement.position)
