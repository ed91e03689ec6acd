"""A worker alone trains, evaluates and predicts as Keras' `fit`, `evaluate` and `predict` do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import fitting
import keras
import numpy as np
import pytest
import tensorflow as tf
from fitting import BATCH, DATA, EPOCHS, Here, assert_same, weights_of_fit

from elasticdl_nb.runtime.errors import ElasticDLError, ModelError
from elasticdl_nb.runtime.model.loading.losses import copied
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.worker.predictor import columns

X, Y, Y1 = DATA["x"], DATA["y"], DATA["y"][:, None]
W, W1, K, S = DATA["w"], DATA["w"][:, None], DATA["k"], DATA["s"]


def compiled(loss: Any = "mse", x: Any = X, y: Any = Y1, **more: Any) -> Callable[[ModuleType], keras.Model]:
    """What an author would write: make the model, compile it, fit it."""
    of_fit = {name: more.pop(name) for name in ("sample_weight", "class_weight", "batch_size") if name in more}

    def fit(module: ModuleType) -> keras.Model:
        model = module.custom_model()
        if loss is not None:
            model.compile(module.optimizer(), loss(module) if isinstance(loss, FunctionType) else loss, **more)
        model.fit(x, y, **{"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0, **of_fit})
        return model

    return fit


def by_author(x: Any = X, y: Any = Y1, **of_fit: Any) -> Callable[[ModuleType], keras.Model]:
    """For a model that its author has compiled."""
    return compiled(None, x, y, **of_fit)


@dataclass(frozen=True)
class Case:
    text: str
    fit: Callable[[ModuleType], keras.Model]
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-5
    # The names in the job's history, if they are not those in Keras'.
    history: tuple[str, ...] = ()


TWO = """
def custom_model():
    i = keras.Input((4,), name="x")
    h = dense(8, 1, "relu")(i)
    a, b = dense(1, 2, name="a")(h), dense(1, 3, name="b")(h)
    model = keras.Model(i, OUTPUTS)
    COMPILE
    return model

def input_fn(r):
    y, w = tf.reshape(r["y"], [1]), tf.reshape(r["w"], [1])
    return r["x"], LABELS
"""


def two(outputs: str, labels: str, compile: str = "") -> str:
    return TWO.replace("OUTPUTS", outputs).replace("LABELS", labels).replace("COMPILE", compile)


MASKED = """
def custom_model():
    i = keras.Input((6,), dtype="int64")
    e = keras.layers.Embedding(20, 4, mask_zero=True, embeddings_initializer=init(1))(i)
    h = keras.layers.LSTM(5, return_sequences=True, kernel_initializer=init(2), recurrent_initializer=init(4))(e)
    return keras.Model(i, dense(3, 3, "softmax")(h))

def input_fn(r):
    return r["s"], r["s"] % 3
