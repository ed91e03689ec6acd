"""What the guide and Keras promise about callbacks, forms of models, and options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from job_tools import flags
from safetensors.numpy import load_file

import elasticdl_nb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

ZOO = """
import os

import keras
import tensorflow as tf

rates = []


class TwoTowers(keras.Model):
    def __init__(self, units=8):
        super().__init__()
        self.left, self.right = keras.layers.Dense(units), keras.layers.Dense(units)
        self.normal = keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.2)
        self.sum, self.sign = keras.layers.Dense(1), keras.layers.Dense(1)

    def call(self, inputs, training=False):
        a, b = inputs
        x = self.left(a) + self.right(b)
        x = self.dropout(self.normal(x, training=training), training=training)
        return self.sum(x), self.sign(x)

    @staticmethod
    def default_loss(labels, outputs):
        total, sign = outputs
        return tf.reduce_mean(tf.square(total - labels["sum"])) + tf.reduce_mean(
            keras.losses.binary_crossentropy(labels["sign"], sign, from_logits=True)
        )

    @staticmethod
    def default_optimizer(learning_rate=0.01):
        return keras.optimizers.Adam(learning_rate)

    @staticmethod
    def default_input(record):
        a, b = (tf.reshape(record[name], [1]) for name in ("a", "b"))
        return (a, b), {"sum": a + b, "sign": tf.cast(a + b > 0, tf.float32)}


def early():
    # Nothing improves by so much: two epochs after the first it is over.
    return [keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=1e6)]


class Rates(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        with open(os.environ["RATES"], "a") as file:
            file.write(f"{epoch} {float(self.model.optimizer.learning_rate):.4f}\\n")


def scheduled():
    return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1)), Rates()]
"""

SCRIPT = """
import json

import keras
import numpy as np
import polars as pl
import tensorflow as tf

import elasticdl_nb

UNITS = 1


class Net(keras.Model):
    def __init__(self, scale=1.0):
        super().__init__()
        self.dense = keras.layers.Dense(UNITS)

    def call(self, inputs):
        return self.dense(inputs)

    @staticmethod
    def default_input(record):
        return tf.reshape(record["a"], [1]), tf.reshape(record["b"], [1])

    def default_optimizer(self, learning_rate=0.1):
        return keras.optimizers.SGD(learning_rate)


def default_loss(labels, outputs):
    return tf.reduce_mean(tf.abs(outputs - labels))


if __name__ == "__main__":
    a = np.arange(100, dtype=np.float32)
    job = elasticdl_nb.train(
        model_class=Net, loss=default_loss, data=pl.DataFrame({"a": a, "b": a}), max_step=3, minibatch_size=10,
        output="net", job_name="script",
    )
    status = job.status()
    print(json.dumps([status.step, status.records_done]))
"""


@pytest.fixture
def frame() -> pd.DataFrame:
    source = np.random.default_rng(0)
    return pd.DataFrame({name: source.normal(size=200).astype(np.float32) for name in "ab"})


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A zoo as a Git repository, the model on a branch of its own."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    (folder / "README").touch()
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-qm", "1"],
        ["checkout", "-qb", "towers"],
    ):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    (folder / "towers.py").write_text(ZOO)
    for arguments in (["add", "."], ["commit", "-qm", "2"], ["checkout", "-q", "main"]):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    return f"file://{folder}@towers"


def test_callbacks_several_inputs_and_outputs_checkpoints_and_frames(commands, tmp_path, repository, frame):
    given = dict(model_zoo=repository, model_def="towers.TwoTowers", minibatch_size=20, saved_model=False)
    early = elasticdl_nb.train(
        **given, data=[frame, pa.Table.from_pandas(frame)], validation_data=frame, callbacks="early", num_epochs=50,
        checkpoint_steps=10, num_minibatches_per_task=10, checkpoint_dir=tmp_path / "all", keep_checkpoint_max=0,
        output=tmp_path / "early", job_name="early", log_level="ERROR", wait=False,
    )  # fmt: skip
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = commands.run("script.py", program=(sys.executable,))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == [3, 30]
    early.wait()
    # 20 steps an epoch; val_loss never falls by enough after the first, so two epochs later it is over.
    assert [item.step for item in early.evaluations] == [20, 40, 60]
    assert early.status().step == 60
    assert early.status().records_done == 60 * 20
    assert [path.name for path in sorted((tmp_path / "all").iterdir())] == [
        f"step-{step:09d}" for step in range(10, 70, 10)
    ]
    assert " INFO " not in early.logs()

    scheduled = elasticdl_nb.train(
        **given, data=pl.from_pandas(frame), callbacks="scheduled", num_epochs=3, checkpoint_steps=10,
        keep_checkpoint_max=2, checkpoint_dir_for_init=tmp_path / "all", envs={"RATES": str(tmp_path / "rates")},
        output=tmp_path / "scheduled", job_name="scheduled", wait=False,
    )  # fmt: skip
    evaluated = commands.start(
        "evaluate",
        *flags(trained_model="early", data=JobFolder.find("early").data / "validation_data-0.parquet"),
        "--json",
    )
    scheduled.wait()
    assert (tmp_path / "rates").read_text().split() == ["0", "0.1000", "1", "0.0500", "2", "0.0333"]
    assert [path.name for path in sorted(scheduled.folder.checkpoints.iterdir())] == [
        "step-000000020", "step-000000030",
    ]  # fmt: skip
    assert scheduled.losses[0][1] < early.losses[0][1]
    ended = evaluated.end()
    assert ended.code == 0, ended.err
    assert ended.json["metrics"]["loss"] == pytest.approx(early.metrics["loss"], rel=1e-4)
    weights = load_file(tmp_path / "early" / "parameters.safetensors")
    assert any("moving_mean" in name and np.abs(value).max() > 0 for name, value in weights.items())
