"""Each batch is predicted before it is learnt, as `predict` would, and what is learnt stays the same, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from fitting import BATCH, DATA, PRELUDE, RECORDS, Here, forget_settings, user_module, write

from elasticdl_nb.runtime.errors import ModelError, OptionError
from elasticdl_nb.runtime.model.loading.binarymetrics import BinaryMetrics
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states, state_messages
from elasticdl_nb.runtime.worker.training.prequential import Prequential

LABELS = (DATA["y"] > 0).astype("int32")
INPUT = """
def input_fn(r):
    return r["x"], tf.reshape(tf.cast(r["y"] > 0, tf.int32), [1])
"""
NETWORK = """
@keras.saving.register_keras_serializable("always")
class Always(keras.layers.Layer):
    '''Draws also when it predicts, and counts its calls.'''

    def __init__(self, **more):
        super().__init__(**more)
        self.seeds = keras.random.SeedGenerator(5)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1)
        return x + 0.01 * keras.random.normal(keras.ops.shape(x), seed=self.seeds)

def optimizer():
    return keras.optimizers.Adam(0.01)

def network(activation):
    i = keras.Input((4,), name="x")
    h = keras.layers.BatchNormalization()(dense(8, 1, "relu")(i))
    h = Always()(keras.layers.Dropout(0.3, seed=3)(h))
    return keras.Model(i, dense(1, 2, activation)(h))
"""


def train(folder: Path, *, tested: bool, **options: Any) -> tuple[Here, list[np.ndarray], list[pb.TaskDone]]:
    """Train in tasks of two batches; return the weights, the optimizer's variables, and what tasks say."""
    here = Here(folder, num_epochs=1, jit_compile="false", **options)
    trainer = here.trainer()
    if tested:
        trainer.tested = Prequential(here.loaded, here.data.element_spec)
    batches, results = list(here.data), []
    for start in range(0, len(batches), 2):
        if trainer.tested:
            trainer.tested.begin()
        trainer.train(pb.Task(id=1), iter(batches[start : start + 2]))
        if trainer.tested:
            results.append(pb.TaskDone(**trainer.tested.report()))
    here.trainer_ = trainer  # type: ignore[attr-defined]
    kept = [*here.loaded.model.variables, *trainer.optimizer.variables] if trainer.optimizer else []
    return here, [np.asarray(one) for one in kept], results


def values(here: Here, results: list[pb.TaskDone]) -> dict[str, float]:
    """The metrics over all tasks, as a window has them."""
    summed: dict[str, list[np.ndarray]] = {}
    for done in results:
        for name, arrays in read_states(done.states).items():
            old = summed.get(name)
            summed[name] = arrays if old is None else [a + b for a, b in zip(old, arrays, strict=True)]
    return here.trainer_.tested.values(state_messages(summed))  # type: ignore[attr-defined]


MODELS = {
    "probabilities": """
def custom_model():
    model = network("sigmoid")
    model.compile(optimizer(), "binary_crossentropy", metrics=["accuracy"])
    return model
""",
    "logits": """
def custom_model():
    model = network(None)
    model.compile(optimizer(), keras.losses.BinaryCrossentropy(from_logits=True))
    return model
""",
    "run eagerly": """
def custom_model():
    model = network("sigmoid")
    model.compile(optimizer(), "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model
""",
    "own train_step": """
class Own(keras.Model):
    def train_step(self, data):
        x, y = data[:2]
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}

def custom_model():
    model = network("sigmoid")
    model = Own(model.inputs, model.outputs)
    model.compile(optimizer(), "binary_crossentropy", metrics=["accuracy"])
    return model
""",
}


def by_hand(folder: Path) -> np.ndarray:
    """What an author would write: predict each batch, then train on it. Return the predictions."""
    forget_settings()
    keras.utils.set_random_seed(1)
    model = user_module(folder).custom_model()
    model.jit_compile = False  # XLA draws other numbers
    if model.run_eagerly:
        model(tf.zeros([1, 4]))  # as a job does to build it
    model.optimizer.build(model.trainable_variables)
    predictions = []
    for start in range(0, RECORDS, BATCH):
        x, y = DATA["x"][start : start + BATCH], LABELS[start : start + BATCH, None]
        state = [np.asarray(one).copy() for one in model.non_trainable_variables]
        predictions.append(model.predict_on_batch(x))
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)  # `Always` would draw other numbers
        model.train_on_batch(x, y)
    return np.concatenate(predictions)[:, 0]