"""
CASES = {
    "a function of labels and outputs": Case(
        "def loss(labels, outputs): return keras.losses.mean_squared_error(labels, outputs)", compiled()
    ),
    "outputs before labels": Case(
        "def loss(outputs, labels): return (labels - outputs) ** 2 * 2",
        compiled(lambda m: lambda y, p: (y - p) ** 2 * 2),
    ),
    "a scalar": Case("def loss(y_true, y_pred): return tf.reduce_mean(tf.abs(y_true - y_pred))", compiled("mae")),
    "labels of the guide": Case(
        "def loss(labels, outputs): return (labels.flatten() - outputs.flatten()) ** 2", compiled()
    ),
    "labels without a last dimension": Case(
        """
        def input_fn(r): return r["x"], r["y"]
        def loss(labels, outputs): return tf.reduce_mean(tf.square(labels - outputs))
        """,
        compiled(lambda m: m.loss, y=Y),
    ),
    "a function written for labels without a last dimension": Case(
        """
        def input_fn(r): return r["x"], r["y"]
        def loss(labels, outputs): return tf.reduce_mean(tf.square(labels - tf.squeeze(outputs, 1)))
        """,
        compiled(y=Y),
    ),
    "integers as labels": Case(
        """
        def input_fn(r): return r["x"], tf.reshape(r["k"], [1])
        def loss(labels, outputs): return tf.reduce_mean(tf.square(labels - outputs))
        """,
        compiled(y=K[:, None]),
    ),
    "a name": Case("", compiled("huber"), {"loss": "huber"}),
    "a name, with scalars": Case(
        """
        loss = "binary_crossentropy"
        def input_fn(r): return r["x"], tf.cast(r["k"] > 0, tf.int64)
        def custom_model():
            i = keras.Input((4,)); return keras.Model(i, dense(1, 1, "sigmoid")(i))
        """,
        compiled("binary_crossentropy", y=(K > 0).astype("int64")),
    ),
    "a mask, a name": Case(
        MASKED, compiled("sparse_categorical_crossentropy", S, S % 3), {"loss": "sparse_categorical_crossentropy"}
    ),
    "a mask, a function": Case(
        MASKED + "def loss(labels, outputs): return keras.losses.sparse_categorical_crossentropy(labels, outputs)",
        compiled("sparse_categorical_crossentropy", S, S % 3),
    ),
    "a sum": Case(
        "loss = keras.losses.MeanSquaredError(reduction='sum')",
        compiled(keras.losses.MeanSquaredError(reduction="sum")),
    ),
    "weights in the mean": Case(
        """
        loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
        def input_fn(r): return r["x"], tf.reshape(r["y"], [1]), r["w"]
        """,
        compiled(keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), sample_weight=W),
    ),
    "two outputs, one loss": Case(two("[a, b]", "(y, w)") + "loss = 'mse'", compiled(y=[Y1, W1])),
    "two outputs, losses in a dict": Case(
        two('{"a": a, "b": b}', '{"a": y, "b": w}') + "loss = {'a': 'mse', 'b': 'mae'}",
        compiled({"a": "mse", "b": "mae"}, y={"a": Y1, "b": W1}),
    ),
    "two outputs, losses in a list": Case(
        two("[a, b]", "(y, w)") + "loss = ['mse', 'mae']", compiled(["mse", "mae"], y=[Y1, W1])
    ),
    "two outputs, weights of losses": Case(
        two(
            '{"a": a, "b": b}',
            '{"a": y, "b": w}',
            'model.compile(optimizer(), loss={"a": "mse", "b": "mae"}, loss_weights={"a": 1.0, "b": 0.2})',
        ),
        by_author(y={"a": Y1, "b": W1}),
    ),
    "two outputs, one function": Case(
        two('{"a": a, "b": b}', '{"a": y, "b": w}')
        + """
def loss(labels, outputs):
    return (tf.reduce_mean(tf.square(labels["a"] - outputs["a"]))
            + 0.2 * tf.reduce_mean(tf.abs(labels["b"] - outputs["b"])))
