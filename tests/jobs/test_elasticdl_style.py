"""A model file in the style of ElasticDL's zoo, from training to predictions, whatever the zoo's folder is called."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.runtime.data import recordio

FEATURES = """
import tensorflow as tf

from elasticdl.python.elasticdl.feature_column import feature_column

TOWNS = ["oslo", "rome", "bonn"]


def get_columns():
    town = tf.feature_column.categorical_column_with_vocabulary_list("town", TOWNS)
    return [tf.feature_column.numeric_column("rooms"), feature_column.embedding_column(town, dimension=4)]
"""

MODEL = """
import tensorflow as tf
from tensorflow.python.keras import backend as K, layers

from elasticdl.python.common.constants import Mode
from elasticdl.python.common.log_utils import default_logger as logger
from elasticdl.python.data.reader.recordio_reader import RecordIODataReader
from elasticdl.python.elasticdl.callbacks import LearningRateScheduler
from elasticdl.python.elasticdl.layers.embedding import Embedding
from elasticdl.python.worker.prediction_outputs_processor import BasePredictionOutputsProcessor
from elasticdl_preprocessing.layers import ConcatenateWithOffset, Hashing, SparseEmbedding, ToSparse
from home_zoo.houses.features import get_columns


def custom_model(dim=4):
    town = tf.keras.Input((1,), name="town", dtype=tf.string)
    rooms = tf.keras.Input((1,), name="rooms", dtype=tf.int64)
    inputs = {"town": town, "rooms": rooms}
    columns = tf.keras.layers.DenseFeatures(get_columns())(inputs)
    ids = ConcatenateWithOffset([0, 10])([Hashing(10)(ToSparse()(value)) for value in (town, rooms)])
    hashed = SparseEmbedding(20, dim)(ids)
    rows = K.sum(Embedding(dim, mask_zero=True)(rooms), axis=1)
    joined = tf.concat([columns, hashed, rows], 1)
    return tf.keras.Model(inputs, tf.reshape(layers.Dense(1)(joined), (-1,)))


def loss(labels, predictions):
    return tf.reduce_mean(tf.square(predictions - tf.reshape(labels, [-1])))


def optimizer(lr=0.05):
    return tf.keras.optimizers.Adam(lr=lr)


def callbacks():
    return [LearningRateScheduler(lambda version: 0.05 if version < 30 else 0.01)]


def feed(dataset, mode, _):
    def parse(record):
        description = {"town": tf.io.FixedLenFeature([], tf.string), "rooms": tf.io.FixedLenFeature([], tf.int64)}
        if mode != Mode.PREDICTION:
            description["price"] = tf.io.FixedLenFeature([1], tf.float32)
        parsed = tf.io.parse_single_example(record, description)
        if mode == Mode.PREDICTION:
            return parsed
        return parsed, parsed.pop("price")

    return dataset.map(parse)


def eval_metrics_fn():
    return {"error": lambda labels, predictions: tf.abs(predictions - tf.reshape(labels, [-1]))}


def custom_data_reader(data_origin, records_per_task=None, **kwargs):
    return RecordIODataReader(data_dir=data_origin)


class PredictionOutputsProcessor(BasePredictionOutputsProcessor):
    def process(self, predictions, worker_id):
        with open("PLACE", "a") as file:
            file.write("".join(f"{value}\\n" for value in predictions.numpy().tolist()))
"""


def write_homes(folder: Path) -> None:
    rng = np.random.default_rng(3)
    records = []
    for number in range(320):
        town, rooms = number % 3, int(rng.integers(1, 8))
        feature = {
            "town": tf.train.Feature(bytes_list=tf.train.BytesList(value=[[b"oslo", b"rome", b"bonn"][town]])),
            "rooms": tf.train.Feature(int64_list=tf.train.Int64List(value=[rooms])),
            "price": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5 * town + 0.2 * rooms])),
        }
        records.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    folder.mkdir()
    recordio.write_file(str(folder / "homes-00000"), records)


@pytest.mark.parametrize("strategy", ["Local", "ParameterServerStrategy"])
def test_a_model_file_in_the_style_of_elasticdls_zoo(tmp_path: Path, strategy: str) -> None:
    write_homes(tmp_path / "homes")
    houses = tmp_path / "zoo" / "houses"
    houses.mkdir(parents=True)
    (houses / "__init__.py").write_text("")
    (houses / "features.py").write_text(FEATURES)
    (houses / "model.py").write_text(MODEL.replace("PLACE", str(tmp_path / "processed.txt")))
    data = str(tmp_path / "homes")
    trained = elasticdl_nb.train(
        model_zoo=str(tmp_path / "zoo"), model_def="houses.model.custom_model", data=data, minibatch_size=32,
        num_epochs=20, params="dim=3", output=str(tmp_path / "trained"), distribution_strategy=strategy,
        num_workers=1 if strategy == "Local" else 2, wait=True, progress=False,
    )  # fmt: skip
    assert trained.losses[-1][1] < 0.3 * trained.losses[0][1]
    (houses / "features.py").unlink()  # the trained model has its own copy
    evaluated = elasticdl_nb.evaluate(trained_model=str(tmp_path / "trained"), data=data, wait=True, progress=False)
    assert evaluated.metrics["error"] < 0.3
    elasticdl_nb.predict(
        trained_model=str(tmp_path / "trained"), data=data, output=str(tmp_path / "out.csv"), wait=True, progress=False
    )
    with open(tmp_path / "out.csv", newline="") as file:
        written = sorted(round(float(row["prediction"]), 4) for row in csv.DictReader(file))
    processed = sorted(round(float(line), 4) for line in (tmp_path / "processed.txt").read_text().splitlines())
    assert written == processed and len(written) == 320
