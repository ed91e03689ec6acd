"""Steps over tables: the next batch's rows beside this one's, rows in TensorFlow's memory, updates on several cores."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_models import FORM, NAMES, batches, loaded
from test_trainers import Notes, ignore, spec, with_optimizer

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.store import UpdatePolicy
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.protocol.master_pb2 import Border, Task
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.ps.server import ParameterServer
from elasticdl_nb.runtime.ps.spreading import SMALLEST, spread
from elasticdl_nb.runtime.worker.training.ahead import LookingAhead
from elasticdl_nb.runtime.worker.training.base import Logs, Trainer
from elasticdl_nb.runtime.worker.training.rows import BatchRows, StepMemory
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer
from elasticdl_nb.runtime.worker.training.tables import TableTrainer

RULES = [
    {"class_name": "Adam", "config": {"learning_rate": 0.01}},
    {"class_name": "Ftrl", "config": {"learning_rate": 0.1}},
    {"class_name": "Nadam", "config": {"learning_rate": 0.01}},
    {"class_name": "SGD", "config": {"learning_rate": 0.1, "clipvalue": 0.01}},
]


class Plainly(TableTrainer):
    """One batch after the other, with a lookup before and a push after each step."""

    def train(self, task: Task, batches: Iterator[Any]) -> int:
        return Trainer.train(self, task, batches)

    def _apply_with_rows(self, *batch: Any) -> Logs:
        of_batch = BatchRows(self._served.groups, self._served.ids(batch[0]))
        rows = {table: self._rows.lookup(table, ids) for table, ids in of_batch.ids.items()}
        logs: Logs
        (logs, rate, dense), of_rows = self._served.compute(batch, of_batch.inputs(rows))
        gradients: Any = of_batch.gradients(of_rows)
        if self._clipping:
            clipped, gradients = self._clipping.with_rows([np.asarray(one) for one in dense], gradients)
            self._apply_clipped([tf.constant(one) for one in clipped])
        self._rows.step(StepRequest(Push({}, gradients, self.step, float(rate)), pull=False))
        return logs


@contextlib.contextmanager
def a_server() -> Iterator[ParameterClient]:
    """A synchronous server behind a socket."""
    server = ParameterServer(StoreService(UpdatePolicy(grads_to_wait=1)), "t" * 64)
    thread = threading.Thread(target=server.run)
    thread.start()
    client = ParameterClient([server.address], "t" * 64, source="a worker", synchronous=True)
    try:
        yield client
    finally:
        client.close()
        server.stop()
        thread.join()


def curve(
    zoo: Path,
    kind: type[Trainer],
    name: str,
    rule: dict[str, Any],
    jit: str = "auto",
    beside: bool = True,
    in_step: bool = True,
) -> tuple[list[float], list[np.ndarray]]:
    """Train on batches of several sizes; return the losses and the trained weights."""
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(zoo, name, layers)
    with_optimizer(model, rule)
    losses: list[float] = []
    options = spec(log_loss_steps=1, jit_compile=jit, use_async=False)
    trainer = kind(options, model, Notes(), FORM, lambda _, loss: losses.append(loss), layers)  # type: ignore[arg-type,call-arg]
    trainer._ahead._beside = beside and trainer._ahead._beside  # type: ignore[attr-defined]
    if isinstance(trainer, ServerTrainer):
        assert trainer._sets_in_step
        trainer._sets_in_step = in_step
    with a_server() if isinstance(trainer, ServerTrainer) else contextlib.nullcontext() as server:
        if server is not None:
            trainer.connect(server, 0)  # type: ignore[attr-defined]
        trainer.train(Task(), batches(12))
        trainer.train(Task(index=1), (tf.nest.map_structure(lambda one: one[:5], batch) for batch in batches(2)))
        trainer.finish()
    return losses, [variable.numpy() for variable in trainer.model.weights]


@pytest.mark.parametrize(("name", "rule"), [*[(name, RULES[0]) for name in NAMES], *[(NAMES[0], r) for r in RULES[1:]]])
def test_the_loss_curve_is_that_of_one_batch_after_the_other(
    embedded_zoo: Path, name: str, rule: dict[str, Any]
) -> None:
    losses, weights = curve(embedded_zoo, TableTrainer, name, rule)
    expected, left = curve(embedded_zoo, Plainly, name, rule)
    assert len(losses) == 14
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    for mine, theirs in zip(weights, left, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


def test_neither_compiled_steps_nor_looking_ahead_nor_a_server_changes_the_loss_curve(embedded_zoo: Path) -> None:
    expected, left = curve(embedded_zoo, Plainly, "functional", RULES[0], "false")
    ways = [(jit, beside, True) for jit in ("true", "false") for beside in (True, False)]
    for kind in (TableTrainer, ServerTrainer):
        # Servers' values are set within the step, or, where something may look at them between two steps, before it.
        for way in [*ways, *([("true", True, False)] if kind is ServerTrainer else [])]:
            losses, weights = curve(embedded_zoo, kind, "functional", RULES[0], *way)
            assert len(losses) == 14
            np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5, err_msg=f"{kind} {way}")
            for mine, theirs in zip(weights, left, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5, err_msg=f"{kind} {way}")


def test_callbacks_see_the_values_that_servers_have_sent(embedded_zoo: Path) -> None:
    layers = ServedLayers(threshold=1, seed=3)
    model = loaded(embedded_zoo, "functional", layers)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    class Looks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            name, variable = next(iter(trainer._trainable.items()))
            seen.append((np.array(variable), trainer.servers.pull()[0][name]))

    model.callbacks = lambda: [Looks()]  # type: ignore[method-assign]
    trainer = ServerTrainer(spec(use_async=False), model, Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    with a_server() as server:
        trainer.connect(server, 0)
        trainer.callbacks.task_begins(Border(number=1, here=True))
        trainer.train(Task(), batches(3))
    assert len(seen) == 3
    for mine, theirs in seen:
        np.testing.assert_array_equal(mine, theirs)


def test_looking_for_rows_ahead_makes_none_and_they_stay_where_they_were_found() -> None:
    servers = InProcessServers()
    servers.initialize(keras.optimizers.serialize(keras.optimizers.SGD()), {}, [TableSpec("t", 3)])
    first, second = np.array([5, 7, 9]), np.array([7, 1, 5, 2])
    found = servers.find({"t": second})
    assert servers.count("t") == 0 and (found["t"] == -1).all()
    assert servers.locate({"t": first}, servers.find({"t": first}))["t"].tolist() == [0, 1, 2]
    assert servers.locate({"t": second}, found)["t"].tolist() == [1, 3, 0, 4]
    known = servers.find({"t": second})
    assert known["t"].tolist() == [1, 3, 0, 4]
    servers.locate({"t": np.arange(100, 5000)}, servers.find({"t": np.arange(100, 5000)}))
    assert servers.locate({"t": second}, known)["t"].tolist() == [1, 3, 0, 4]


def test_a_bad_batch_ends_training_at_its_turn(embedded_zoo: Path) -> None:
    layers = ServedLayers(threshold=1, seed=3)
    trainer = TableTrainer(spec(), loaded(embedded_zoo, "functional", layers), Notes(), FORM, ignore, layers)  # type: ignore[arg-type]
    good, bad = next(batches(1)), next(batches(1))
    bad[0]["ids"] = tf.fill(bad[0]["ids"].shape, tf.constant(10**9, bad[0]["ids"].dtype))
    with pytest.raises(DataError, match="id 1000000000 of the feature 'ids' is not one of its"):
        trainer.train(Task(), iter([good, good, bad, good]))
    assert trainer.step == 2
    trainer.train(Task(), iter([good]))
    assert trainer.step == 3


def test_batches_are_prepared_before_their_turn_and_in_another_thread() -> None:
    prepared: list[tuple[int, int]] = []
    both = threading.Barrier(2)

    def prepare(batch: int) -> int:
        prepared.append((batch, threading.get_ident()))
        if batch == 1:
            both.wait(30)  # for the step before
        return batch * 10

    ahead = LookingAhead(prepare)
    results = []
    for batch in ahead.over(iter([0, 1, 2])):
        if batch == 0:
            both.wait(30)
        results.append(ahead.prepared(batch))
    assert results == [0, 10, 20]
    assert threading.get_ident() not in {thread for _, thread in prepared}
    assert ahead.prepared(7) == 70, "outside of a task"


def test_the_results_of_the_batches_that_follow_are_known_unless_they_cannot_be_prepared() -> None:
    ahead = LookingAhead(lambda batch: 10 // batch, ahead=2)
    seen = []
    with pytest.raises(ZeroDivisionError):
        for batch in ahead.over(iter([1, 2, 0, 5, 10])):
            seen.append((ahead.prepared(batch), ahead.following(1), ahead.following(2), ahead.following(3)))
    assert seen == [(10, 5, None, None), (5, None, 2, None)]
    rest = [ahead.following(1) for _ in ahead.over(iter([5, 10]))]
    assert rest == [1, None]
    assert ahead.following(0) is None, "outside of a task"


def test_what_goes_wrong_in_reading_is_raised_after_the_batches_before() -> None:
    def failing() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("the file ends here")

    seen: list[int] = []
    with pytest.raises(ValueError, match="the file ends here"):
        seen.extend(LookingAhead(str).over(failing()))
    assert seen == [1, 2]


def test_ids_that_a_step_may_change_are_found_when_their_turn_has_come() -> None:
    ahead = LookingAhead(str, beside=False)
    order = [ahead.prepared(batch) for batch in ahead.over(iter([1, 2]))]
    assert order == ["1", "2"] and ahead._pool is None


@pytest.mark.parametrize("count", [0, 1, SMALLEST, 5 * SMALLEST + 3])
def test_work_is_spread_over_all_rows_once(count: int) -> None:
    done = np.zeros(count, np.int64)

    def work(start: int, stop: int) -> None:
        done[start:stop] += 1

    spread(work, count)
    assert (done == 1).all()


def test_an_error_in_another_thread_is_raised() -> None:
    def work(start: int, stop: int) -> None:
        if stop == 8 * SMALLEST:
            raise DataError("the last part")

    with pytest.raises(DataError, match="the last part"):
        spread(work, 8 * SMALLEST)


def test_tensorflow_reads_the_rows_of_a_step_in_place() -> None:
    memory = StepMemory()
    array, tensor = memory.rows(0, 6, 3)
    array[:] = np.arange(18).reshape(6, 3)
    assert (tensor.numpy() == array).all() and array.ctypes.data % 64 == 0
    again, same = memory.rows(0, 6, 3)
    assert again is array and same is tensor
    other, empty = memory.rows(0, 0, 3)
    assert other.shape == empty.shape == (0, 3)