""",
        compiled({"a": "mse", "b": "mae"}, y={"a": Y1, "b": W1}, loss_weights={"a": 1.0, "b": 0.2}),
        history=("loss",),
    ),
    "two outputs, weights of samples": Case(
        two("[a, b]", "(y, w), (r['w'], r['w'] * 2)") + "loss = 'mse'", compiled(y=[Y1, W1], sample_weight=[W, W * 2])
    ),
    "two inputs in a tuple": Case(
        """
        def custom_model():
            a, b = keras.Input((4,)), keras.Input((1,))
            return keras.Model([a, b], dense(1, 1)(keras.layers.Concatenate()([a, b])))
        def input_fn(r): return (r["x"], tf.reshape(r["w"], [1])), tf.reshape(r["y"], [1])
        loss = "mse"
        """,
        compiled(x=[X, W1]),
    ),
    "the author's compile": Case(
        """
        del optimizer
        def custom_model():
            model = mlp()
            model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"], weighted_metrics=["mse"])
            return model
        """,
        by_author(),
    ),
    "an option over the author's compile": Case(
        """
        del optimizer
        def custom_model():
            model = mlp()
            model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"], run_eagerly=True)
            return model
        """,
        lambda m: compiled("mae")(_with(m, optimizer=lambda: keras.optimizers.Adam(0.01))),
        {"loss": "mae"},
    ),
    "weights of samples": Case(
        """
        def input_fn(r): return r["x"], tf.reshape(r["y"], [1]), r["w"]
        loss = "mse"
        """,
        compiled(sample_weight=W),
    ),
    "a column of weights": Case("loss = 'mse'", compiled(sample_weight=W), {"sample_weight_column": "w"}),
    "weights of classes": Case(
        """
        def custom_model():
            i = keras.Input((4,)); return keras.Model(i, dense(3, 1, "softmax")(i))
        def input_fn(r): return r["x"], r["k"]
        loss = "sparse_categorical_crossentropy"
        """,
        compiled("sparse_categorical_crossentropy", y=K, class_weight={0: 0.5, 2: 3.0}),
        {"class_weight": {"0": 0.5, "2": 3.0}},
    ),
    "weights of classes, one-hot": Case(
        """
        def custom_model():
            i = keras.Input((4,)); return keras.Model(i, dense(3, 1, "softmax")(i))
        def input_fn(r): return r["x"], tf.one_hot(r["k"], 3)
        loss = "categorical_crossentropy"
        """,
        compiled("categorical_crossentropy", y=keras.utils.to_categorical(K, 3), class_weight={1: 4.0}),
        {"class_weight": {"1": 4.0}},
    ),
    "losses of layers": Case(
        """
        def custom_model():
            i = keras.Input((4,))
            h = keras.layers.ActivityRegularization(0.01)(dense(8, 1, "relu", kernel_regularizer="l2")(i))
            return keras.Model(i, dense(1, 2)(h))
        loss = "mse"
        """,
        compiled(),
    ),
    "losses of layers, nothing else, no labels": Case(
        """
        class Auto(Net):
            def call(self, x):
                outputs = super().call(x)
                self.add_loss(keras.ops.mean(keras.ops.square(outputs - x[:, :1])))
                return outputs
        def custom_model():
            model = Auto(); model.compile(keras.optimizers.SGD(0.05)); return model
        del optimizer
        def input_fn(r): return r["x"]
        """,
        by_author(y=None),
    ),
    "compute_loss": Case(
        """
        class Own(Net):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                return 3.0 * keras.ops.mean(keras.ops.abs(y - y_pred)) + 0.1 * keras.ops.mean(x * y_pred)
        def custom_model(): return Own()
        """,
        lambda module: _own(module),
    ),
    "a constraint": Case("def custom_model(): return mlp(kernel_constraint='non_neg')\nloss = 'mse'", compiled()),
    "averaged weights": Case(
        """
        def optimizer(): return keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9)
        loss = "mse"
        """,
        compiled(),
    ),
    "averages and accumulation": Case(
        """
        def optimizer():
            return keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=2)
        loss = "mse"
        """,
        compiled(),
    ),
    "weight decay with exclusions": Case(
        """
        def optimizer():
            made = keras.optimizers.AdamW(0.01, weight_decay=0.1)
            made.exclude_from_weight_decay(var_names=["bias"])
            return made
        loss = "mse"
        """,
        compiled(),
    ),
    "weight decay with exclusions, an object": Case(
        """
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_names=["kernel"])
        loss = "mse"
        """,
        lambda m: compiled()(_with(m, optimizer=lambda made=m.optimizer: made)),
    ),
    "float16 with a loss too small for it": Case(
        """
        keras.mixed_precision.set_global_policy("mixed_float16")
        def custom_model():
            i = keras.Input((4,)); h = dense(8, 1, "relu")(i)
            return keras.Model(i, dense(1, 2, dtype="float32")(h))
        def optimizer(): return keras.optimizers.SGD(5e5)
        def loss(labels, outputs): return 1e-7 * keras.losses.mean_squared_error(labels, outputs)
        """,
        compiled(lambda m: m.loss),
        tolerance=2e-3,
    ),
    "dropout": Case(
        """
        def custom_model():
            i = keras.Input((4,))
            return keras.Model(i, dense(1, 2)(keras.layers.Dropout(0.5, seed=3)(dense(8, 1, "relu")(i))))
        loss = "mse"
        """,
        compiled(),
    ),
    "frozen layers, live statistics": Case(
        """
        def custom_model():
            i = keras.Input((4,))
            h = keras.layers.BatchNormalization()(dense(8, 1, "relu", trainable=False)(i))
            return keras.Model(i, dense(1, 2)(h))
        loss = "mse"
        """,
        compiled(),
    ),
    "strings": Case(
        """
        def custom_model():
            i = keras.Input((), dtype="string")
            v = keras.layers.TextVectorization(output_mode="multi_hot", vocabulary=["good", "bad", "so", "film"])
            return keras.Model(i, dense(1, 1)(v(i)))
        def input_fn(r): return r["t"], tf.reshape(r["y"], [1])
        loss = "mse"
        """,
        compiled(x=tf.constant(DATA["t"])),
    ),
    "step by step, in Python": Case(
        """
        class Eager(Net):
            def call(self, x): return super().call(x) * float(1.0 + 0 * x.numpy().mean())
        def custom_model():
            model = Eager(); model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True); return model
        """,
        by_author(),
        {},
    ),
    "XLA": Case(
        """
        def custom_model():
            model = mlp(); model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=True); return model
        """,
        by_author(),
    ),
    "several steps at once": Case(
        """
        def custom_model():
            model = mlp(); model.compile(keras.optimizers.SGD(0.05), "mse", steps_per_execution=3); return model
        """,
        by_author(),
    ),
}


def _with(module: ModuleType, **changes: Any) -> ModuleType:
    for name, value in changes.items():
        setattr(module, name, value)
    return module


def _own(module: ModuleType, y: Any = Y1) -> keras.Model:
    model = module.custom_model()
    model.compile(module.optimizer())
    model.fit(X, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    return model


@pytest.fixture(autouse=True)
def keras_as_it_was() -> Any:
    yield
    fitting.forget_settings()


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_trained_as_fit_trains_it(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    fitting.write(tmp_path, case.text)
    model, theirs = weights_of_fit(tmp_path, case.fit)
    job = Here(tmp_path, **case.options)
    assert_same(job.train(), theirs, case.tolerance)
    kept = model.history.history
    assert_history(job, {name: kept[name] for name in case.history or kept})


def test_optimizers_are_copied_with_classes_of_their_own() -> None:
    class Warm(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            return 0.1 / (step + 1)

        def get_config(self) -> dict[str, Any]:
            return {}

    class Mine(keras.optimizers.SGD):
        pass

    for optimizer in (keras.optimizers.Adam(Warm()), keras.optimizers.LossScaleOptimizer(Mine(Warm()))):
        made = copied(optimizer)
        inner = getattr(made, "inner_optimizer", made)
        assert isinstance(inner._learning_rate, Warm) and type(made) is type(optimizer)
        assert isinstance(inner, (Mine, keras.optimizers.Adam))


def test_an_optimizer_that_fit_resets_is_noted(tmp_path: Path) -> None:
    text = "loss = 'mse'\ndef optimizer(): return keras.optimizers.ScheduleFreeAdamW(0.05)"
    fitting.write(tmp_path, text)

    def fit(module: ModuleType) -> keras.Model:
        model = module.custom_model()
        model.compile(module.optimizer(), "mse")
        model.optimizer.build(model.trainable_variables)
        model.fit(X, Y1, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
        return model

    _, theirs = weights_of_fit(tmp_path, fit)
    job = Here(tmp_path)
    assert_same(job.train(), theirs)
    assert any("fit resets the momentum of ScheduleFreeAdamW" in note for note in job.session.notes)


def assert_history(job: Here, theirs: dict[str, list[float]]) -> None:
    """Assert that a job has reported the epochs as Keras' History keeps them."""
    ours = job.session.history
    assert [set(logs) for logs in ours] == [set(theirs)] * EPOCHS
    for name, values in theirs.items():
        np.testing.assert_allclose([logs[name] for logs in ours], values, rtol=1e-4, atol=1e-6, err_msg=name)


