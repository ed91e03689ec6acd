"""Models of many styles: two workers learn what one learns from their batches together, or the model is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_allreduce_trainer import Together, both, weights

from elasticdl_nb.runtime.errors import ModelError

PRELUDE = """
import keras
import tensorflow as tf

def input_fn(record): return record, record
def optimizer(): return keras.optimizers.SGD(0.05)
loss = "mse"
"""
X = tf.TensorSpec([None, 4], tf.float32)
ONE = tf.TensorSpec([None, 1], tf.float32)
WEIGHT = tf.TensorSpec([None], tf.float32)
IDS = tf.TensorSpec([None, 6], tf.int64)
WORDS = tf.TensorSpec([None], tf.string)
STYLES: dict[str, tuple[str, Any]] = {
    "several tasks, weights": (
        """
def custom_model():
    i = keras.Input((4,))
    h = keras.layers.Dense(8, "tanh")(i)
    model = keras.Model(i, {"a": keras.layers.Dense(1)(h), "b": keras.layers.Dense(1)(h)})
    model.compile("sgd", {"a": "mse", "b": "mae"}, loss_weights={"a": 1.0, "b": 0.2})
    return model
del loss, optimizer
""",
        (X, {"a": ONE, "b": ONE}, WEIGHT),
    ),
    "losses of layers": (
        """
def custom_model():
    i = keras.Input((4,))
    h = keras.layers.ActivityRegularization(0.01)(keras.layers.Dense(8, "tanh", kernel_regularizer="l2")(i))
    return keras.Model(i, keras.layers.Dense(1)(h))
""",
        (X, ONE),
    ),
    "words, a mask, an LSTM": (
        """
def custom_model():
    i = keras.Input((), dtype="string")
    v = keras.layers.TextVectorization(vocabulary=["good", "bad", "film"], output_sequence_length=4)(i)
    h = keras.layers.LSTM(5)(keras.layers.Embedding(6, 4, mask_zero=True)(v))
    return keras.Model(i, keras.layers.Dense(1)(h))
""",
        (WORDS, ONE),
    ),
    "transformer": (
        """
def custom_model():
    i = keras.Input((6,), dtype="int64")
    e = keras.layers.Embedding(20, 8)(i)
    h = keras.layers.LayerNormalization()(e + keras.layers.MultiHeadAttention(2, 4)(e, e))
    return keras.Model(i, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(h)))
""",
        (IDS, ONE),
    ),
    "wide and deep": (
        """
def custom_model():
    x, word = keras.Input((4,), name="x"), keras.Input((1,), dtype="string", name="word")
    id = keras.Input((1,), dtype="int64", name="id")
    scaled = keras.layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0])(x)
    words = keras.layers.StringLookup(vocabulary=["bad", "good film"], output_mode="one_hot")(word)
    crossed = keras.layers.HashedCrossing(8, output_mode="one_hot")((word, id))
    deep = keras.layers.Dense(8, "relu")(keras.layers.Concatenate()([scaled, words]))
    joined = keras.layers.Concatenate()([deep, crossed])
    return keras.Model({"x": x, "word": word, "id": id}, keras.layers.Dense(1)(joined))
""",
        ({"x": X, "word": tf.TensorSpec([None, 1], tf.string), "id": tf.TensorSpec([None, 1], tf.int64)}, ONE),
    ),
    "a loss of its own": (
        """
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1)
    def call(self, x): return self.head(x)
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(keras.ops.abs(y - y_pred)) + 0.1 * keras.ops.mean(x * y_pred)
def custom_model(): return Net()
""",
        (X, ONE),
    ),
    "float16, scaled": (
        """
def custom_model():
    i = keras.Input((4,), dtype="float32")
    h = keras.layers.Dense(8, "tanh", dtype="mixed_bfloat16")(i)
    return keras.Model(i, keras.layers.Dense(1, dtype="float32")(h))
