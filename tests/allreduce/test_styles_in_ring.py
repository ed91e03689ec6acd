"""Models of many styles: two workers learn what one learns from their batches together, or the model is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from rings import at_once
from test_allreduce_trainer import Together, both, weights

from elasticdl_nb.runtime.allreduce.meeting import Meeting
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training import own_step
from elasticdl_nb.runtime.worker.training.ring import AllreduceTrainer
from elasticdl_nb.runtime.worker.training.strategies import strategy_to_try

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


def with_step(step: str) -> str:
    """A model whose train_step is this."""
    return (
        """
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1)
        self.count = tf.Variable(0, dtype="int64", trainable=False)
    def call(self, x): return self.head(x)
    def train_step(self, data):
        x, y = data
"""
        + step
        + """
def custom_model():
    model = Own()
    model.compile(keras.optimizers.SGD(0.05))
    return model
del optimizer, loss
"""
    )


OWN: dict[str, tuple[str, Any]] = {
    "GAN, gradient penalty, clipped": (
        """
class Gan(keras.Model):
    def __init__(self):
        super().__init__()
        self.maker = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        self.critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(1)])
        self.score = keras.metrics.Mean("score")
    def compile(self, of_critic, of_maker):
        super().compile()
        self.of_critic, self.of_maker = of_critic, of_maker
    def train_step(self, data):
        real = data[0]
        noise = real[:, ::-1]
        for _ in range(2):
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
            for weight in weights:
                weight.assign(keras.ops.clip(weight, -0.4, 0.4))
        with tf.GradientTape() as tape:
            loss = -keras.ops.mean(self.critic(self.maker(noise)))
        weights = self.maker.trainable_weights
        self.of_maker.apply_gradients(zip(tape.gradient(loss, weights), weights))
        self.score.update_state(loss)
        return {"score": self.score.result()}
    @property
    def metrics(self): return [self.score]
def custom_model():
    model = Gan()
    model.compile(keras.optimizers.Adam(0.01, global_clipnorm=0.5), keras.optimizers.RMSprop(0.02))
    return model
del optimizer, loss
""",
        (X, ONE),
    ),
    "VAE, its own losses": (
        """
class Vae(keras.Model):
    def __init__(self):
        super().__init__()
        self.mean, self.log, self.decoder = keras.layers.Dense(3), keras.layers.Dense(3), keras.layers.Dense(4)
        self.tracker = keras.metrics.Mean("loss")
    def call(self, x): return self.decoder(self.mean(x) + 0.0 * self.log(x))
    @property
    def metrics(self): return [self.tracker]
    def train_step(self, data):
        x = data[0]
        with tf.GradientTape() as tape:
            mean, log = self.mean(x), self.log(x)
            again = self.decoder(mean + keras.ops.exp(0.5 * log) * keras.ops.sin(7.0 * x[:, :3]))
            loss = keras.ops.mean((again - x) ** 2)
            loss += -0.05 * keras.ops.mean(1 + log - mean**2 - keras.ops.exp(log))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}
def custom_model(): return Vae()
def optimizer(): return keras.optimizers.Adam(0.02)
""",
        (X, ONE),
    ),
    "teacher that follows its student, normalized, every second step": (
        """
class Teacher(keras.Model):
    def __init__(self):
        super().__init__()
        self.student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
        self.teacher = keras.models.clone_model(self.student)
        self.center = self.add_weight(shape=(4,), initializer="zeros", trainable=False)
        self.steps = tf.Variable(0, dtype="int64", trainable=False)
    def call(self, x): return self.student(x)
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
            loss += keras.ops.mean((self.teacher(x) - self(x, training=True)) ** 2)
        weights = self.student.trainable_weights
        gradients = tape.gradient(loss, weights)
        self.steps.assign_add(1)
        tf.cond(self.steps % 2 == 0, lambda: self.optimizer.apply(gradients, weights), lambda: None)
        for old, new in zip(self.teacher.weights, self.student.weights):
            old.assign(0.9 * old + 0.1 * new)
        self.center.assign(0.9 * self.center + 0.1 * keras.ops.mean(x, 0))
        return {"loss": loss}