STEPS = """
class Gan(keras.Model):
    def __init__(self):
        super().__init__()
        self.maker, self.critic = keras.Sequential([dense(4, 1)]), keras.Sequential([dense(8, 2, "relu"), dense(1, 3)])
        self.score = keras.metrics.Mean(name="score")
        self.seeds = keras.random.SeedGenerator(5)

    def compile(self, of_critic, of_maker):
        super().compile()
        self.of_critic, self.of_maker = of_critic, of_maker

    def call(self, x):
        return self.critic(self.maker(x))

    @property
    def metrics(self):
        return [self.score]

    def train_step(self, data):
        real = data[0] if isinstance(data, tuple) else data
        noise = keras.random.normal(tf.shape(real), seed=self.seeds)
        with tf.GradientTape() as tape:
            between = 0.5 * (real + self.maker(noise))
            with tf.GradientTape() as inner:
                inner.watch(between)
                judged = self.critic(between)
            slopes = inner.gradient(judged, between)
            penalty = keras.ops.mean((keras.ops.sum(slopes**2, 1) - 1.0) ** 2)
            loss = keras.ops.mean(self.critic(self.maker(noise))) - keras.ops.mean(self.critic(real)) + penalty
        weights = self.critic.trainable_weights
        self.of_critic.apply_gradients(zip(tape.gradient(loss, weights), weights))
        with tf.GradientTape() as tape:
            loss = -keras.ops.mean(self.critic(self.maker(noise)))
        weights = self.maker.trainable_weights
        self.of_maker.apply_gradients(zip(tape.gradient(loss, weights), weights))
        self.score.update_state(loss)
        return {"score": self.score.result()}

def custom_model():
    model = Gan()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.02))
    return model

del optimizer
def input_fn(r): return r["x"]
"""
VAE = """
class Vae(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = dense(4, 1), dense(4, 2)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.seeds = keras.random.SeedGenerator(7)

    def call(self, x):
        return self.decoder(self.encoder(x)[:, :2])

    def losses_of(self, x):
        mean, log = keras.ops.split(self.encoder(x), 2, axis=1)
        z = mean + keras.ops.exp(0.5 * log) * keras.random.normal(keras.ops.shape(mean), seed=self.seeds)
        kl = -0.5 * keras.ops.mean(1 + log - mean**2 - keras.ops.exp(log))
        return keras.ops.mean((self.decoder(z) - x) ** 2) + kl

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.losses_of(data)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}

    def test_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        error = keras.ops.mean(keras.ops.abs(self(x) - x))
        self.loss_tracker.update_state(error, sample_weight=keras.ops.shape(x)[0])
        return {"loss": self.loss_tracker.result(), "error": error}

    def predict_step(self, data):
        return {"code": self.encoder(data), "again": self(data)}

def custom_model(): return Vae()
def input_fn(r): return r["x"]
"""
TEACHER = """
class Distiller(keras.Model):
    def __init__(self):
        super().__init__()
        self.teacher, self.student = mlp(), dense(1, 9)
        self.teacher.trainable = False

    def call(self, x): return self.student(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, allow_empty=False):
        own = super().compute_loss(x, y, y_pred, sample_weight)
        return 0.3 * own + 0.7 * keras.ops.mean((self.teacher(x) - y_pred) ** 2)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        of_keras = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**of_keras, "gap": keras.ops.mean(keras.ops.abs(y - y_pred))}

def custom_model(): return Distiller()
loss = "mse"
"""


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        (STEPS, by_author(y=None)),
        (VAE, lambda module: _own(module, y=None)),
        (TEACHER, compiled()),
        (
            """
            class Counting(Net):
                def make_train_function(self, force=False):
                    def step(iterator):
                        data = next(iter(iterator))
                        return {**self.train_step(data), "loss": self.train_step(data)["loss"]}
                    self.train_function = step
            def custom_model(): return Counting()
            loss = "mse"
            """, compiled(),
        ),
    ],
    ids=["GAN with a gradient penalty", "VAE", "teacher and student", "train function"],
)  # fmt: skip
def test_a_model_with_steps_of_its_own_makes_them(tmp_path: Path, text: str, fit: Any) -> None:
    fitting.write(tmp_path, text)
    model, theirs = weights_of_fit(tmp_path, fit)
    job = Here(tmp_path)
    assert_same(job.train(), theirs)
    assert_history(job, model.history.history)