def optimizer(): return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05))
""",
        (X, ONE),
    ),
    "averages and accumulation": (
        """
def custom_model():
    i = keras.Input((4,))
    return keras.Model(i, keras.layers.Dense(1)(keras.layers.Dense(8, "tanh", kernel_constraint="max_norm")(i)))
def optimizer():
    return keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=2, clipnorm=0.5)
""",
        (X, ONE),
    ),
    "step by step, in Python": (
        """
def custom_model():
    i = keras.Input((4,))
    model = keras.Model(i, keras.layers.Dense(1)(i))
    model.compile("sgd", "mse", run_eagerly=True)
    return model
del loss, optimizer
""",
        (X, ONE),
    ),
}
REFUSED: dict[str, tuple[str, Any, str]] = {
    "pairs within a batch": (
        """
class Towers(keras.Model):
    def __init__(self):
        super().__init__()
        self.left, self.right = keras.layers.Dense(4), keras.layers.Dense(4)
    def call(self, x): return self.left(x[:, :2]), self.right(x[:, 2:])
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        scores = keras.ops.matmul(y_pred[0], keras.ops.transpose(y_pred[1]))
        labels = keras.ops.arange(keras.ops.shape(scores)[0])
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, scores, from_logits=True))
def custom_model(): return Towers()
""",
        (X, ONE),
        "a batch's loss is not the mean of the losses of its records",
    ),
    "a train_step": (
        """
class Net(keras.Sequential):
    def train_step(self, data): return super().train_step(data)
def custom_model(): return Net([keras.layers.Dense(1)])
""",
        (X, ONE),
        "Net.train_step: AllreduceStrategy makes the steps itself",
    ),
}


def drawn(spec: tf.TensorSpec, count: int, random: np.random.Generator) -> tf.Tensor:
    shape = [count, *spec.shape[1:]]
    if spec.dtype == tf.string:
        return tf.constant(np.array(["good film", "bad", "so good"], object)[random.integers(0, 3, shape)])
    if spec.dtype.is_integer:
        return tf.constant(random.integers(0, 20, shape))
    return tf.constant(random.random(shape).astype("float32"))


def batch(form: Any, count: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    return tf.nest.map_structure(lambda spec: drawn(spec, count, random), form)


@pytest.fixture
def together(tmp_path: Path) -> Iterator[Any]:
    made: list[Together] = []

    def make(count: int, text: str, form: Any) -> Together:
        (tmp_path / f"style{len(made)}.py").write_text(PRELUDE + text)
        made.append(Together(count, tmp_path, f"style{len(made)}.custom_model", form))
        return made[-1]

    yield make
    for one in made:
        one.close()
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("style", STYLES)
def test_two_workers_learn_what_one_learns(together: Any, style: str) -> None:
    text, form = STYLES[style]
    two, alone = together(2, text, form), together(1, text, form)
    for own, other in zip(alone.trainers[0].model.weights, two.trainers[0].model.weights, strict=True):
        own.assign(other)
    parts = [[batch(form, 5 + step, step) for step in range(4)], [batch(form, 3, 100 + step) for step in range(4)]]
    two.form_ring(0, 1)
    alone.form_ring(0)
    two.train(dict(enumerate(parts)))
    alone.train({0: [both(a, b) for a, b in zip(*parts, strict=True)]})
    for job in (two, alone):
        for trainer in job.trainers:
            trainer.callbacks.training_ends()
    for number in (0, 1):
        for one, other in zip(weights(two.trainers[number]), weights(alone.trainers[0]), strict=True):
            tolerance = 2e-3 if "float16" in style else 1e-4  # numbers of 16 bits have three digits
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("style", REFUSED)
def test_what_workers_cannot_do_together_is_refused(together: Any, style: str) -> None:
    text, form, message = REFUSED[style]
    with pytest.raises(ModelError, match=message):
        two = together(2, text, form)
        two.form_ring(0, 1)
        two.train({number: [batch(form, 6, number)] for number in (0, 1)})