def custom_model(): return Teacher()
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
    "a train function": (
        """
class Net(keras.Sequential):
    def make_train_function(self, force=False): return super().make_train_function(force)
def custom_model(): return Net([keras.layers.Dense(1)])
""",
        (X, ONE),
        "Net.make_train_function: with AllreduceStrategy, workers make the steps together and do not call it",
    ),
    "a train_step that is run eagerly": (
        """
class Net(keras.Sequential):
    def train_step(self, data): return super().train_step(data)
def custom_model():
    model = Net([keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model
del loss, optimizer
""",
        (X, ONE),
        "run_eagerly=True does not work with AllreduceStrategy for Net, which has a train_step of its own",
    ),
    "a train_step that compares records": (
        with_step("""
        with tf.GradientTape() as tape:
            outputs = self(x)
            loss = keras.ops.mean(keras.ops.logsumexp(keras.ops.matmul(outputs, keras.ops.transpose(outputs)), 1))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}
"""),
        (X, ONE),
        "train_step: a batch's gradients are not the means of those of its records",
    ),
    "a train_step that applies when a batch says so": (
        with_step("""
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(x) - y) ** 2)
        gradients = tape.gradient(loss, self.trainable_weights)
        tf.cond(
            tf.shape(x)[0] > 4, lambda: self.optimizer.apply(gradients, self.trainable_weights), lambda: None,
        )
        return {"loss": loss}
"""),
        (X, ONE),
        "train_step: which gradients it applies depends on the batch",
    ),
    "a train_step that sets weights by its batch": (
        with_step("""
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(x) - y) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.head.bias.assign(keras.ops.max(x, 0)[:1])
        return {"loss": loss}
"""),
        (X, ONE),
        "train_step: .*bias is not the same in all workers after a step",
    ),
    "a train_step that counts its records": (
        with_step("""
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(x) - y) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.count.assign_add(tf.cast(10 * x[0, 0], "int64"))
        return {"loss": loss}
"""),
        (X, ONE),
        "or do not end it with the same counters",
    ),
    "a train_step with a hidden optimizer": (
        """
HIDDEN = keras.optimizers.Adam(0.1)
"""
        + with_step("""
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(x) - y) ** 2)
        HIDDEN.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}
"""),
        (X, ONE),
        "train_step: it applies the optimizer Adam, which is no attribute of the model",
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


@pytest.mark.parametrize("style", [*STYLES, *OWN])
def test_two_workers_learn_what_one_learns(together: Any, style: str) -> None:
    text, form = (STYLES | OWN)[style]
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


def begin_alike(*jobs: Together) -> None:
    """Give all trainers the weights and optimizers of the first."""
    first = jobs[0].trainers[0]._state.read()
    for job in jobs:
        for trainer in job.trainers:
            trainer._state.write(first)


def states(trainer: AllreduceTrainer) -> list[np.ndarray]:
    """Weights, and all that the optimizers keep."""
    return [np.asarray(one) for one in (*trainer.model.weights, *trainer._optimizers().variables)]


TWO_OPTIMIZERS = """
class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = keras.layers.Dense(3), keras.layers.Dense(1)
        self.first, self.second = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.1, momentum=0.9)
        self.tracker = keras.metrics.Mean("loss")
    def call(self, x): return self.two(self.one(x))
    @property
    def metrics(self): return [self.tracker]
    def train_step(self, data):
        x, y = data
        for optimizer, layer in ((self.first, self.one), (self.second, self.two), (self.first, self.one)):
            with tf.GradientTape() as tape:
                loss = keras.ops.mean((self(x) - y) ** 2)
            optimizer.apply(tape.gradient(loss, layer.trainable_weights), layer.trainable_weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}
def custom_model():
    model = Pair()
    model.compile()
    return model
del optimizer, loss
"""


def regroup(two: Together) -> None:
    """Let the first worker leave its ring, and both form one."""
    two.sessions[0].orders.receive(pb.MasterMessage(regroup=pb.Regroup(generation=two.generation)))
    two.form_ring(0, 1)


class Killed(BaseException):
    """A worker is killed."""


def test_a_worker_that_dies_within_a_step_leaves_no_part_of_it(together: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far the step was: after the first optimizer, after the second, or at its end."""
    form = (X, ONE)
    two, alone = together(2, TWO_OPTIMIZERS, form), together(1, TWO_OPTIMIZERS, form)
    begin_alike(two, alone)
    start = alone.trainers[0]._state.read()
    alone.form_ring(0)
    calls, dies_at = 0, 0

    class Dying(Meeting):
        def average(self, what: bytes, values: Any, *, exact: bool = False) -> Any:
            nonlocal calls
            if self._collective.world == 2 and self._collective.rank == 1:
                calls += 1
                if calls > dies_at:
                    self._collective.abort()
                    raise Killed
            return super().average(what, values, exact=exact)

    monkeypatch.setattr(own_step, "Meeting", Dying)
    for dies_at in range(5):  # three times an optimizer, and the end in two parts
        calls = 0
        for trainer in (*two.trainers, *alone.trainers):
            trainer._state.write(start)
        mine, other = batch(form, 5, dies_at), batch(form, 3, 100 + dies_at)
        regroup(two)

        def die(other: Any = other) -> None:
            with pytest.raises((Killed, ModelError)):
                two.trainers[1].train(pb.Task(id=2, attempt=1), iter([other]))
            two.form_ring(0)

        at_once([lambda mine=mine: two.train({0: [mine]}), die])
        alone.train({0: [mine]})
        assert calls == dies_at + 1
        assert [float(one.model.tracker.count) for one in (two.trainers[0], alone.trainers[0])] == [dies_at + 1] * 2
        for one, expected in zip(states(two.trainers[0]), states(alone.trainers[0]), strict=True):
            np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)

    # One that has no batch takes over what the other has made.
    regroup(two)
    idle = two.trainers[1]

    def follow() -> None:
        idle._be_in_ring()
        for _ in range(2):
            idle._step_without_batch()

    batches = [batch(form, 5, 200 + step) for step in range(2)]
    at_once([lambda: two.train({0: batches}, epoch=1), follow])
    alone.train({0: batches}, epoch=1)
    for trainer in two.trainers:
        for one, expected in zip(states(trainer), states(alone.trainers[0]), strict=True):
            np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("refused", [True, False])
def test_own_steps_are_judged_before_a_job_starts(tmp_path: Path, refused: bool) -> None:
    text, form, message = REFUSED["a train_step that compares records"]
    (tmp_path / "tried.py").write_text(PRELUDE + (text if refused else TWO_OPTIMIZERS))
    spec = JobSpec(kind="train", num_workers=2, distribution_strategy="AllreduceStrategy")
    loaded = load(ModelDefinition(zoo=str(tmp_path), model_def="tried.custom_model"))
    loaded.build(X)
    loaded.compile()
    check = strategy_to_try(spec).check
    with pytest.raises(ModelError, match=message) if refused else contextlib.nullcontext():
        check(spec, loaded, lambda: batch(form, 6, 1))