def test_a_checkpoint_has_the_state_of_all_optimizers(tmp_path: Path) -> None:
    text = STEPS.replace("noise = keras.random.normal(tf.shape(real), seed=self.seeds)", "noise = real[::-1]")
    fitting.write(tmp_path, text.replace("keras.optimizers.SGD(0.02)", "keras.optimizers.Adam(0.02)"))
    whole = Here(tmp_path).train()
    first = Here(tmp_path)
    trainer = first.trainer()
    one, two = first.tasks()
    trainer.train(one, iter(first.data))
    path = trainer.save(tmp_path / "checkpoints", "job")
    checkpoints.commit(path, {}, "job")
    second = Here(tmp_path)
    trainer = second.trainer()
    trainer.restore(str(tmp_path / "checkpoints"), keep_step=True)
    trainer.train(two, iter(second.data))
    assert_same([np.asarray(weight) for weight in second.loaded.model.weights], whole)


MEASURED = """
def custom_model():
    model = mlp()
    model.compile(optimizer(), "mse", metrics=["mae", keras.metrics.RootMeanSquaredError()], weighted_metrics=["mae"])
    return model
def input_fn(r): return r["x"], tf.reshape(r["y"], [1]), r["w"]
"""


def test_an_evaluation_in_parts_is_that_of_keras(tmp_path: Path) -> None:
    fitting.write(tmp_path, MEASURED)
    model, _ = weights_of_fit(tmp_path, by_author(sample_weight=W))
    here = Here(tmp_path)
    here.train()
    theirs = model.evaluate(X, Y1, sample_weight=W, batch_size=BATCH, verbose=0, return_dict=True)
    assert here.evaluate() == pytest.approx(theirs, rel=1e-4)


