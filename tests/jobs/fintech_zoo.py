"""The credit data of the seed's commands, and the zoo whose class learns it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.data import files, recordio

CODE = """
import tensorflow as tf


class MyKerasModel(tf.keras.Model):
    def __init__(self, hidden_units, dropout=0.0):
        super().__init__()
        self.normalization = tf.keras.layers.BatchNormalization()
        self.hidden = [tf.keras.layers.Dense(units, activation="relu") for units in hidden_units]
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.out = tf.keras.layers.Dense(2)

    def call(self, inputs, training=False):
        x = self.normalization(inputs["credit"], training=training)
        for layer in self.hidden:
            x = layer(x)
        return self.out(self.dropout(x, training=training))

    def default_loss(self, labels, outputs):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(labels, [-1]), logits=outputs)

    @staticmethod
    def default_optimizer(learning_rate=0.1):
        return tf.keras.optimizers.Adam(learning_rate)

    @staticmethod
    def default_input(record):
        raise RuntimeError("--input_fn wins over this")


def credit_data_processor(record):
    r = tf.io.parse_single_example(
        record,
        {"credit": tf.io.FixedLenFeature([4], tf.float32), "label": tf.io.FixedLenFeature([1], tf.int64)},
    )
    return {"credit": r["credit"]}, tf.cast(r["label"], tf.int32)


def eval_metrics_fn():
    return {"accuracy": tf.keras.metrics.SparseCategoricalAccuracy()}
"""

MODEL = dict(
    model_def="fintech.MyKerasModel",
    input_fn="fintech.credit_data_processor",
    params="hidden_units=[10, 100, 20, 5], learning_rate=0.01",
)


def write(folder: Path, files: int = 2, records: int = 500) -> np.ndarray:
    """Write the zoo, `train/` with labels and `test/` without; return the features [n, 4] of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fintech.py").write_text(CODE)
    source = np.random.default_rng(0)
    features = source.normal(size=(2, files, records, 4)).astype(np.float32)
    for kind, name in enumerate(("train", "test")):
        (folder / name).mkdir()
        for number in range(files):
            written = [example(row, labelled=name == "train") for row in features[kind, number]]
            path = folder / name / f"part-{number}.recordio"
            recordio.write_file(os.fspath(path), written, chunk_bytes=4096)
    return features[1].reshape(-1, 4)


def example(row: np.ndarray, *, labelled: bool) -> bytes:
    """One record: the label says whether the first two numbers outweigh the others."""
    feature = {"credit": tf.train.Feature(float_list=tf.train.FloatList(value=row))}
    if labelled:
        label = int(row[:2].sum() > row[2:].sum())
        feature["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def corrupt(path: Path, chunk: int) -> int:
    """Change a byte of a chunk's payload; return the offset of the chunk."""
    index = recordio.Index(files.Source(str(path)))
    offset = index.extend()[chunk].offset
    with path.open("r+b") as file:
        file.seek(offset + 20 + 7)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    return offset
