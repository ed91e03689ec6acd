"""Trained models are what Keras would have made of the same data, and work without anything else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import tensorflow as tf
from iris_data import READER, write_iris
from job_tools import flags, status_of
from sklearn.datasets import load_digits
from tensorflow.core.util.event_pb2 import Event

import elasticdl_nb
from elasticdl_nb.model_zoo.odps_iris_dnn_model import odps_iris_dnn_model as iris_model
from elasticdl_nb.runtime.data import recordio
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

DIGITS = """
import keras
import tensorflow as tf

from elasticdl.python.common.constants import Mode


def custom_model():
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Flatten()(x)
    digit = keras.layers.Dense(10, name="digit")(x)
    even = keras.layers.Dense(1, name="even", kernel_regularizer=keras.regularizers.L2(0.01))(x)
    return keras.Model(image, {"digit": digit, "even": even})


def dataset_fn(dataset, mode):
    def parse(record):
        image = tf.reshape(record["pixels"], [8, 8, 1]) / 16.0
        if mode == Mode.PREDICTION:
            return {"image": image}
        label = tf.cast(record["label"], tf.int32)
        return {"image": image}, label

    return dataset.map(parse)


def loss(labels, output):
    digits = tf.nn.sparse_softmax_cross_entropy_with_logits(labels.flatten(), output["digit"])
    even = tf.cast(labels % 2 == 0, tf.float32)[:, None]
    return tf.reduce_mean(digits) + tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(logits=output["even"], labels=even)
    )