def test_metrics_see_masks_and_outputs_by_name(tmp_path: Path) -> None:
    fitting.write(
        tmp_path,
        MASKED
        + """
def eval_metrics_fn(): return [keras.metrics.SparseCategoricalAccuracy(name="right")]
loss = "sparse_categorical_crossentropy"
""",
    )
    model, _ = weights_of_fit(tmp_path, compiled(
        "sparse_categorical_crossentropy", S, S % 3, metrics=[keras.metrics.SparseCategoricalAccuracy(name="right")]
    ))  # fmt: skip
    here = Here(tmp_path)
    here.train()
    theirs = model.evaluate(S, S % 3, batch_size=BATCH, verbose=0, return_dict=True)
    assert here.evaluate()["right"] == pytest.approx(theirs["right"], rel=1e-5)


def test_metrics_of_each_output(tmp_path: Path) -> None:
    fitting.write(
        tmp_path,
        two('{"a": a, "b": b}', '{"a": y, "b": w}')
        + """
loss = "mse"
def eval_metrics_fn():
    return {"a": {"mae": "mae", "far": lambda labels, outputs: np.abs(labels - outputs)}, "b": {"mse": "mse"}}
""",
    )
    fit = compiled(y={"a": Y1, "b": W1}, metrics={"a": ["mae"], "b": ["mse"]})
    model, _ = weights_of_fit(tmp_path, fit)
    here = Here(tmp_path)
    here.train()
    ours = here.evaluate()
    theirs = model.evaluate(X, {"a": Y1, "b": W1}, batch_size=BATCH, verbose=0, return_dict=True)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-4)
    assert ours["a_far"] == pytest.approx(theirs["a_mae"], rel=1e-4)


def test_own_steps_evaluate_and_predict(tmp_path: Path) -> None:
    fitting.write(tmp_path, VAE)
    model, _ = weights_of_fit(tmp_path, lambda module: _own(module, y=None))
    here = Here(tmp_path)
    here.train()
    theirs = model.evaluate(X, batch_size=BATCH, verbose=0, return_dict=True)
    ours = here.evaluate()
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    # What no metric keeps: the mean over all records, where Keras shows its last batch.
    assert ours["error"] == pytest.approx(theirs["loss"], rel=1e-4)
    predicted, expected = here.predict(), model.predict(X, batch_size=BATCH, verbose=0)
    assert list(predicted[0]) == list(expected)
    for name in expected:
        np.testing.assert_allclose(np.concatenate([one[name] for one in predicted]), expected[name], atol=1e-5)


