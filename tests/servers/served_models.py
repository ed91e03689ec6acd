"""Models with embeddings, each made anew by calling, and what training them needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, load

ROWS = 1000
FORM = (
    {"ids": tf.TensorSpec([None, 3], tf.int64), "other": tf.TensorSpec([None, 2], tf.int32)},
    tf.TensorSpec([None, 1], tf.float32),
)

MODULE = """
import keras
import tensorflow as tf

ROWS = {rows}


def inputs():
    ids, other = keras.Input((3,), dtype="int64", name="ids"), keras.Input((2,), dtype="int32", name="other")
    return {{"ids": ids, "other": other}}


def functional():
    given = inputs()
    first = keras.layers.Embedding(ROWS, 8, embeddings_initializer="glorot_uniform", name="first")(given["ids"])
    second = keras.layers.Embedding(ROWS, 4, name="second")(given["other"])
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(first), keras.layers.Flatten()(second)])
    inner = keras.layers.Dense(5, activation="tanh", name="inner")(joined)
    return keras.Model(given, keras.layers.Dense(1, name="out")(inner))


def grown():
    base = functional()
    inner = base.get_layer("inner").output
    more = keras.layers.Dense(3, name="more")(inner)
    return keras.Model(base.inputs, keras.layers.Dense(1, name="out")(keras.layers.Concatenate()([inner, more])))


def shared():
    given = inputs()
    table = keras.layers.Embedding(ROWS, 8, name="table")
    one, two = table(given["ids"]), table(given["other"])
    pooled = [keras.ops.mean(one, axis=1), keras.ops.mean(two, axis=1)]
    return keras.Model(given, keras.layers.Dense(1)(keras.layers.Concatenate()(pooled)))


def masked():
    given = inputs()
    rows = keras.layers.Embedding(ROWS, 8, mask_zero=True, name="masked")(given["ids"])
    return keras.Model(given, keras.layers.Dense(1)(keras.layers.LSTM(4)(rows)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.embed = keras.layers.Embedding(ROWS, 8)
        self.normalize = keras.layers.BatchNormalization()
        self.out = keras.layers.Dense(1, activity_regularizer=keras.regularizers.L2(0.01))

    def call(self, features, training=False):
        ids = (features["ids"] * 7 + 3) % ROWS
        rows = self.embed(ids) + self.embed(tf.reverse(ids, [1]))
        return self.out(self.normalize(keras.ops.mean(rows, axis=1), training=training))


class Chained(keras.Model):
    '''The ids of the second lookup come from the rows of the first.'''

    def __init__(self):
        super().__init__()
        self.first = keras.layers.Embedding(ROWS, 8, name="first")
        self.second = keras.layers.Embedding(ROWS, 8, name="second")
        self.out = keras.layers.Dense(1)

    def call(self, features, training=False):
        rows = self.first(features["ids"])
        best = keras.ops.argmax(keras.ops.mean(rows, axis=2), axis=1)
        return self.out(keras.ops.mean(rows, axis=1) + self.second(best))


def sequential():
    return keras.Sequential([
        keras.layers.Embedding(ROWS, 8, name="only"), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)
    ])


def loss(labels, outputs):
    return tf.reduce_mean((labels - outputs) ** 2)


OPTIMIZER = {{"class_name": "Adam", "config": {{"learning_rate": 0.01}}}}


def optimizer():
    return keras.optimizers.deserialize(OPTIMIZER)
"""

NAMES = ("functional", "shared", "masked", "Subclassed")


def zoo(path: Path) -> Path:
    """Write the models' module into a folder."""
    path.mkdir(exist_ok=True)
    (path / "embedded.py").write_text(MODULE.format(rows=ROWS))
    return path


def loaded(zoo: Path, name: str, layers: ServedLayers, form: Any = FORM) -> LoadedModel:
    """Load and build a model; its embeddings go into `layers`."""
    keras.backend.clear_session()  # so that names begin anew, as in another process
    keras.utils.set_random_seed(5)
    with serving(layers):
        model = load(ModelDefinition(zoo=os.fspath(zoo), model_def=f"embedded.{name}"))
        model.build(form[0])
    return model


def batches(count: int, size: int = 16, seed: int = 0) -> Iterator[tuple[dict[str, Any], Any]]:
    """Batches of the form FORM, with ids that come again and again."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        ids = random.zipf(1.5, (size, 3)) % ROWS
        other = random.integers(0, 50, (size, 2))
        labels = (ids.sum(axis=1, keepdims=True) % 3 - 1).astype(np.float32)
        yield {"ids": tf.constant(ids), "other": tf.constant(other, tf.int32)}, tf.constant(labels)
