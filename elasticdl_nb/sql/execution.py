"""Running the statements that start jobs, and describing what they would do."""

from __future__ import annotations

from elasticdl_nb.sql import submitter
from elasticdl_nb.sql.language.statements import Evaluate, Explain, Predict, Train
from elasticdl_nb.sql.plan import Plan
from elasticdl_nb.sql.result import Result
from elasticdl_nb.sql.verbs import evaluating, explaining, predicting, training
from elasticdl_nb.sql.verbs.context import Context

WithJob = Train | Predict | Evaluate | Explain


def run(statement: WithJob, context: Context) -> Result:
    """Check the statement, run its job, and return the result."""
    match statement:
        case Train():
            trained = training.prepare(statement, context)
            messages = context.tell(trained.messages)
            job = training.run(trained, context)
            stored = (f"model {statement.into} is in {context.store.path}",) if context.wait else ()
            return Result(statement, messages=(*messages, *stored), job=job)
        case Predict():
            prediction = predicting.prepare(statement, context)
            started, rows = predicting.run(prediction, context)
            message = f"{rows:,} rows predicted into {statement.target} ({prediction.target.does})"
            return Result(statement, messages=(message,), job=started)
        case Evaluate():
            evaluation = evaluating.prepare(statement, context)
            messages = context.tell(evaluation.messages)
            job, metrics = evaluating.run(evaluation, context)
            return Result(statement, table=metrics, messages=messages, job=job)
        case Explain():
            explanation = explaining.prepare(statement, context)
            job, found, table = explaining.run(explanation, context)
            plot = explaining.picture(explanation, found)
            return Result(statement, table=table, messages=(f"importance: {found.measure}",), job=job, plot=plot)


def plan(statement: WithJob, context: Context) -> Plan:
    """Return what the statement would do, after all the checks that `run` makes before it starts work."""
    program = submitter.session_program(statement.text, context)
    match statement:
        case Train():
            trained = training.prepare(statement, context)
            if trained.fed is None:
                program = submitter.training_program(trained, context.engine)
            return Plan(
                statement, trained.query, trained.record.described, trained.options(), trained.messages, program
            )
        case Predict():
            prediction = predicting.prepare(statement, context)
            target, described = prediction.target, prediction.model.record.described
            notes = tuple(filter(None, (f"writes {statement.target}: {target.does}", target.how)))
            return Plan(statement, target.query, described, prediction.attributes.job, notes, program)
        case Evaluate():
            evaluation = evaluating.prepare(statement, context)
            described = evaluation.model.record.described
            job, said = evaluation.attributes.job, evaluation.messages
            return Plan(statement, evaluation.query, described, job, said, program)
        case Explain():
            explanation = explaining.prepare(statement, context)
            described = explanation.model.record.described
            return Plan(statement, explanation.query, described, explanation.attributes.job, (), program)
