"""Whole all-reduce jobs in real processes, whose workers come, die and hang."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from sklearn import datasets

import elasticdl_nb
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.protocol import master_pb2 as pb

RECORDS = 4000
EVENTS = int(os.environ.get("ELASTICDL_TEST_RING_EVENTS", "4"))
MODEL = """
import os
import time

import keras
import tensorflow as tf


def custom_model():
    x = inputs = keras.Input((2,), name="x")
    x = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(keras.layers.Dense(16, "relu")(x)))
    return keras.Model(inputs, keras.layers.Dense(1)(x))


def input_fn(record):
    fields = tf.strings.to_number(tf.reshape(record, (3,)))
    return fields[:2], fields[2:]


def loss(labels, output):
    return keras.ops.mean(keras.ops.square(labels - output))


def optimizer():
    return keras.optimizers.Adam(0.01)


def eval_metrics_fn():
    return {"mse": keras.metrics.MeanSquaredError()}


class Held(keras.callbacks.Callback):
    in_every_worker = True

    def on_train_batch_begin(self, batch, logs=None):
        if os.path.exists(os.environ["TEST_HOLD"]):
            time.sleep(0.3)


def callbacks():
    return [Held()]
"""


OWN = (
    MODEL
    + """

class VaeGan(keras.Model):
    def __init__(self):
        super().__init__()
        dense = keras.layers.Dense
        self.encoder = keras.Sequential([keras.Input((2,)), dense(4)])
        self.decoder = keras.Sequential([keras.Input((2,)), dense(8, "relu"), dense(2)])
        self.critic = keras.Sequential([keras.Input((2,)), dense(8, "tanh"), dense(1)])
        self.of_critic = keras.optimizers.Adam(0.01, global_clipnorm=1.0)
        self.seeds, self.tracker = keras.random.SeedGenerator(1), keras.metrics.Mean("error")

    def call(self, x):
        return self.decoder(self.encoder(x)[:, :2])

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, data):
        x, _ = data
        noise = keras.random.normal(tf.shape(x), seed=self.seeds)
        with tf.GradientTape() as tape:
            made = self.decoder(noise)
            with tf.GradientTape() as inner:
                inner.watch(made)
                judged = self.critic(made)
            slopes = keras.ops.sum(inner.gradient(judged, made) ** 2, 1)
            loss = keras.ops.mean(judged) - keras.ops.mean(self.critic(x)) + keras.ops.mean((slopes - 1.0) ** 2)
        weights = self.critic.trainable_weights
        self.of_critic.apply(tape.gradient(loss, weights), weights)
        with tf.GradientTape() as tape:
            mean, log = keras.ops.split(self.encoder(x), 2, 1)
            error = keras.ops.mean((self.decoder(mean + keras.ops.exp(0.5 * log) * noise) - x) ** 2)
            loss = error - 0.01 * keras.ops.mean(1 + log - mean**2 - keras.ops.exp(log))
            loss -= 0.01 * keras.ops.mean(self.critic(self.decoder(noise)))
        weights = self.encoder.trainable_weights + self.decoder.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self.tracker.update_state(error)
        return {"error": self.tracker.result()}

    def test_step(self, data):
        self.tracker.update_state(keras.ops.mean((self(data[0]) - data[0]) ** 2))
        return {"error": self.tracker.result()}


def custom_model():
    return VaeGan()


