from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import elasticdl_nb
from elasticdl_nb.job import Job, launch

MODEL = """
import os
import time

import keras
import tensorflow as tf


def custom_model():
    user = keras.Input((1,), dtype="int32", name="user")
    x = keras.Input((2,), name="x")
    row = keras.layers.Flatten()(keras.layers.Embedding(100_000, 8)(user))
    hidden = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()([row, x]))
    return keras.Model({"user": user, "x": x}, keras.layers.Dense(1)(hidden))


def loss(labels, output):
    return keras.ops.mean(keras.ops.square(keras.ops.reshape(labels, (-1, 1)) - output))


def optimizer():
    return keras.optimizers.Adam(0.01)


def dataset_fn(dataset, mode):
    def parse(record):
        fields = tf.strings.to_number(tf.reshape(record, (4,)))
        return {"user": tf.cast(fields[:1], tf.int32), "x": fields[1:3]}, fields[3]

    return dataset.map(parse)


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
RECORDS = 8000


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model zoo and data for it."""
    path = tmp_path_factory.mktemp("material")
    (path / "zoo").mkdir()
    (path / "zoo" / "small.py").write_text(MODEL)
    source = random.Random(0)
    for name, count in (("train", RECORDS), ("valid", 200)):
        lines = ["user,a,b,y"]
        for _ in range(count):
            user, a, b = source.randrange(3000), source.gauss(0, 1), source.gauss(0, 1)
            lines.append(f"{user},{a:.3f},{b:.3f},{a - b + user % 5 * 0.3:.3f}")
        (path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def hold(tmp_path: Path) -> Callable[[], None]:
    """Slows steps down to a third of a second each, however fast the machine is, until this is called."""
    (tmp_path / "hold").touch()
    return (tmp_path / "hold").unlink


@pytest.fixture
def start(
    material: Path, tmp_path: Path, hold: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Job]]:
    """Starts training jobs in the test's own directory and leaves none behind."""
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    started: list[Job] = []

    def start(**options: object) -> Job:
        options = {
            "model_zoo": material / "zoo", "model_def": "small.custom_model", "data": material / "train.csv",
            "validation_data": material / "valid.csv", "output": tmp_path / "out", "minibatch_size": 32,
            "num_minibatches_per_task": 2, "evaluation_steps": 100_000, "saved_model": False,
            "envs": {"TEST_HOLD": os.fspath(tmp_path / "hold")}, **options,
        }  # fmt: skip
        started.append(elasticdl_nb.train(**options, wait=False))
        return started[-1]

    yield start
    with contextlib.suppress(FileNotFoundError):
        hold()
    for job in started:
        launch.kill(job.folder)
