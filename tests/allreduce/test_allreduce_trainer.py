"""Trainers that train together, in threads of one process, beside one that trains alone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from rings import TOKEN, at_once

from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.allreduce.ring import Ring
from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo
from elasticdl_nb.runtime.protocol import epochs
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.orders import RingOrders
from elasticdl_nb.runtime.worker.training import ring_step
from elasticdl_nb.runtime.worker.training.exchange import Exchange
from elasticdl_nb.runtime.worker.training.ring import AllreduceTrainer

MODEL = """
import keras


def custom_model():
    inputs = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(8, activation="tanh")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


def input_fn(record):
    return record, record


def loss(labels, output):
    return keras.ops.mean(keras.ops.square(labels - output))


def optimizer():
    return keras.optimizers.Adam(0.05, global_clipnorm=0.5)
"""
MEASURED = """
import keras

def input_fn(record): return record, record

def custom_model():
    inputs = keras.Input((6,), name="x")
    outputs = {"a": keras.layers.Dense(1, name="a")(inputs), "b": keras.layers.Dense(1, "sigmoid", name="b")(inputs)}
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.05), {"a": "mse", "b": "mae"},
        metrics={"a": ["mae"], "b": [keras.metrics.AUC(name="auc")]}, weighted_metrics={"a": ["mse"], "b": []},
    )
    return model