def test_a_metric_that_cannot_be_added_up_is_refused(tmp_path: Path) -> None:
    fitting.write(
        tmp_path,
        """
        class Most(keras.metrics.Metric):
            def __init__(self):
                super().__init__(name="most")
                self.most = self.add_weight(initializer="zeros")
            def update_state(self, labels, outputs, sample_weight=None):
                self.most.assign(keras.ops.maximum(self.most, keras.ops.max(labels)))
            def result(self): return self.most
        loss = "mse"
        def eval_metrics_fn(): return [Most()]
        """,
    )
    with pytest.raises(ModelError, match=r"metric 'most': its state is not a sum over records"):
        Here(tmp_path).evaluate()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {"sample_weight_column": "v"}, "sample_weight_column: the data has no column 'v'; it has x, y, w, k"),
        ("def input_fn(r): return r['x'], r['y'], r['y']", {"sample_weight_column": "w"}, "it returned 3 values"),
        ("def input_fn(r): return r['x'], r['w']", {"sample_weight_column": "w"}, "KeyError: 'w'"),
        ("def input_fn(r): return r['x'], r['y'], r['w']", {"class_weight": {"0": 2.0}}, "sample weights already"),
        ("def input_fn(r): return r['x'], (r['y'], r['w'])", {"class_weight": {"0": 2.0}}, "returns several labels"),
        (
            "del input_fn\ndef dataset_fn(d, mode): return d.map(lambda r: (r['x'], r['y']))",
            {"sample_weight_column": "w"}, "sample_weight_column: works with an input function; dataset_fn can return",
        ),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_used_are_refused(tmp_path: Path, text: str, options: Any, message: str) -> None:
    fitting.write(tmp_path, f"loss = 'mse'\n{text}\n")
    with pytest.raises(ElasticDLError, match=re.escape(message)):
        Here(tmp_path, **options)


@pytest.mark.parametrize("weight", [np.nan, -1.0])
def test_weights_that_are_not_numbers_stop_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: float
) -> None:
    monkeypatch.setitem(fitting.DATA, "w", np.where(np.arange(len(W)) == 50, np.float32(weight), W))
    fitting.write(tmp_path, "loss = 'mse'")
    with pytest.raises(tf.errors.InvalidArgumentError, match="sample_weight_column: w has values that are missing"):
        Here(tmp_path, sample_weight_column="w").train()


def test_outputs_become_columns() -> None:
    outputs = {"a": np.zeros((2, 1)), "b": (np.zeros((2, 3)), np.ones(2))}
    assert {name: values.shape for name, values in columns(outputs).items()} == {"a": (2,), "b_0": (2, 3), "b_1": (2,)}
    assert list(columns([np.zeros(2), np.zeros(2)])) == ["prediction_0", "prediction_1"]
    assert list(columns(np.zeros(2))) == ["prediction"]


WITHOUT_CALL = """
class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.maker = keras.Sequential([keras.Input((4,)), dense(4, 1)])
        self.critic = keras.Sequential([keras.Input((4,)), dense(1, 3)])
    def train_step(self, x):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self.critic(self.maker(x)) - 1.0) ** 2)
        weights = self.maker.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}
def custom_model():
    model = Pair()
    model.compile(keras.optimizers.SGD(0.1))
    return model
del optimizer
def input_fn(r): return r["x"]
"""
OTHER_FEATURES = """
class Contrast(keras.Model):
    def train_step(self, pairs):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(pairs[:, :2], training=True) - self(pairs[:, 2:], training=True)) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}
def custom_model():
    inputs = keras.Input((2,))
    model = Contrast(inputs, dense(3, 1)(inputs))
    model.compile(keras.optimizers.SGD(0.1))
    return model
del optimizer
def input_fn(r): return r["x"]
"""


@pytest.mark.parametrize("text", [WITHOUT_CALL, OTHER_FEATURES], ids=["without call", "other features"])
def test_a_step_of_ones_own_decides_what_call_gets(tmp_path: Path, text: str) -> None:
    fitting.write(tmp_path, text)

    def fit(module: ModuleType) -> keras.Model:
        model = module.custom_model()
        model.fit(X, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
        return model

    _, theirs = weights_of_fit(tmp_path, fit)
    here = Here(tmp_path)
    assert_same(here.train(), theirs)
