"""Models of twelve styles, trained by `fit`, a Local job, two all-reduce workers, and two on synchronous servers.

    python benchmarks/styles.py [--styles "a GAN" …] [--strategies Local all-reduce servers]

All start with the same weights and make the same steps: one for each epoch, of all records, which two workers divide
evenly. A line says by how much the weights differ from those of `fit` in the end: at most 1e-5 with Local and 1e-4 with
two workers is `equal`. `refused` has the sentence with which the job was refused before it started, and `by chance` is
a model that draws random numbers, so that two workers cannot draw those of one. The last line counts the lines that
are not as they should be, and the exit status says whether there are any.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.runtime.errors import ElasticDLError, JobFailed

RECORDS, EPOCHS, SEED = 64, 6, 1
HALF = {"num_workers": 2, "minibatch_size": RECORDS // 2}
STRATEGIES: dict[str, dict[str, Any]] = {
    "Local": {"minibatch_size": RECORDS},
    "all-reduce": {**HALF, "distribution_strategy": "AllreduceStrategy", "min_workers": 2},
    "servers": {**HALF, "distribution_strategy": "ParameterServerStrategy", "use_async": False, "grads_to_wait": 2},
}
TOGETHER = {"all-reduce": "refused", "servers": "refused"}

PRELUDE = """
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def one(value):
    return tf.reshape(value, [1])


def callbacks():
    return [keras.callbacks.Callback()]  # with callbacks, no worker begins an epoch before the last one is over
"""
TASKS = """
def custom_model():
    given = keras.Input((4,))
    shared = layers.Dense(8, "relu")(given)
    outputs = {"price": layers.Dense(1)(shared), "sold": layers.Dense(1, "sigmoid")(shared)}
    model = keras.Model(given, outputs)
    model.compile(keras.optimizers.Adam(0.01), {"price": "mse", "sold": "binary_crossentropy"},
                  loss_weights={"price": 1.0, "sold": 0.3}, metrics={"price": ["mae"], "sold": ["accuracy"]})
    return model
def input_fn(r): return r["x"], {"price": one(r["y"]), "sold": one(tf.cast(r["y"] > 0, tf.float32))}, r["w"]
"""
GAN = """
class Gan(keras.Model):
    def __init__(self):
        super().__init__()
        self.maker = keras.Sequential([keras.Input((3,)), layers.Dense(8, "relu"), layers.Dense(4)])
        self.critic = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(1)])
        self.loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)
    def compile(self, maker, critic):
        super().compile(optimizer=maker)
        self.critics = critic
    def call(self, x): return self.critic(x)
    def train_step(self, x):
        made = self.maker(x[:, :3])
        both = tf.concat([x, made], 0)
        labels = tf.concat([tf.ones_like(x[:, :1]), tf.zeros_like(x[:, :1])], 0)
        with tf.GradientTape() as tape:
            critical = self.loss_fn(labels, self.critic(both))
        gradients = tape.gradient(critical, self.critic.trainable_weights)
        self.critics.apply(gradients, self.critic.trainable_weights)
        with tf.GradientTape() as tape:
            fooled = self.loss_fn(tf.ones_like(x[:, :1]), self.critic(self.maker(x[:, :3])))
        gradients = tape.gradient(fooled, self.maker.trainable_weights)
        self.optimizer.apply(gradients, self.maker.trainable_weights)
        return {"critic": critical, "maker": fooled}
def custom_model():
    model = Gan()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01))
    return model
def input_fn(r): return r["x"]
"""
VAE = """
class Vae(keras.Model):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = layers.Dense(4), layers.Dense(4)
        self.seed = keras.random.SeedGenerator(3)
    def call(self, x):
        mean, spread = ops.split(self.encode(x), 2, axis=-1)
        return mean, spread, self.decode(mean + keras.random.normal(ops.shape(mean), seed=self.seed) * ops.exp(spread))
    def train_step(self, x):
        with tf.GradientTape() as tape:
            mean, spread, made = self(x)
            divergence = -0.5 * ops.mean(1 + 2 * spread - mean**2 - ops.exp(2 * spread))
            loss = ops.mean((x - made) ** 2) + 0.1 * divergence
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}
def custom_model():
    model = Vae()
    model.compile(keras.optimizers.Adam(0.01))
    return model
def input_fn(r): return r["x"]
"""
TOWERS = """
class Towers(keras.Model):
    def __init__(self):
        super().__init__()
        self.left, self.right = layers.Dense(4), layers.Dense(4)
    def call(self, x): return self.left(x[:, :2]), self.right(x[:, 2:])
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        scores = ops.matmul(y_pred[0], ops.transpose(y_pred[1]))
        pairs = ops.arange(ops.shape(scores)[0])
        return ops.mean(keras.losses.sparse_categorical_crossentropy(pairs, scores, from_logits=True))