@pytest.mark.parametrize("name", MODELS)
def test_batches_are_tested_as_by_hand_and_learnt_as_without(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, NETWORK + MODELS[name] + INPUT)
    _, alone, _ = train(folder, tested=False)
    here, beside, results = train(folder, tested=True)
    assert len(alone) == len(beside)
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one, other)
    found = values(here, results)
    assert [done.tested for done in results] == [32, 32, 32]

    predicted = by_hand(folder)
    probabilities = 1 / (1 + np.exp(-predicted)) if name == "logits" else predicted
    odds = np.log(probabilities / (1 - probabilities))
    auc = keras.metrics.AUC(num_thresholds=400)
    auc.update_state(LABELS, np.clip(0.5 + odds / 20, 0, 1))
    exact = np.mean(odds[LABELS == 1][:, None] > odds[LABELS == 0])
    cross_entropy = keras.metrics.BinaryCrossentropy()
    cross_entropy.update_state(LABELS[:, None], probabilities[:, None])
    assert found["auc"] == pytest.approx(float(auc.result()), abs=1e-4)
    assert found["auc"] == pytest.approx(exact, abs=0.01)
    assert found["log_loss"] == pytest.approx(float(cross_entropy.result()), rel=1e-5)
    assert found["loss"] == pytest.approx(found["log_loss"], rel=1e-5)
    assert found["calibration"] == pytest.approx(probabilities.mean() / LABELS.mean(), rel=1e-5)
    if name != "logits":
        assert found["accuracy"] == pytest.approx(np.mean((probabilities > 0.5) == LABELS))


OTHERS = {
    "regression": (
        "def custom_model():\n"
        "    model = mlp()\n    model.compile(optimizer(), 'mse', metrics=['mae'])\n    return model\n",
        {"loss", "mae"},
    ),
    "a loss function": ("def loss(labels, outputs):\n    return tf.square(labels - outputs)\n", {"loss"}),
    "metrics of the module": (
        "def loss(labels, outputs):\n    return tf.square(labels - outputs)\n"
        "def eval_metrics_fn():\n    return {'off': lambda labels, outputs: np.abs(labels - outputs).mean()}\n",
        {"loss", "off"},
    ),
    "two outputs": (
        "def custom_model():\n"
        "    i = keras.Input((4,), name='x')\n    h = dense(8, 1)(i)\n"
        "    model = keras.Model(i, [dense(1, 2, name='a')(h), dense(1, 3, name='b')(h)])\n"
        "    model.compile(optimizer(), ['mse', 'mae'])\n    return model\n"
        "def input_fn(r):\n    y = tf.reshape(r['y'], [1])\n    return r['x'], (y, y)\n",
        {"loss", "a_loss", "b_loss"},
    ),
    "a dict with one output": (
        "def custom_model():\n    i = keras.Input((4,))\n"
        "    model = keras.Model(i, {'a': dense(1, 2, 'sigmoid')(i)})\n"
        "    model.compile(optimizer(), 'binary_crossentropy')\n    return model\n" + INPUT,
        {"loss", "auc", "log_loss", "calibration"},
    ),
    "a method called outputs": (
        "class Own(Net):\n    def outputs(self):\n        return []\n"
        "def custom_model():\n    model = Own()\n    model.compile(optimizer(), 'mse')\n    return model\n",
        {"loss"},
    ),
    "an AUC of its own": (
        "def custom_model():\n    model = keras.Sequential([keras.Input((4,)), dense(1, 2, 'sigmoid')])\n"
        "    metrics = [keras.metrics.AUC(curve='PR', name='auc')]\n"
        "    model.compile(optimizer(), 'binary_crossentropy', metrics=metrics)\n    return model\n" + INPUT,
        {"loss", "auc", "log_loss", "calibration"},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_have_their_own_metrics(name: str, tmp_path: Path) -> None:
    text, names = OTHERS[name]
    here, _, results = train(write(tmp_path, text), tested=True)
    found = values(here, results)
    assert set(found) == names and next(iter(found)) == "loss"
    # A window's values may be asked for before a process has seen any batch, and twice.
    fresh = Here(tmp_path, num_epochs=1)
    trainer = fresh.trainer()
    fresh.trainer_ = trainer  # type: ignore[attr-defined]
    trainer.tested = Prequential(fresh.loaded, fresh.data.element_spec)
    for _ in range(2):
        assert values(fresh, results) == pytest.approx(found, nan_ok=True)
    if name == "an AUC of its own":
        curve = keras.metrics.AUC(curve="PR")
        curve.update_state(LABELS, by_hand(tmp_path))
        assert found["auc"] == pytest.approx(float(curve.result()), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "class Gan(keras.Model):\n"
            "    def __init__(self):\n        super().__init__()\n        self.d = dense(1, 1)\n"
            "        self.o = keras.optimizers.SGD(0.1)\n"
            "    def call(self, x):\n        return self.d(x)\n"
            "    def train_step(self, data):\n        return {'loss': tf.reduce_mean(self(data[0]))}\n"
            "def custom_model():\n    model = Gan()\n    model.compile()\n    return model\n",
            "prequential: Gan has no loss to be tested by, as its train_step computes its own; override test_step, too",
        ),
        (
            "class Words(keras.layers.Layer):\n"
            "    def __init__(self):\n        super().__init__()\n"
            "        self.known = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, -1, -2)\n"
            "    def call(self, x):\n"
            "        n = tf.cast(x[:, :1] * 100, tf.int64)\n        self.known.insert(tf.abs(n), n)\n        return x\n"
            "def custom_model():\n    model = keras.Sequential([keras.Input((4,)), Words(), dense(1, 2)])\n"
            "    model.compile(optimizer(), 'mse')\n    return model\n",
            "prequential: Sequential adds to a vocabulary when it is called",
        ),
    ],
)
def test_a_model_that_cannot_be_tested_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        train(write(tmp_path, text, prelude=PRELUDE), tested=True)


