"""PREDICT: from a query's rows to a column of predictions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elasticdl_nb.sql.engines.base import BATCH_ROWS, Connection, Engine
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Predict
from elasticdl_nb.sql.models.attributes import Attributes, check_job, read_attributes
from elasticdl_nb.sql.models.store import ModelStore, StoredModel, needed_columns
from elasticdl_nb.sql.verbs.training import describe
from elasticdl_nb.sql.writing import targets
from elasticdl_nb.sql.writing.targets import PREDICTIONS, ROW, VALUE, Target

if TYPE_CHECKING:
    from elasticdl_nb.job import Job

_AT_ONCE = 1024
"""Rows in a batch of a prediction where the statement does not say: more than in training, as nothing is learned."""
_ARROW = {"integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


@dataclass(frozen=True)
class Prediction:
    """A PREDICT statement after all checks."""

    model: StoredModel
    target: Target
    kinds: dict[str, str]
    columns: tuple[str, ...]
    attributes: Attributes


def prepare(statement: Predict, engine: Engine, store: ModelStore) -> Prediction:
    """Check a statement; nothing is changed. Raises SqlError, at its place, for whatever is wrong with it."""
    model = store.find(statement.model)
    attributes = read_attributes(statement.attributes, "predict", None, ("replace",))
    check_job("predict", attributes.job, trained_model="x", data="x", output="x.parquet")
    replace = attributes.own.get("replace", False)
    if not isinstance(replace, bool):
        raise SqlError(f"replace: {replace!r} does not do: true or false is needed")
    kinds = describe(engine, statement.select, statement.select_position)
    columns = needed_columns(model, kinds, statement.select_position, statement.model)
    label = (model.record["label"] or {}).get("column", "")
    target = targets.find_target(engine, statement, kinds, label, value_kind(model), replace=replace)
    return Prediction(model, target, kinds, columns, attributes)


# ------------------------------------------------------------------ what a model's outputs mean


def _classes(model: StoredModel) -> list[Any] | None:
    label = model.record["label"] or {}
    return None if label.get("task") == "probability" else label.get("classes")


def value_kind(model: StoredModel) -> str:
    """Return the kind of what is predicted: integer, float, boolean or text."""
    classes = _classes(model)
    if classes is None:
        return "float"
    if model.record["label"]["kind"] == "boolean":
        return "boolean"
    if all(isinstance(value, int) for value in classes):
        return "integer"
    return "text" if all(isinstance(value, str) for value in classes) else "float"


def decoder(model: StoredModel) -> Callable[[np.ndarray[Any, Any]], Sequence[Any]]:
    """Return what turns outputs, [n] or [n, k], into values for a column: numbers, or the classes they stand for.

    Of several outputs without known classes, the number of the greatest is the prediction.
    """
    classes = _classes(model)
    kind = value_kind(model)

    def decode(outputs: np.ndarray[Any, Any]) -> Sequence[Any]:
        if classes is None:
            numbers = outputs if outputs.ndim == 1 else outputs.argmax(axis=-1)
            return list(numbers.astype(float))
        numbers = (outputs > 0.5).astype(int) if outputs.ndim == 1 else outputs.argmax(axis=-1)
        # A model may have been told of more classes than the label has values.
        found = [classes[number] if number < len(classes) else None for number in numbers.tolist()]
        return [None if value is None else bool(value) for value in found] if kind == "boolean" else found

    return decode


def read_outputs(path: str) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the outputs that a prediction job wrote, [n] or [n, k], some rows at a time and in the rows' order."""
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if len(names) > 1:
        raise SqlError(f"the model gives several outputs ({', '.join(names)}); SQL takes models with one")
    for batch in file.iter_batches(BATCH_ROWS):
        column = batch.column(0)
        if pa.types.is_fixed_size_list(column.type):
            yield column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        else:
            yield column.to_numpy(zero_copy_only=False)


# ------------------------------------------------------------------ the work


def run(prediction: Prediction, engine: Engine, on_job: Callable[[Job], None] | None) -> tuple[Job | None, int]:
    """Predict and write; return the job and the number of rows. The target is left as it was unless all goes well."""
    with engine.connect() as connection, tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        rows = targets.take_snapshot(engine, connection, prediction.target)
        kind = prediction.target.kind
        targets.make_room(engine, connection, kind)
        job = None
        if rows:
            output = os.path.join(folder, "predictions.parquet")
            query = targets.selected_columns(engine, prediction.kinds, prediction.columns)
            job = start(prediction.model, connection.stream(query), output, prediction.attributes.job)
            if on_job is not None:
                on_job(job)
            wait_for(job)
            _bring_back(connection, output, decoder(prediction.model), kind)
        targets.write(engine, connection, prediction.target, rows)
    return job, rows


def start(model: StoredModel, reader: pa.RecordBatchReader, output: str, options: dict[str, Any]) -> Job:
    """Start the job that predicts these rows."""
    from elasticdl_nb.job.starting import start_job

    given = {"trained_model": model.path, "data": reader, "output": output, "minibatch_size": _AT_ONCE, **options}
    return start_job("predict", given, wait=False)


def wait_for(job: Job) -> Job:
    """Wait until a job has ended whose result only its statement wants: whoever interrupts that ends the job."""
    try:
        return job.wait()
    except KeyboardInterrupt:
        job.cancel("its statement was interrupted")
        raise


def _bring_back(connection: Connection, output: str, decode: Callable[..., Sequence[Any]], kind: str) -> None:
    schema = pa.schema([(ROW, pa.int64()), (VALUE, _ARROW[kind])])

    def batches() -> Iterator[pa.RecordBatch]:
        first = 1
        for outputs in read_outputs(output):
            numbers = pa.array(range(first, first + len(outputs)), pa.int64())
            first += len(outputs)
            yield pa.RecordBatch.from_arrays([numbers, pa.array(decode(outputs), _ARROW[kind])], schema=schema)

    with connection.transaction():
        connection.insert(PREDICTIONS, pa.RecordBatchReader.from_batches(schema, batches()))
