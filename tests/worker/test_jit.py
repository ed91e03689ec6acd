"""Compiled steps change how long training takes, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import fitting
import keras
import numpy as np
import pytest
from fitting import DATA, Here, assert_same, weights_of_fit
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.worker.jit import steps, trial
from elasticdl_nb.runtime.worker.jit.trial import Stage, Trial, Way
from elasticdl_nb.runtime.worker.unsuitable import Unsuitable

# ------------------------------------------------------------ the decision


@given(
    graph=st.floats(1e-4, 3.0),
    ratio=st.floats(0.1, 5.0),
    noise=st.lists(st.floats(0.99, 1.01), min_size=1, max_size=7),
    compiles_after=st.integers(0, 50),
    fails=st.booleans(),
    left=st.sampled_from([math.inf, 1e9]),
)
def test_a_trial_takes_what_is_faster_and_ends(
    graph: float, ratio: float, noise: list[float], compiles_after: int, fails: bool, left: float
) -> None:
    play, spent, waited, ways = Trial(), 0.0, 0, []
    for number in range(200_000):
        if play.stage is Stage.DECIDED:
            break
        if play.stage is Stage.WANTED:
            assert spent >= trial.PATIENCE and play.way is Way.GRAPH
            waited += 1
            if waited > compiles_after:
                play.failed() if fails else play.compiled()
                continue
        seconds = graph * noise[number % len(noise)] * (ratio if play.way is Way.COMPILED else 1)
        spent += seconds if number else 0
        ways.append(play.way)
        play.step_made(seconds, left)
    assert play.stage is Stage.DECIDED
    compiled = sum(way is Way.COMPILED for way in ways)
    if fails:
        assert play.way is Way.GRAPH and compiled == 0
    else:
        assert play.way is (Way.COMPILED if ratio < 0.9 else Way.GRAPH if ratio > 1 else play.way)
        blocks = 4 * max(2, math.ceil(trial.BLOCK / (graph * ratio * 0.99)))
        assert 0 < compiled <= (blocks / 4 if ratio > 1.6 else blocks) + 1
    for _ in range(3):  # and nothing changes any more
        before = play.way
        play.step_made(graph, left)
        assert play.way is before


@given(st.lists(st.floats(0, 0.5), max_size=200), st.integers(0, 40))
def test_short_training_is_never_tried(seconds: list[float], left: int) -> None:
    for play, leaves in ((Trial(), math.inf), (Trial(), left)):
        spent = 0.0
        for number, one in enumerate(seconds):
            play.step_made(one, leaves)
            spent += one if number else 0
            enough = spent >= trial.PATIENCE and leaves * spent / max(number, 1) >= trial.WORTH
            assert enough or play.stage is Stage.WAITING or spent >= trial.PATIENCE
    assert sum(seconds[1:]) >= trial.PATIENCE or play.stage is Stage.WAITING


# ------------------------------------------------------------ what training gives

EPOCHS = 4
X, Y = DATA["x"], DATA["y"][:, None]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Trials begin at once, wait for the compiler, and take compiled steps."""
    for name, value in {
        "PATIENCE": 0.0,
        "STEPS_BEFORE": 2,
        "BLOCK": 0.0,
        "BETTER": math.inf,
        "HOPELESS": math.inf,
    }.items():
        monkeypatch.setattr(trial, name, value)
    monkeypatch.setattr(trial, "_TURNS", (Way.GRAPH, Way.COMPILED))
    monkeypatch.setattr(steps._Attempt, "is_alive", lambda self: self.join() and False)
    return monkeypatch


def fit(module: ModuleType) -> keras.Model:
    model = module.custom_model()
    if not model.compiled:
        model.compile(module.optimizer(), module.loss, metrics=["mae"])
    model.fit(X, Y, batch_size=20, epochs=EPOCHS, shuffle=False, verbose=0)
    return model


def job(folder: Path, jit: str, **options: Any) -> Here:
    """A job whose epochs end with a batch of 16 instead of 20 records."""
    given = {"minibatch_size": 20, "num_epochs": EPOCHS, "seed": 0, "jit_compile": jit, **options}
    made = Here(folder, **given)
    made.losses = []  # type: ignore[attr-defined]
    made.session.loss = lambda step, value: made.losses.append(value)  # type: ignore[attr-defined, method-assign]
    return made


NORMALIZED = """
def custom_model():
    i = keras.Input((4,))
    h = keras.layers.BatchNormalization()(dense(8, 1, "relu")(i))
    h = keras.layers.Reshape((2, 4))(h)
    h = keras.layers.LSTM(5, kernel_initializer=init(2), recurrent_initializer=init(4))(h)
    return keras.Model(i, dense(1, 3)(h))
def optimizer(): return keras.optimizers.Adam(0.01)
loss = "mse"
eval_metrics_fn = lambda: {"mae": keras.metrics.MeanAbsoluteError()}
"""
OWN = """
class Own(Net):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.square(self(x, training=True) - y))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}
def custom_model():
    model = Own(); model.compile(optimizer(), "mse"); return model
"""


