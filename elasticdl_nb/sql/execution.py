"""Running the statements that start jobs, and saying what they are going to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elasticdl_nb.sql import submitter
from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.language.statements import Evaluate, Explain, Predict, Train
from elasticdl_nb.sql.models.store import ModelStore
from elasticdl_nb.sql.plan import Plan
from elasticdl_nb.sql.result import Result
from elasticdl_nb.sql.verbs import evaluating, explaining, predicting, training

if TYPE_CHECKING:
    from elasticdl_nb.job import Job

OnJob = Callable[["Job"], None] | None
WithJob = Train | Predict | Evaluate | Explain


@dataclass(frozen=True)
class Execution:
    """Statements that start jobs, on one database and one model store."""

    engine: Engine
    store: ModelStore
    namespace: Mapping[str, Any]

    def run(self, statement: WithJob, wait: bool, on_job: OnJob) -> Result:
        """Check the statement, run its job, and return what came of it; without `wait`, a training goes on."""
        match statement:
            case Train():
                return self._train(statement, wait, on_job)
            case Predict():
                return self._predict(statement, on_job)
            case Evaluate():
                return self._evaluate(statement, on_job)
            case Explain():
                return self._explain(statement, on_job)

    def _train(self, statement: Train, wait: bool, on_job: OnJob) -> Result:
        prepared = training.prepare(statement, self.engine, self.store, self.namespace)
        job = training.start(prepared, self.engine)
        if on_job is not None:
            on_job(job)
        messages = [*prepared.messages]
        if wait:
            job.wait()
            messages.append(f"model {statement.into} is in {self.store.path}")
        return Result(statement, messages=tuple(messages), job=job)

    def _predict(self, statement: Predict, on_job: OnJob) -> Result:
        prepared = predicting.prepare(statement, self.engine, self.store)
        job, rows = predicting.run(prepared, self.engine, on_job)
        message = f"{rows:,} rows predicted into {statement.target} ({prepared.target.does})"
        return Result(statement, messages=(message,), job=job)

    def _evaluate(self, statement: Evaluate, on_job: OnJob) -> Result:
        prepared = evaluating.prepare(statement, self.engine, self.store)
        job, metrics = evaluating.run(prepared, self.engine, on_job)
        if statement.into is not None:
            evaluating.write_result_table(self.engine, statement.into, metrics)
        return Result(statement, table=metrics, job=job)

    def _explain(self, statement: Explain, on_job: OnJob) -> Result:
        prepared = explaining.prepare(statement, self.engine, self.store)
        job, found = explaining.run(prepared, self.engine, on_job)
        names, values, deviations = (list(column) for column in zip(*found.rows, strict=True))
        importances = pa.table({"feature": names, "importance": values, "deviation": deviations})
        if statement.into is not None:
            evaluating.write_result_table(self.engine, statement.into, importances)
        plot = found.plot or explaining.bars(names, values, f"{statement.model}: importance")
        return Result(statement, table=importances, messages=(f"importance: {found.measure}",), job=job, plot=plot)

    def plan(self, statement: WithJob, params: Mapping[str, Any]) -> Plan:
        """Return what the statement is going to do, after all checks."""
        program = submitter.session_program(statement.text, self.engine, self.store, params)
        match statement:
            case Train():
                prepared = training.prepare(statement, self.engine, self.store, self.namespace)
                program = submitter.training_program(prepared, statement.select, self.engine)
                return Plan(
                    statement, prepared.query, prepared.features, prepared.options(), prepared.messages, program
                )
            case Predict():
                prediction = predicting.prepare(statement, self.engine, self.store)
                described = tuple(prediction.model.record["described"])
                note = f"writes {statement.target}: {prediction.target.does}"
                return Plan(statement, prediction.target.query, described, prediction.attributes.job, (note,), program)
            case Evaluate():
                evaluation = evaluating.prepare(statement, self.engine, self.store)
                described = tuple(evaluation.model.record["described"])
                return Plan(statement, evaluation.query, described, evaluation.attributes.job, (), program)
            case Explain():
                explanation = explaining.prepare(statement, self.engine, self.store)
                described = tuple(explanation.model.record["described"])
                return Plan(statement, explanation.query, described, explanation.attributes.job, (), program)