def optimizer(lr=0.01):
    return keras.optimizers.Adam(lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": tf.reduce_mean(tf.cast(tf.equal(tf.argmax(predictions["digit"], 1), labels), tf.float32))}


class PredictionOutputsProcessor:
    def process(self, predictions, worker_id):
        import os

        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{worker_id} {len(predictions['digit'])}\\n")
"""
BATCH = 50
EPOCHS = 2


def events(folder: Path) -> list[tuple[int, str, float]]:
    """Scalars of the event files in a folder, as (step, tag, value)."""
    read = [Event.FromString(raw.numpy()) for path in folder.iterdir() for raw in tf.data.TFRecordDataset(str(path))]
    assert read[0].file_version == "brain.Event:2"
    return [(event.step, value.tag, value.simple_value) for event in read for value in event.summary.value]


def plain_keras(
    model: keras.Model, loss: Any, optimizer: keras.optimizers.Optimizer, features: Any, labels: Any
) -> list[float]:
    """Train as anyone would with TensorFlow alone; return the loss of every step, as `model.fit` counts it."""
    model(features[:1])
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_mean(loss(y, model(x, training=True))) + sum(model.losses)
        optimizer.apply_gradients(
            zip(tape.gradient(total, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return total

    batches = tf.data.Dataset.from_tensor_slices((features, labels)).batch(BATCH)
    return [float(step(x, y)) for _ in range(EPOCHS) for x, y in batches]


def assert_same_losses(name: str, expected: list[float]) -> None:
    losses = status_of(name).losses
    assert [point.step for point in losses] == list(range(1, len(expected) + 1))
    np.testing.assert_allclose([point.loss for point in losses], expected, rtol=2e-3, atol=2e-5)


def test_iris_and_digits_are_learned_as_by_plain_keras(commands, tmp_path):
    same = dict(shuffle=False, minibatch_size=BATCH, num_epochs=EPOCHS, log_loss_steps=1, num_minibatches_per_task=3)
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "digits.py").write_text(DIGITS)
    digits = load_digits()
    pixels, labels = digits.data.astype(np.float32), digits.target.astype(np.int64)
    frame = pd.DataFrame({"pixels": list(pixels), "label": labels})
    frame.to_parquet(tmp_path / "digits.parquet")
    write_iris(tmp_path / "iris.csv")

    digits_job = elasticdl_nb.train(
        model_zoo=tmp_path / "zoo", model_def="digits.custom_model", data=frame, validation_data=[frame, frame],
        output=tmp_path / "digits", job_name="digits", params="lr=0.005", wait=False, **same,
    )  # fmt: skip
    iris_job = elasticdl_nb.train(
        model_def="odps_iris_dnn_model.odps_iris_dnn_model", data=tmp_path / "iris.csv", data_reader_params=READER,
        validation_data=tmp_path / "iris.csv", output=tmp_path / "iris", job_name="iris", wait=False, **same,
    )  # fmt: skip

    keras.utils.set_random_seed(0)
    model = iris_model.custom_model()
    rows = pd.read_csv(tmp_path / "iris.csv")
    measured = rows.iloc[:, :4].to_numpy(np.float32)
    varieties = rows["variety"].str.lower().map(iris_model.VARIETIES.index).to_numpy(np.int32)
    expected = plain_keras(model, iris_model.loss, iris_model.optimizer(), measured, varieties)
    iris_job.wait()
    assert_same_losses("iris", expected)
    logits = model(measured).numpy()
    accuracy = float(np.mean(logits.argmax(1) == varieties))
    assert iris_job.metrics["accuracy"] == pytest.approx(accuracy, abs=1e-6)

    space: dict[str, Any] = {}
    exec(DIGITS.replace("labels.flatten()", "tf.reshape(labels, [-1])"), space)
    keras.utils.set_random_seed(0)
    model = space["custom_model"]()
    images = pixels.reshape(-1, 8, 8, 1) / 16
    expected = plain_keras(model, space["loss"], space["optimizer"](0.005), images, labels.astype(np.int32))
    digits_job.wait()
    assert_same_losses("digits", expected)
    outputs = {name: value.numpy() for name, value in model(images).items()}
    assert digits_job.metrics["accuracy"] == pytest.approx(np.mean(outputs["digit"].argmax(1) == labels), abs=2e-3)
    total = float(space["loss"](labels.astype(np.int32), model(images)) + sum(model.losses))
    assert digits_job.metrics["loss"] == pytest.approx(total, rel=2e-3)
    assert digits_job.evaluations[-1].records == 2 * len(labels)

    runs = JobFolder.find("digits").tensorboard
    scalars = events(runs / "train")
    assert [(step, tag) for step, tag, _ in scalars] == [(step, "loss") for step in range(1, len(expected) + 1)]
    np.testing.assert_allclose([value for *_, value in scalars], expected, rtol=2e-3, atol=2e-5)
    assert {tag for _, tag, _ in events(runs / "validation")} == {"accuracy", "loss"}

    shutil.rmtree(tmp_path / "zoo")
    check_predictions(commands, tmp_path, frame, outputs, logits)


def check_predictions(
    commands: Any, work: Path, frame: pd.DataFrame, expected: dict[str, np.ndarray], expected_logits: np.ndarray
) -> None:
    """Predictions of both trained models, from these alone, in every form and in the order of the data."""
    frame.drop(columns="label").to_parquet(work / "unlabelled.parquet")
    count = len(frame)
    job = elasticdl_nb.predict(
        trained_model=work / "digits", data=work / "unlabelled.parquet", output=work / "p.parquet", num_workers=2,
        minibatch_size=20, num_minibatches_per_task=1, envs=f"SEEN={work / 'seen'}", wait=False,
    )  # fmt: skip
    # Rows without the label and in another order: what the trained model knows of its data says which column is which.
    rows = pd.read_csv(work / "iris.csv").drop(columns="variety")
    rows[rows.columns[::-1]].to_csv(work / "unlabelled.csv", index=False)
    commands.succeed(
        "predict", *flags(trained_model="iris", data="unlabelled.csv", output="parts/", output_format="recordio",
                          minibatch_size=10, num_minibatches_per_task=2, num_workers=2)
    )  # fmt: skip
    job.wait()

    table = pyarrow.parquet.read_table(work / "p.parquet")
    assert table.num_rows == job.status().records_done == count
    np.testing.assert_allclose(np.stack(table["digit"].to_pylist()), expected["digit"], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(table["even"].to_numpy(), expected["even"][:, 0], rtol=1e-2, atol=1e-3)
    seen = [line.split() for line in (work / "seen").read_text().splitlines()]
    assert sum(int(size) for _, size in seen) == count
    assert {worker for worker, _ in seen} == {"0", "1"}
    served = tf.saved_model.load(str(work / "digits" / "saved_model"))
    images = np.stack(frame["pixels"]).reshape(-1, 8, 8, 1).astype(np.float32) / 16
    np.testing.assert_allclose(
        served.serve(images)["digit"], np.stack(table["digit"].to_pylist()), rtol=1e-3, atol=1e-4
    )

    parts = sorted((work / "parts").iterdir())
    assert [part.name for part in parts] == [f"part-{number:05d}.recordio" for number in range(8)]
    records = [record for part in parts for record in recordio.read_file(os.fspath(part))]
    feature = {"prediction": tf.io.FixedLenFeature([3], tf.float32)}
    logits = tf.io.parse_example(records, feature)["prediction"].numpy()
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-2, atol=1e-3)