@pytest.mark.parametrize("text", [NORMALIZED, OWN], ids=["a model", "own steps"])
def test_compiled_steps_give_what_fit_gives(tmp_path: Path, hasty: pytest.MonkeyPatch, text: str) -> None:
    fitting.write(tmp_path, text)
    theirs = weights_of_fit(tmp_path, fit)[1]
    losses = {}
    for jit in ("false", "true", "auto"):
        made = job(tmp_path, jit)
        assert_same(made.train(), theirs)
        losses[jit] = made.losses  # type: ignore[attr-defined]
        said = [note for note in made.session.notes if note.startswith("jit_compile")]
        assert [*map(len, (losses[jit], losses["false"]))] == [EPOCHS * 5] * 2
        np.testing.assert_allclose(losses[jit], losses["false"], rtol=1e-5, atol=1e-5)
        if jit == "auto":
            assert len(said) == 1, "a batch of another size is made by the graph"
            assert "jit_compile: steps of 20 records take" in said[0] and "so they are compiled" in said[0]
        else:
            assert not said


UNFIT = {
    "random numbers": ("keras.layers.Dropout(0.5, seed=3)(dense(8, 1)(i))", "it draws random numbers"),
    "code in Python": (
        "keras.layers.Lambda(lambda x: tf.ensure_shape(tf.numpy_function(np.tanh, [x], tf.float32), x.shape), "
        "output_shape=lambda s: s)(dense(8, 1)(i))",
        "XLA does not support PyFunc",
    ),
    "checks": (
        "keras.layers.Lambda(lambda x: tf.debugging.check_numerics(x, 'here'))(dense(8, 1)(i))",
        "CheckNumerics would not report",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_compiled_trains_as_if_it_had_not_been_tried(
    tmp_path: Path, hasty: pytest.MonkeyPatch, name: str
) -> None:
    layer, reason = UNFIT[name]
    text = (
        f"def custom_model():\n    i = keras.Input((4,)); return keras.Model(i, dense(1, 2)({layer}))\nloss = 'mse'\n"
    )
    fitting.write(tmp_path, text)
    plain = job(tmp_path, "false").train()
    tried = job(tmp_path, "auto")
    for mine, other in zip(tried.train(), plain, strict=True):
        np.testing.assert_array_equal(mine, other)
    (said,) = tried.session.notes
    assert said.startswith("jit_compile: steps are not compiled:")
    assert reason in said


def test_a_seed_keeps_the_graph_and_the_author_decides(tmp_path: Path, hasty: pytest.MonkeyPatch) -> None:
    fitting.write(tmp_path, "loss = 'mse'")
    seeded = job(tmp_path, "auto", seed=1)
    seeded.train()
    assert not seeded.session.notes
    fitting.write(
        tmp_path,
        "def custom_model():\n    made = mlp(); made.compile(optimizer(), 'mse', run_eagerly=True); return made",
    )
    eager = job(tmp_path, "true")
    eager.train()
    assert eager.session.notes == ["jit_compile: steps are not compiled: the model was compiled with run_eagerly"]


def test_a_compiled_step_says_what_it_cannot_look_up(tmp_path: Path, hasty: pytest.MonkeyPatch) -> None:
    text = """
    def custom_model():
        i = keras.Input((6,), dtype="int64")
        return keras.Model(i, dense(1, 2)(keras.layers.Flatten()(keras.layers.Embedding(LAST, 4, name="only")(i))))
    def input_fn(r): return r["s"], tf.reshape(r["y"], [1])
    loss = "mse"
    """
    largest = int(DATA["s"].max())
    fitting.write(tmp_path, text.replace("LAST", str(largest)))
    with pytest.raises(Unsuitable, match=f"embedding only: id {largest} is not one of its {largest}"):
        job(tmp_path, "true").train()
    fitting.write(tmp_path, text.replace("LAST", str(largest + 1)))
    good = job(tmp_path, "true")
    good.train()
    assert not good.session.notes


def test_a_job_restored_during_a_trial_goes_on_where_it_was(tmp_path: Path, hasty: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo").mkdir()
    fitting.write(tmp_path / "zoo", NORMALIZED)
    whole = job(tmp_path / "zoo", "false").train()
    first = job(tmp_path / "zoo", "auto")
    trainer = first.trainer()
    tasks = list(first.tasks())
    trainer.train(tasks[0], iter(first.data))
    (under_way, *_) = trainer._apply_batch._trials.values()
    assert under_way.stage is Stage.TIMING
    checkpoints.commit(trainer.save(tmp_path / "saved", "job"), {}, "job")
    second = job(tmp_path / "zoo", "auto")
    again = second.trainer()
    again.restore(str(tmp_path / "saved"), keep_step=True)
    for task in tasks[1:]:
        again.train(task, iter(second.data))
    assert_same([np.asarray(one) for one in second.loaded.model.weights], whole)


def test_the_option_is_refused_where_it_has_no_effect() -> None:
    given: dict[str, Any] = {"model_def": "m.M", "data": "d"}
    assert JobSpec.create("train", **given, jit_compile=True).jit_compile == "true"
    for wrong, options in (
        ("sometimes", {}),
        ("true", {"distribution_strategy": "AllreduceStrategy"}),
        ("false", {"distribution_strategy": "AllreduceStrategy", "num_workers": 2}),
    ):
        with pytest.raises(OptionError, match="jit_compile"):
            JobSpec.create("train", **given, jit_compile=wrong, **options)