def custom_model():
    model = Towers()
    model.compile(keras.optimizers.Adam(0.01))
    return model
def input_fn(r): return r["x"], one(r["y"])
"""
ADD_LOSS = """
class Sparse(layers.Layer):
    def call(self, x):
        self.add_loss(0.01 * ops.mean(ops.abs(x)))
        return x
def custom_model():
    given = keras.Input((4,))
    hidden = Sparse()(layers.Dense(8, "tanh", kernel_regularizer="l2")(given))
    model = keras.Model(given, layers.Dense(1)(hidden))
    model.compile("rmsprop", "mse")
    return model
def input_fn(r): return r["x"], one(r["y"])
"""
TEXT = """
def custom_model():
    given = keras.Input((), dtype="string")
    ids = layers.TextVectorization(vocabulary=["good", "bad", "film", "so"], output_sequence_length=5)(given)
    hidden = layers.LSTM(6)(layers.Embedding(6, 4, mask_zero=True)(ids))
    model = keras.Model(given, layers.Dense(1, "sigmoid")(hidden))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
    return model
def input_fn(r): return r["text"], one(tf.cast(r["y"] > 0, tf.float32))
"""
TRANSFORMER = """
def custom_model():
    given = keras.Input((6,), dtype="int64")
    rows = layers.Embedding(20, 8)(given)
    rows = layers.LayerNormalization()(rows + layers.MultiHeadAttention(2, 4)(rows, rows))
    rows = layers.LayerNormalization()(rows + layers.Dense(8)(layers.Dense(16, "relu")(rows)))
    model = keras.Model(given, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(rows)))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
def input_fn(r): return r["ids"], r["ids"][0] % 3
"""
WIDE_DEEP = """
def custom_model():
    given = {"x": keras.Input((4,), name="x"), "word": keras.Input((1,), dtype="string", name="word"),
             "id": keras.Input((1,), dtype="int64", name="id")}
    scaled = layers.Normalization()
    scaled.adapt(np.arange(16.0).reshape(4, 4))
    words = layers.StringLookup(vocabulary=["good", "bad"], output_mode="one_hot")(given["word"])
    crossed = layers.HashedCrossing(8, output_mode="one_hot")((given["word"], given["id"]))
    numbers = layers.CategoryEncoding(20, output_mode="one_hot")(given["id"])
    deep = layers.Dense(8, "relu")(layers.Concatenate()([scaled(given["x"]), words, numbers]))
    model = keras.Model(given, layers.Dense(1)(layers.Concatenate()([deep, crossed])))
    model.compile(keras.optimizers.Adagrad(0.1), "mse")
    return model
def input_fn(r): return {"x": r["x"], "word": one(r["word"]), "id": one(r["ids"][0])}, one(r["y"])
"""
IMAGES = """
def custom_model():
    given = keras.Input((8, 8, 1))
    seen = layers.RandomTranslation(0.2, 0.2, seed=5)(layers.RandomFlip("horizontal", seed=4)(given))
    hidden = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(seen))
    model = keras.Model(given, layers.Dense(1)(layers.Dropout(0.2, seed=6)(layers.Flatten()(hidden))))
    model.compile("adam", "mse")
    return model
def input_fn(r): return tf.reshape(r["image"], [8, 8, 1]), one(r["y"])
"""
MIXED = """
keras.config.set_dtype_policy("mixed_float16")
def custom_model():
    given = keras.Input((4,))
    model = keras.Model(given, layers.Dense(1, dtype="float32")(layers.Dense(16, "relu")(given)))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model
def input_fn(r): return r["x"], one(r["y"])
"""
EMA = """
def custom_model():
    given = keras.Input((4,))
    model = keras.Model(given, layers.Dense(1)(layers.Dense(8, "relu", kernel_constraint="max_norm")(given)))
    model.compile(keras.optimizers.AdamW(
        0.01, weight_decay=0.05, clipnorm=0.5, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=2), "mse")
    return model
def input_fn(r): return r["x"], one(r["y"])
"""
STRINGS = """
def custom_model():
    given = keras.Input((1,), dtype="string")
    ids = layers.StringLookup(vocabulary=["good", "bad", "so"])(given)
    model = keras.Model(given, layers.Dense(1)(layers.Flatten()(layers.Embedding(4, 5)(ids))))
    model.compile(keras.optimizers.SGD(0.1), "mae")
    return model
def input_fn(r): return one(r["word"]), one(r["y"])
"""


@dataclass(frozen=True)
class Style:
    """A model's module, the expected result where that is not `equal`, and how much it may differ."""

    text: str
    expected: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 0.0