def test_a_bound_for_a_metric_that_the_model_does_not_have_is_refused_before_anything_is_learnt(tmp_path: Path) -> None:
    here = Here(write(tmp_path, NETWORK + MODELS["probabilities"] + INPUT), num_epochs=1)
    trainer = here.trainer()
    trainer.tested = Prequential(here.loaded, here.data.element_spec, ("auc<0.7", "auk<0.7"))
    trainer.tested.begin()
    with pytest.raises(
        OptionError, match=r"alarm: auk<0.7: the model has no metric auk. Did you mean 'auc'\? It has loss, "
    ):
        trainer.train(pb.Task(id=1), iter(here.data))
    assert trainer.step == 0
    trainer.tested = Prequential(here.loaded, here.data.element_spec, ("auc<0.7", "accuracy>2"))
    trainer.tested.begin()
    assert trainer.train(pb.Task(id=1), iter(here.data)) == RECORDS
    assert trainer.tested.report()["tested"] == RECORDS, "the batch that showed the metrics counts once"


def test_where_all_labels_are_the_same_there_is_no_auc(tmp_path: Path) -> None:
    metrics = BinaryMetrics(lambda outputs: True)
    metrics.update(tf.zeros([3]), tf.constant([[1.0], [2.0], [-1.0]]))
    found = metrics.results(metrics.states())
    assert np.isnan(found["auc"]) and np.isnan(found["calibration"]) and found["log_loss"] > 0


def test_predictions_leave_no_trace_in_training_metrics(tmp_path: Path) -> None:
    folder = write(tmp_path, NETWORK + MODELS["probabilities"] + INPUT)
    logs = []
    for tested in (False, True):
        here, _, _ = train(folder, tested=tested)
        logs.append(dict(here.trainer_.so_far().logs))  # type: ignore[attr-defined]
    assert logs[0] == logs[1] and {"loss", "accuracy"} <= logs[0].keys()
    assert tf.executing_eagerly()
