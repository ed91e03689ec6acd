"""Several steps in one call change how long training takes, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fitting
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from fitting import DATA, RECORDS, Here
from tensorflow.python.framework.config import disable_op_determinism

from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.data.tensors import original_error
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.worker.feed import StreamSource
from elasticdl_nb.runtime.worker.jit import number, several, steps, trial
from elasticdl_nb.runtime.worker.jit.number import MOST, Number
from elasticdl_nb.runtime.worker.jit.trial import Way
from elasticdl_nb.runtime.worker.training.callbacks import BATCH_HOOKS, sees_batches
from elasticdl_nb.runtime.worker.unsuitable import Unsuitable

TASKS = ((0, 80), (80, RECORDS))
RICH = """
def custom_model():
    i = keras.Input((4,))
    h = keras.layers.BatchNormalization()(dense(8, 1, "relu")(i))
    h = keras.layers.Dropout(0.3, seed=5)(h)
    return keras.Model(i, dense(1, 3)(h))
def optimizer(): return keras.optimizers.Adam(0.01)
loss = "mse"
eval_metrics_fn = lambda: {"mae": keras.metrics.MeanAbsoluteError()}
"""
PLAIN = "loss = 'mse'\n"


class Streamed(Here):
    """A job that reads a Parquet file, in two tasks per epoch; the last batch of an epoch has 6 of 10 records."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **{"num_epochs": 3, "minibatch_size": 10, "jit_compile": "false", **options})
        self.points: list[tuple[int, float]] = []
        self.session.loss = lambda step, value: self.points.append((step, value))  # type: ignore[method-assign]
        self.path = str(folder / "data.parquet")
        columns = {name: [*values] if values.ndim > 1 else values for name, values in DATA.items()}
        pq.write_table(pa.table(columns), self.path, row_group_size=32)
        self.reader = open_reader(self.path, {})

    def source(self) -> StreamSource:
        def make(chunks: tf.data.Dataset, number: Any) -> tf.data.Dataset:
            return self.loaded.batches(
                chunks, Mode.TRAINING, self.reader.metadata, form="columns", batch_size=self.spec.minibatch_size,
                shuffle_seed=None, task_records=RECORDS,
            )  # fmt: skip

        return StreamSource(self.reader, make)

    def steps(self) -> Iterator[int]:
        """Train; yield how many records of each task are in the model, and what `made` the steps."""
        self.own, source = self.trainer(), self.source()
        try:
            for epoch in range(self.spec.num_epochs):
                for start, end in TASKS:
                    task = pb.Task(epoch=epoch, ranges=[pb.Range(path=self.path, start=start, end=end)])
                    source.announce(task)
                    self.batches_of_task = source.batches()
                    yield self.own.train(task, self.batches_of_task)
                    if self.own.stopped:
                        return
        finally:
            source.close()

    @property
    def values(self) -> list[np.ndarray]:
        return [np.asarray(one) for one in [*self.loaded.model.weights, *self.own.optimizer.variables]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Several steps are made as soon as there was one; what is returned gets the number of each call's."""
    monkeypatch.setattr(number, "SPENT", 0.0)
    monkeypatch.setattr(number, "AT_ONCE", 1e9)
    monkeypatch.setattr(several, "AT_ONCE", 1e9)
    monkeypatch.setattr(number, "MOST", 4)
    monkeypatch.setattr(several.Preparing, "start", several.Preparing.run)
    made: list[int] = []
    call = several.SeveralSteps.__call__

    def counted(self: Any, batches: Any, most: int) -> Any:
        result = call(self, batches, most)
        made.append(len(result.losses))
        return result

    monkeypatch.setattr(several.SeveralSteps, "__call__", counted)
    return made


def one_by_one(patch: pytest.MonkeyPatch, job: Streamed) -> Streamed:
    with patch.context() as context:
        context.setattr(number, "SPENT", math.inf)
        job.used = [*job.steps()]  # type: ignore[attr-defined]
    return job


def assert_alike(one: Streamed, other: Streamed, tolerance: float = 0.0) -> None:
    assert [step for step, _ in one.points] == [step for step, _ in other.points]
    np.testing.assert_allclose([v for _, v in one.points], [v for _, v in other.points], rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(one.values, other.values, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance / 10)
    mine, theirs = one.own.so_far(), other.own.so_far()
    assert (mine.step, mine.records, mine.epoch) == (theirs.step, theirs.records, theirs.epoch)
    assert {*mine.logs} == {*theirs.logs}
    for name in mine.logs:
        assert mine.logs[name] == pytest.approx(theirs.logs[name], rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"max_step": 17, "log_loss_steps": 4}], ids=["to the end", "to a step"])
def test_the_same_steps_draws_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int], options: dict[str, int]
) -> None:
    fitting.write(tmp_path, RICH)
    theirs = one_by_one(monkeypatch, Streamed(tmp_path, **options))
    assert not calls
    mine = Streamed(tmp_path, **options)
    assert [*mine.steps()] == theirs.used  # type: ignore[attr-defined]
    assert_alike(mine, theirs)
    assert max(calls) == 4 and sum(calls) == mine.own.step - 1
    assert mine.own.step == (17 if options else 30)