del eval_metrics_fn
"""
)


@pytest.fixture
def hold(tmp_path: Path) -> Callable[[], None]:
    """Steps take a third of a second each, however fast the machine is, until this is called."""
    (tmp_path / "hold").touch()
    return (tmp_path / "hold").unlink


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Job]]:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "small.py").write_text(MODEL)
    source = random.Random(0)
    for name, count in (("train", RECORDS), ("valid", 200)):
        rows = [(source.gauss(0, 1), source.gauss(0, 1)) for _ in range(count)]
        lines = ["a,b,y", *(f"{a:.3f},{b:.3f},{a - b:.3f}" for a, b in rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    started: list[Job] = []

    def start(**options: object) -> Job:
        options = {
            "model_zoo": tmp_path / "zoo", "model_def": "small.custom_model", "data": tmp_path / "train.csv",
            "validation_data": tmp_path / "valid.csv", "output": tmp_path / f"out{len(started)}", "minibatch_size": 20,
            "num_minibatches_per_task": 5, "evaluation_steps": 1_000_000, "saved_model": False, "log_loss_steps": 1,
            "distribution_strategy": "AllreduceStrategy", "envs": {"TEST_HOLD": os.fspath(tmp_path / "hold")},
            **options,
        }  # fmt: skip
        started.append(elasticdl_nb.train(**options, wait=False))
        return started[-1]

    yield start
    for job in started:
        launch.kill(job.folder)


def wait_until(condition: Callable[[], object], why: str, seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {why}"
        time.sleep(0.05)


def check_end(job: Job, records: int) -> pb.JobStatus:
    job.wait(timeout=280)
    status = job.status()
    assert (status.phase, status.records_done, status.records_total) == (pb.SUCCEEDED, records, records)
    assert job.metrics["mse"] < 1  # of 2 without learning
    wait_until(lambda: not chaos.processes(job.folder), "all processes are gone")
    return status


def together(job: Job) -> int:
    """How many workers the last ring has."""
    found = [event.text for event in job.status().events if event.text.startswith("training together")]
    return found[-1].count("worker-") if found else 0


def send(job: Job, name: str, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(chaos.processes(job.folder)[name].pid, number)


def test_the_same_seed_and_workers_give_the_same_losses(start: Callable[..., Job]) -> None:
    curves = []
    for _ in range(2):
        job = start(num_workers=2, min_workers=2, num_epochs=1)
        status = check_end(job, RECORDS)
        assert status.step == RECORDS // 40 and status.evaluations[-1].step == status.step
        workers = [one for one in status.instances if one.role == "worker"]
        assert len(workers) == 2 and all(0 <= one.hidden <= one.exchanging > 0 for one in workers)
        curves.append([(point.step, point.loss) for point in status.losses])
    assert curves[0] == curves[1]


def test_a_model_with_steps_of_its_own_survives_its_workers(
    start: Callable[..., Job], hold: Callable[[], None], tmp_path: Path
) -> None:
    (tmp_path / "zoo" / "own.py").write_text(OWN)
    job = start(model_def="own.custom_model", num_workers=2, num_epochs=2, checkpoint_steps=30)
    wait_until(lambda: together(job) == 2, "both train")
    step = job.status().step
    wait_until(lambda: job.status().step > step, "a step was made")
    send(job, "worker-1", signal.SIGKILL)
    hold()
    job.wait(timeout=280)
    status = job.status()
    assert (status.phase, status.records_done, status.records_total) == (pb.SUCCEEDED, 2 * RECORDS, 2 * RECORDS)
    errors = job.history["error"]
    assert len(errors) == 2 and errors[1] < errors[0] < 1.5
    assert job.metrics["error"] < 0.5  # of 1 without learning
    wait_until(lambda: not chaos.processes(job.folder), "all processes are gone")


def test_workers_die_and_join_and_every_record_counts_once(start: Callable[..., Job], hold: Callable[[], None]) -> None:
    epochs = 6 + EVENTS
    job = start(num_workers=2, num_epochs=epochs, checkpoint_steps=60)
    wait_until(lambda: together(job) == 2, "both train")
    send(job, "worker-0", signal.SIGKILL)
    step = job.status().step
    wait_until(lambda: job.status().step > step + 5, "the other goes on")
    wait_until(lambda: together(job) == 2, "another has joined")
    job.scale(workers=3)
    wait_until(lambda: together(job) == 3, "a third has joined")
    send(job, "master", signal.SIGKILL)
    choice = random.Random(3)
    for _ in range(EVENTS):
        with contextlib.suppress(KeyError):  # one that is being started again has no process
            send(job, f"worker-{choice.randrange(3)}", signal.SIGKILL)
        step = job.status().step
        wait_until(lambda step=step: job.status().step > step or job.status().finished_at, "the others go on")
        time.sleep(choice.random() * 2)
    hold()
    check_end(job, epochs * RECORDS)


def test_when_all_workers_die_the_job_goes_back_to_a_checkpoint(
    start: Callable[..., Job], hold: Callable[[], None]
) -> None:
    job = start(num_workers=2, num_epochs=2, checkpoint_steps=20)
    wait_until(lambda: job.status().checkpoint_step > 0, "there is a checkpoint")
    for number in range(2):
        send(job, f"worker-{number}", signal.SIGSTOP)
    for number in range(2):
        send(job, f"worker-{number}", signal.SIGKILL)
    hold()
    status = check_end(job, 2 * RECORDS)
    assert status.rollbacks == 1


def test_below_min_workers_it_says_what_it_waits_for(start: Callable[..., Job], hold: Callable[[], None]) -> None:
    job = start(num_workers=2, min_workers=2, num_epochs=2)
    wait_until(lambda: together(job) == 2, "both train")
    send(job, "worker-1", signal.SIGKILL)
    wait_until(lambda: "waiting for 1 more worker" in job.status().detail, "it says so")
    hold()
    check_end(job, 2 * RECORDS)


def example(image: np.ndarray, label: int) -> bytes:
    """A tf.Example as the zoo's image models read it."""
    features = {
        "image": tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel().tolist())),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.mark.parametrize(
    ("model_def", "compression"),
    [("mnist_functional_api.mnist_functional_api", "none"), ("mnist_subclass.mnist_subclass.MnistModel", "float16")],
)
def test_two_workers_learn_handwritten_digits_with_models_of_the_zoo(
    model_def: str, compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    images, labels = datasets.load_digits(return_X_y=True)
    images = np.pad(images.reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2) * 16.0, [(0, 0), (2, 2), (2, 2)])
    for name, part in (("train", slice(0, 1440)), ("valid", slice(1440, None))):
        with tf.io.TFRecordWriter(str(tmp_path / f"{name}.tfrecord")) as writer:
            for image, label in zip(images[part], labels[part], strict=True):
                writer.write(example(image=image, label=label))
    job = elasticdl_nb.train(
        model_def=model_def, data=tmp_path / "train.tfrecord", validation_data=tmp_path / "valid.tfrecord",
        output=tmp_path / "out", distribution_strategy="AllreduceStrategy", num_workers=2, min_workers=2,
        num_epochs=3, minibatch_size=48, fixed_global_batch=True, compression=compression, saved_model=False, wait=True,
    )  # fmt: skip
    assert job.status().records_done == 3 * 1440
    assert job.metrics["accuracy"] > 0.85