STYLES: dict[str, Style] = {
    "several tasks, weighted": Style(TASKS),
    "a GAN": Style(GAN, TOGETHER),
    "a VAE with a train_step": Style(VAE, TOGETHER),
    "two towers, a loss of pairs": Style(TOWERS, TOGETHER),
    "add_loss": Style(ADD_LOSS),
    "texts, a mask, an LSTM": Style(TEXT),
    "a transformer": Style(TRANSFORMER),
    "wide and deep, preprocessing": Style(WIDE_DEEP),
    "images, augmented": Style(IMAGES, dict.fromkeys(TOGETHER, "by chance")),
    "mixed precision": Style(MIXED, {"servers": "refused"}, 2e-3),
    "averages and accumulation": Style(EMA, {"servers": "refused"}),
    "strings": Style(STRINGS),
}


def columns() -> dict[str, np.ndarray]:
    """The records of all styles."""
    random = np.random.default_rng(0)
    words = np.array(["good", "bad", "so"], object)[random.integers(0, 3, RECORDS)]
    return {
        "x": random.normal(size=(RECORDS, 4)).astype("float32"),
        "y": random.normal(size=RECORDS).astype("float32"),
        "w": random.random(RECORDS).astype("float32"),
        "ids": random.integers(0, 20, (RECORDS, 6)),
        "word": words,
        "text": np.array([" ".join(random.choice(["good", "bad", "film", "so", "what"], 3)) for _ in words], object),
        "image": random.random((RECORDS, 64)).astype("float32"),
    }


def write(path: Path, data: Mapping[str, np.ndarray]) -> None:
    """Write the records as Parquet."""
    table = {
        name: values if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(values.reshape(-1), values.shape[1])
        for name, values in data.items()
    }
    pq.write_table(pa.table(table), path)


def fit(text: str, data: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Train as the model's author would; return the weights."""
    keras.backend.clear_session()
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(SEED)
    module = types.ModuleType("style")
    exec(compile(PRELUDE + text, "style.py", "exec"), vars(module))
    model = module.custom_model()
    given = {name: tf.constant(values.tolist() if values.dtype == object else values) for name, values in data.items()}
    model.fit(tf.data.Dataset.from_tensor_slices(given).map(module.input_fn).batch(RECORDS), epochs=EPOCHS, verbose=0)
    keras.config.set_dtype_policy("float32")
    return list(model.get_weights())


def train(name: str, strategy: str, folder: Path) -> list[np.ndarray]:
    """Train by a job; return the weights. Raises ElasticDLError."""
    number = list(STYLES).index(name)
    job = elasticdl_nb.train(
        model_zoo=folder / "zoo", model_def=f"style{number}.custom_model", data=folder / "data.parquet", shuffle=False,
        seed=SEED, num_epochs=EPOCHS, num_minibatches_per_task=1, wait=True, output=folder / f"{number} {strategy}",
        **STRATEGIES[strategy],
    )  # fmt: skip
    return list(job.model.get_weights())


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest difference between two lists of weights; states of random generators are no weights."""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.size and a.dtype.kind == "f"]
    return max(float(np.abs(a.astype("float64") - b.astype("float64")).max()) for a, b in pairs)


def outcome(name: str, strategy: str, theirs: list[np.ndarray], folder: Path) -> tuple[str, str]:
    """Train a style with a strategy; return the result as a word, and the rest of a line."""
    style, began = STYLES[name], time.monotonic()
    try:
        differs = difference(train(name, strategy, folder), theirs)
    except JobFailed as error:
        return "failed", str(error)
    except ElasticDLError as error:
        return "refused", str(error)
    limit = max(style.tolerance, 1e-5 if strategy == "Local" else 1e-4)
    by_chance = style.expected.get(strategy) == "by chance"
    word = "equal" if differs <= limit else "by chance" if by_chance else "DIFFERS"
    return word, f"{differs:.1e} ({time.monotonic() - began:.0f} s)"


def main() -> None:
    """Compare all styles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", nargs="+", default=list(STYLES), choices=list(STYLES))
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        os.environ.setdefault("ELASTICDL_HOME", os.fspath(folder / "home"))
        (folder / "zoo").mkdir()
        data = columns()
        write(folder / "data.parquet", data)
        for number, style in enumerate(STYLES.values()):
            (folder / "zoo" / f"style{number}.py").write_text(PRELUDE + style.text)
        for name in options.styles:
            theirs = fit(STYLES[name].text, data)
            for strategy in options.strategies:
                word, detail = outcome(name, strategy, theirs, folder)
                wrong += word != STYLES[name].expected.get(strategy, "equal")
                print(f"{name:32s} {strategy:10s} {word}: {detail}", flush=True)
    print(f"{wrong} of {len(options.styles) * len(options.strategies)} are not as they should be")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