def test_a_batch_that_fails_is_explained_and_those_before_it_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    text = """
        def custom_model():
            i = keras.Input((6,), dtype="int64")
            rows = keras.layers.Embedding(20, 3, name="towns", embeddings_initializer=init(1))(i)
            return keras.Model(i, dense(1, 2)(keras.layers.Flatten()(rows)))
        loss = "mse"
        def input_fn(r): return r["s"], tf.reshape(r["y"], [1])
    """
    with monkeypatch.context() as context:
        ids = DATA["s"].copy()
        ids[65] = 77  # in the seventh batch
        context.setitem(DATA, "s", ids)
        fitting.write(tmp_path, text)
        jobs = []
        for patience in (math.inf, 0.0):
            context.setattr(number, "SPENT", patience)
            job = Streamed(tmp_path, num_epochs=1, log_loss_steps=1)
            with pytest.raises(Unsuitable, match="towns: id 77 is not one of its 20") as caught:
                [*job.steps()]
            assert caught.value.value == 77
            assert job.own.step == 6 and len(job.points) == 6
            jobs.append(job)
    assert_alike(jobs[1], jobs[0])
    assert calls == [1, 2]  # and the next call has made two of four


def test_records_that_cannot_be_read_end_the_task_after_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    fitting.write(tmp_path, PLAIN)
    job = Streamed(tmp_path, num_epochs=1)
    read = job.reader.read

    def broken(path: str, start: int, end: int) -> Iterator[Any]:
        for n, chunk in enumerate(read(path, start, end)):
            if n == 2 and start == 0:
                raise OSError("the disk is gone")
            yield chunk

    monkeypatch.setattr(job.reader, "read", broken)
    trained = job.steps()
    with pytest.raises(tf.errors.OpError) as caught:
        next(trained)
    assert str(original_error(caught.value)) == "the disk is gone"
    assert 0 < job.own.step <= 6 and calls
    job.batches_of_task.close()  # and again, as the worker does


def test_a_call_whose_steps_are_slower_than_expected_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    fitting.write(tmp_path, PLAIN)
    theirs = one_by_one(monkeypatch, Streamed(tmp_path, num_epochs=1))
    monkeypatch.setattr(several, "AT_ONCE", 0.0)  # for a call alone: it is asked for four steps
    mine = Streamed(tmp_path, num_epochs=1)
    [*mine.steps()]
    assert_alike(mine, theirs)
    assert calls == [1] * 9


def test_where_operations_are_deterministic_no_clock_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    fitting.write(tmp_path, PLAIN)
    theirs = one_by_one(monkeypatch, Streamed(tmp_path, num_epochs=1))
    tf.config.experimental.enable_op_determinism()
    try:
        mine = Streamed(tmp_path, num_epochs=1)
        [*mine.steps()]
    finally:
        disable_op_determinism()
    assert_alike(mine, theirs)
    assert sum(calls) == 9


def test_what_observes_single_batches_is_called_around_each(tmp_path: Path, calls: list[int]) -> None:
    fitting.write(tmp_path, PLAIN)
    job = Streamed(tmp_path, num_epochs=1)
    seen: list[int] = []

    class Everywhere(keras.callbacks.Callback):  # type: ignore[misc]
        in_every_worker = True

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(int(job.own.optimizer.iterations))

    job.loaded.callbacks = lambda: [Everywhere()]  # type: ignore[method-assign]
    [*job.steps()]
    assert seen == [*range(1, 11)] and not calls


def test_random_numbers_that_depend_on_the_graph_are_drawn_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    fitting.write(
        tmp_path,
        """
        def custom_model():
            i = keras.Input((4,))
            noise = keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x)), output_shape=lambda s: s)
            return keras.Model(i, dense(1, 2)(noise(dense(8, 1)(i))))
        loss = "mse"
        """,
    )
    theirs = one_by_one(monkeypatch, Streamed(tmp_path, num_epochs=1))
    mine = Streamed(tmp_path, num_epochs=1)
    [*mine.steps()]
    assert_alike(mine, theirs)
    assert not calls


def test_compiled_steps_are_made_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    for name, value in {
        "PATIENCE": 0.0,
        "STEPS_BEFORE": 2,
        "BLOCK": 0.0,
        "BETTER": math.inf,
        "HOPELESS": math.inf,
    }.items():
        monkeypatch.setattr(trial, name, value)
    monkeypatch.setattr(trial, "_TURNS", (Way.GRAPH, Way.COMPILED))
    monkeypatch.setattr(steps._Attempt, "is_alive", lambda self: self.join() and False)
    fitting.write(tmp_path, RICH.replace("0.3", "0.0"))
    theirs = one_by_one(monkeypatch, Streamed(tmp_path, seed=0))
    mine = Streamed(tmp_path, seed=0, jit_compile="auto")
    [*mine.steps()]
    assert_alike(mine, theirs, tolerance=1e-5)
    assert "so they are compiled" in mine.session.notes[-1]
    assert sum(calls) <= 4, "only before"


# ------------------------------------------------------------ decisions


def test_calls_grow_while_they_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Number()
    counts.made(1, 10.0)
    assert not counts.is_worth_it, "the first one takes longer"
    counts.made(1, 0.26)
    assert not counts.is_worth_it, "steps this long gain nothing"
    now = []
    for _ in range(8):
        counts.made(counts.now, counts.now * 0.001)
        now.append(counts.now)
    assert counts.is_worth_it and now == [2, 4, 8, 16, 32, MOST, MOST, MOST]
    counts.made(MOST, MOST * 0.01)
    assert counts.now == 10


def test_what_observes_batches_is_what_keras_calls_around_them() -> None:
    called = {name for name in dir(keras.callbacks.Callback) if "batch" in name and name.startswith("on_")}
    assert {*BATCH_HOOKS} == {name for name in called if "test" not in name and "predict" not in name}
    made = keras.callbacks
    assert not any(
        map(
            sees_batches, [made.EarlyStopping(), made.CSVLogger("log"), made.ModelCheckpoint("m.keras"), made.History()]
        )
    )
    assert all(map(sees_batches, [made.TerminateOnNaN(), made.ModelCheckpoint("m.keras", save_freq=3)]))
    assert sees_batches(made.LambdaCallback(on_train_batch_end=lambda batch, logs: None))
