"""A job has one set of callbacks, whatever the strategy and however many workers it has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import elasticdl_nb

MODEL = """
import json
import os

import keras
import tensorflow as tf


def custom_model():
    inputs = keras.Input((1,))
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(inputs))


def input_fn(record):
    return tf.reshape(record["x"], [1]), tf.reshape(record["y"], [1])


loss = "mse"


def optimizer():
    return keras.optimizers.SGD(0.1)


class Written(keras.callbacks.Callback):
    \"\"\"Writes every hook to a file, and counts the epochs.\"\"\"

    def __init__(self):
        super().__init__()
        self.epochs = 0

    def write(self, hook, *more):
        with open(os.environ["WRITTEN"], "a") as file:
            rate = round(float(self.model.optimizer.learning_rate), 5)
            print(json.dumps([hook, os.getpid(), rate, *more]), file=file)

    def on_train_begin(self, logs=None):
        self.write("train_begin", self.params["epochs"], self.params["steps"])

    def on_epoch_begin(self, epoch, logs=None):
        self.write("epoch_begin", epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        self.write("epoch_end", epoch, self.epochs, sorted(logs))
        if epoch == 0:
            self.model.layers[-1].bias.assign([7.0])

    def on_test_end(self, logs=None):
        self.write("test_end", sorted(logs))

    def on_train_end(self, logs=None):
        self.write("train_end")


def callbacks():
    return [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 / 2 ** (epoch + 1)),
        # Nothing improves by so much: the first epoch is the best, and two after it, training is over.
        keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=1e6, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("not_there", mode="min"),
        Written(),
    ]
"""


@pytest.mark.parametrize(
    ("strategy", "more"),
    [("Local", {}), ("AllreduceStrategy", {"num_workers": 2}),
     ("ParameterServerStrategy", {"num_workers": 2, "num_ps": 1})],
)  # fmt: skip
def test_one_set_of_callbacks_decides_for_the_whole_job(tmp_path: Path, strategy: str, more: dict[str, int]) -> None:
    (tmp_path / "m.py").write_text(MODEL)
    x = np.random.default_rng(0).normal(size=120).astype("float32")
    frame = pd.DataFrame({"x": x, "y": 2 * x})
    job = elasticdl_nb.train(
        model_zoo=tmp_path, model_def="m.custom_model", data=frame, validation_data=frame, minibatch_size=10,
        num_minibatches_per_task=2, num_epochs=9, evaluation_steps=5, saved_model=False, output=tmp_path / "out",
        distribution_strategy=strategy, envs={"WRITTEN": str(tmp_path / "written")}, **more,
    )  # fmt: skip
    written = [json.loads(line) for line in (tmp_path / "written").read_text().splitlines()]
    assert len({process for _, process, *_ in written}) == 1, "several workers had callbacks"
    hooks = [(hook, *rest) for hook, _, _, *rest in written if hook != "test_end"]
    ends = [rest for hook, _, _, *rest in written if hook == "epoch_end"]
    names = ["learning_rate", "loss", "val_loss"]
    assert ends == [[epoch, epoch + 1, names] for epoch in range(3)]
    assert [hook for hook, *_ in hooks] == ["train_begin", *["epoch_begin", "epoch_end"] * 3, "train_end"]
    assert hooks[0][1] == 9 and hooks[0][2] == (6 if strategy == "AllreduceStrategy" else 12)
    rates = [rate for hook, _, rate, *_ in written if hook == "epoch_begin"]
    assert rates == [0.005, 0.0025, 0.00125]
    assert sum(hook == "test_end" for hook, *_ in written) >= 3
    status = job.status()
    assert status.records_done == 360 and job.history.epoch == [0, 1, 2]
    assert job.history["learning_rate"] == pytest.approx([0.005, 0.0025, 0.00125])
    assert any("not_there" in event.text for event in status.events if event.level == "warning")
    # The first epoch's weights are back, with the bias that was assigned after EarlyStopping had kept them or before.
    weights = load_file(tmp_path / "out" / "parameters.safetensors")
    (bias,) = (value for name, value in weights.items() if "bias" in name)
    assert abs(bias[0]) < 1.0, "what a callback assigned after the best epoch is still there"
    values = [one.metrics["loss"] for one in job.evaluations]
    assert max(values) > 20.0, "what a callback assigned was not trained further"
    assert job.metrics["loss"] == pytest.approx(values[-1]) and values[-1] < 5.0