"""
FORM = (tf.TensorSpec([None, 6], tf.float32), tf.TensorSpec([None, 1], tf.float32))
IMAGES = {
    "mnist_functional_api.mnist_functional_api.custom_model": (28, 28),
    "mnist_subclass.mnist_subclass.MnistModel": (28, 28),
    "cifar10_functional_api.cifar10_functional_api.custom_model": (32, 32, 3),
    "cifar10_subclass.cifar10_subclass.Cifar10Model": (32, 32, 3),
}


class Session:
    """A session with a master that the test plays."""

    generation = 0

    def __init__(self) -> None:
        self.orders = RingOrders()
        self.said: list[Any] = []
        self.losses: list[float] = []

    def send(self, **body: Any) -> None:
        self.said.append(body)

    def activity(self, activity: str) -> None:
        pass

    def progress(self, step: int, records: int) -> None:
        pass

    def loss(self, step: int, value: float) -> None:
        self.losses.append(value)

    def note(self, level: str, text: str) -> None:
        pass


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo")
    (path / "plain.py").write_text(MODEL)
    (path / "plain_measured.py").write_text(MEASURED)
    return path


class Together:
    """Trainers of one job; they form a ring in the order of their numbers."""

    def __init__(self, count: int, zoo: Path | str, model: str, form: Any, **options: Any) -> None:
        self.spec = JobSpec(
            kind="train", model_def=model, distribution_strategy="AllreduceStrategy", num_workers=count,
            log_loss_steps=1, **options,
        )  # fmt: skip
        self.zoo, self.model, self.form = zoo, model, form
        self.listeners: list[Listener] = []
        self.sessions: list[Session] = []
        self.trainers: list[AllreduceTrainer] = []
        self.generation = 0
        for _ in range(count):
            self.add()

    def add(self) -> AllreduceTrainer:
        keras.utils.set_random_seed(7 + len(self.trainers))  # so that only the hand-over makes them alike
        self.listeners.append(Listener(TOKEN))
        self.sessions.append(Session())
        loaded = load(ModelDefinition(zoo=str(self.zoo), model_def=self.model))
        loaded.build(self.form[0])
        self.trainers.append(AllreduceTrainer(
            self.spec, loaded, self.sessions[-1], self.form, lambda step, loss: None,  # type: ignore[arg-type]
            number=len(self.trainers), listener=self.listeners[-1],
        ))  # fmt: skip
        return self.trainers[-1]

    def form_ring(self, *numbers: int, donor: int = 0) -> None:
        self.generation += 1
        ring = pb.Ring(
            generation=self.generation, workers=numbers, addresses=[self.listeners[n].address for n in numbers],
            donor=donor, step=self.trainers[numbers[donor]].step, hand_over=len(numbers) > 1,
        )  # fmt: skip
        for number in numbers:
            self.sessions[number].orders.receive(pb.MasterMessage(ring=ring))

    def train(self, batches: dict[int, list[Any]], skip: int = 0, epoch: int = 0) -> None:
        def call(number: int) -> None:
            trainer = self.trainers[number]
            trainer.train(pb.Task(id=number + 1, attempt=1, skip=skip, epoch=epoch), iter(batches[number]))

        at_once([lambda n=n: call(n) for n in batches])

    def close(self) -> None:
        for trainer in self.trainers:
            trainer._leave()
        for listener in self.listeners:
            listener.close()


def weights(trainer: AllreduceTrainer) -> list[np.ndarray]:
    return [np.asarray(one) for one in trainer.model.weights]


def alike(*trainers: AllreduceTrainer) -> bool:
    return all(
        one.tobytes() == other.tobytes()
        for trainer in trainers[1:]
        for one, other in zip(weights(trainers[0]), weights(trainer), strict=True)
    )


def points(count: int, seed: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 6)).astype(np.float32)
    return tf.constant(x), tf.constant(x.sum(1, keepdims=True))


def both(a: Any, b: Any) -> Any:
    return tf.nest.map_structure(lambda one, other: tf.concat([one, other], 0), a, b)


@pytest.fixture
def together(zoo: Path) -> Iterator[Any]:
    made: list[Together] = []

    def make(count: int, model: str = "plain.custom_model", form: Any = FORM, **options: Any) -> Together:
        made.append(Together(count, zoo if model.startswith("plain") else built_in_zoo(), model, form, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_two_workers_learn_what_one_learns_from_their_batches_together(together: Any, zoo: Path) -> None:
    two = together(2)
    alone = together(1)
    for trainer in alone.trainers:
        for own, other in zip(trainer.model.weights, two.trainers[0].model.weights, strict=True):
            own.assign(other)
    parts = [[points(5 + step, step) for step in range(6)], [points(3, 100 + step) for step in range(6)]]
    two.form_ring(0, 1)
    alone.form_ring(0)
    two.train(dict(enumerate(parts)))
    alone.train({0: [both(a, b) for a, b in zip(*parts, strict=True)]})
    assert alike(*two.trainers)
    for one, other in zip(weights(two.trainers[0]), weights(alone.trainers[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(two.sessions[0].losses, alone.sessions[0].losses, rtol=1e-4)
    assert two.trainers[0].step == two.trainers[1].step == 6 and not two.sessions[1].losses


def test_weights_are_the_same_bits_whenever_gradients_are_exchanged(
    together: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_step, "limit_of", lambda total: 1)  # a bucket for each variable
    allreduce, told, calls = Ring.allreduce, threading.Lock(), itertools.count(1)

    def trained(*, breaks: bool) -> tuple[AllreduceTrainer, AllreduceTrainer]:
        """Two that have trained; perhaps their ring broke in the middle of a step."""
        two = together(2)
        assert len(two.trainers[0]._together.buckets) == 5
        halted: list[int] = []

        def send(**body: Any) -> None:
            with told:
                halted.append(body["halted"].generation)
                if halted.count(1) == 2:
                    two.form_ring(0, 1)

        def breaking(self: Ring, values: Any, *, exact: bool = False) -> None:
            if self.rank == 1 and next(calls) == 7:  # the second bucket of the second step
                self.abort()
            allreduce(self, values, exact=exact)

        for session in two.sessions:
            monkeypatch.setattr(session, "send", send)
        monkeypatch.setattr(Ring, "allreduce", breaking if breaks else allreduce)
        two.form_ring(0, 1)
        two.train({n: [points(5 + n, 10 * n + step) for step in range(6)] for n in range(2)})
        assert halted.count(1) == 2 * breaks and two.trainers[0].step == 6
        for trainer in two.trainers:
            exchanging, hidden = trainer._session.holding()
            assert 0 <= hidden <= exchanging and exchanging > 0
        return two.trainers[0], two.trainers[1]

    monkeypatch.setattr(Exchange, "overlaps", True)
    found = [*trained(breaks=False), *trained(breaks=True)]
    monkeypatch.setattr(Exchange, "overlaps", None)
    monkeypatch.setattr(ring_step, "hurry", lambda loss, pushes: False)
    assert alike(*found, *trained(breaks=False))


def test_metrics_of_training_are_those_of_one_worker(together: Any) -> None:
    form = (FORM[0], {"a": FORM[1], "b": FORM[1]}, tf.TensorSpec([None], tf.float32))

    def measured(count: int, seed: int) -> Any:
        x, y = points(count, seed)
        return x, {"a": y, "b": tf.cast(y > 0, tf.float32)}, tf.abs(x[:, 0])

    two, alone = together(2, "plain_measured.custom_model", form), together(1, "plain_measured.custom_model", form)
    for own, other in zip(alone.trainers[0].model.weights, two.trainers[0].model.weights, strict=True):
        own.assign(other)
    two.form_ring(0, 1)
    alone.form_ring(0)
    for epoch in (0, 1):
        parts = [[measured(size + n, 100 * epoch + n + size) for n in range(4)] for size in (5, 3)]
        two.train(dict(enumerate(parts)), epoch=epoch)
        alone.train({0: [both(a, b) for a, b in zip(*parts, strict=True)]}, epoch=epoch)
        expected = alone.trainers[0].so_far()
        assert {"loss", "a_loss", "b_loss", "a_mae", "a_mse", "b_auc"} == set(expected.logs) and expected.records == 44
        one, other = (trainer.so_far() for trainer in two.trainers)
        assert {**one.logs, "loss": 0} == pytest.approx({**expected.logs, "loss": 0}, rel=1e-4)
        whole = epochs.together(one, other)
        assert whole.records == expected.records
        assert dict(whole.logs) == pytest.approx(dict(expected.logs), rel=1e-4)


def test_a_fixed_global_batch_is_divided(together: Any) -> None:
    two = together(2, fixed_global_batch=True, minibatch_size=5)
    two.form_ring(0, 1)
    two.train({0: [points(5, 1)], 1: [points(4, 2)]})
    # worker 0 has 3 + 2 records, worker 1 has 2 + 2
    assert [trainer.step for trainer in two.trainers] == [2, 2] and alike(*two.trainers)


def test_a_newcomer_takes_over_the_model_with_the_optimizer_and_goes_on_alike(together: Any) -> None:
    job = together(1)
    job.form_ring(0)
    job.train({0: [points(8, step) for step in range(3)]})
    newcomer = job.add()
    newcomer.warm_up()
    assert not alike(*job.trainers)
    job.sessions[0].orders.receive(pb.MasterMessage(regroup=pb.Regroup(generation=1)))
    job.form_ring(0, 1)
    job.train({0: [points(8, 10)], 1: [points(8, 11)]})
    assert alike(*job.trainers) and newcomer.step == 4
    for one, other in zip(job.trainers[0].optimizer.variables, newcomer.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    halted = job.sessions[0].said[-1]["halted"]
    assert (halted.generation, halted.has_model, halted.step) == (1, True, 3)
    assert [(place.worker, place.task, place.records) for place in halted.places] == [(0, 1, 24)]


def test_records_that_are_in_the_model_are_skipped(together: Any) -> None:
    whole, rest = together(1), together(1)
    batches = [points(8, step) for step in range(3)]
    for job in (whole, rest):
        for own, other in zip(job.trainers[0].model.weights, whole.trainers[0].model.weights, strict=True):
            own.assign(other)
        job.form_ring(0)
    whole.train({0: [tuple(part[4:] for part in batches[1]), batches[2]]})
    rest.train({0: batches}, skip=12)
    assert alike(whole.trainers[0], rest.trainers[0])
    assert rest.trainers[0].records_kept == 24


def test_compressed_gradients_still_leave_all_models_alike(together: Any) -> None:
    two = together(2, compression="bfloat16")
    two.form_ring(0, 1)
    two.train({n: [points(8, 10 * n + step) for step in range(3)] for n in range(2)})
    assert alike(*two.trainers)


@pytest.mark.parametrize("name", list(IMAGES))
def test_models_with_normalization_and_dropout_stay_alike_and_are_the_same_every_time(together: Any, name: str) -> None:
    form = ({"image": tf.TensorSpec([None, *IMAGES[name]], tf.float32)}, tf.TensorSpec([None], tf.int32))

    def losses() -> list[float]:
        two = together(2, model=name, form=form)
        two.form_ring(0, 1)
        random = np.random.default_rng(0)
        batches = {
            number: [
                (
                    {"image": tf.constant(random.random((8, *IMAGES[name])), tf.float32)},
                    tf.constant(random.integers(0, 10, 8), tf.int32),
                )
                for _ in range(3)
            ]
            for number in range(2)
        }
        two.train(batches)
        assert alike(*two.trainers)
        seeds = [
            [np.asarray(v) for v in t.model.variables if v.path.endswith("seed_generator_state")] for t in two.trainers
        ]
        assert all((a != b).any() for a, b in zip(*seeds, strict=True)), "each has random numbers of its own"
        return two.sessions[0].losses

    first = losses()
    if name.startswith("mnist_functional"):
        np.testing.assert_allclose(first, losses(), rtol=1e-5)
