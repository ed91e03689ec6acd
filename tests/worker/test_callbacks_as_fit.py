"""Callbacks in a job do what they do in `fit`, also if another process takes them over between two epochs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fitting
import keras
import numpy as np
import pytest
from fitting import BATCH, DATA, RECORDS, Here, assert_same, weights_of_fit

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.worker.predictcallbacks import check_predict_callbacks
from elasticdl_nb.runtime.worker.predictor import Predictor

EPOCHS = 4
OWN = """
class Own(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen, self.hooks = np.zeros(2), []

    def __getattribute__(self, name):
        if name.startswith("on_") and "batch" not in name:
            hooks = object.__getattribute__(self, "hooks")
            return lambda *given, **named: (hooks.append(name), object.__getattribute__(self, name)(*given, **named))
        return object.__getattribute__(self, name)

    def on_epoch_end(self, epoch, logs=None):
        self.seen = self.seen + [logs["loss"], epoch]
        logs["seen"] = self.seen[1]
        for variable in self.model.trainable_weights:
            variable.assign(variable * 0.5)

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            kernel = self.model.layers[1].kernel
            kernel.assign(kernel * 1.1)

def callbacks():
    return [Own()]
"""
FREEZES = """
class Freezes(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.model.layers[1].trainable = False
            self.model.make_train_function(force=True)

def callbacks(): return [Freezes()]
"""
CASES = {
    "LearningRateScheduler": "LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1))",
    "ReduceLROnPlateau": "ReduceLROnPlateau('val_loss', patience=1, min_delta=1.0)",
    "EarlyStopping": "EarlyStopping('val_loss', patience=2, min_delta=1.0, restore_best_weights=True)",
    "SwapEMAWeights": "SwapEMAWeights(swap_on_epoch=True)",
    "CSVLogger": "CSVLogger('{log}')",
    "LambdaCallback": "LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(more=epoch + 0.5))",
    "TerminateOnNaN": "TerminateOnNaN()",
    "ModelCheckpoint": "ModelCheckpoint('{log}.keras', save_best_only=True)",
    "own": OWN,
    "freezes": FREEZES,
}


def write(folder: Path, name: str, log: str) -> None:
    made = CASES[name].replace("{log}", log)
    made = made if "class" in made else f"def callbacks(): return [keras.callbacks.{made}]"
    ema = "def optimizer(): return keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9)\n"
    fitting.write(folder, "loss = 'mse'\n" + (ema if name == "SwapEMAWeights" else "") + made)


class Relayed(Here):
    """A job in which another process has the callbacks after every epoch."""

    evaluates = True

    def decide(self, trainer, last=False):
        if self.decisions:
            trainer.callbacks._hosted = None
            trainer.callbacks.task_begins(
                fitting.pb.Border(number=len(self.decisions), state=f"{len(self.decisions) - 1}", here=True)
            )
        return super().decide(trainer, last)


@pytest.mark.parametrize("name", CASES)
def test_the_same_weights_and_history_as_fit(tmp_path: Path, name: str) -> None:
    x, y = DATA["x"], DATA["y"][:, None]

    def fit(module):
        model = module.custom_model()
        model.compile(module.optimizer(), module.loss)
        made = module.callbacks()
        model.fit(
            x, y, epochs=EPOCHS, batch_size=BATCH, shuffle=False, verbose=0, callbacks=made, validation_data=(x, y)
        )
        model.made = made
        return model

    write(tmp_path, name, str(tmp_path / "theirs"))
    model, theirs = weights_of_fit(tmp_path, fit)
    kept = model.history.history
    for kind in (Here, Relayed) if name in ("own", "ReduceLROnPlateau", "EarlyStopping", "CSVLogger") else (Here,):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        write(folder, name, str(folder / "ours"))
        here = kind(folder)
        here.evaluates, here.spec = True, dataclasses.replace(here.spec, num_epochs=EPOCHS)
        assert_same(here.train(), theirs)
        history = here.session.history
        assert {key: pytest.approx([one[key] for one in history], rel=1e-4) for key in history[0]} == kept
        assert not here.session.notes
        if name == "CSVLogger":
            ours, fits = np.genfromtxt(folder / "ours", delimiter=",", names=True), np.genfromtxt(
                tmp_path / "theirs", delimiter=",", names=True
            )  # fmt: skip
            assert ours.dtype.names == fits.dtype.names
            np.testing.assert_allclose(ours.tolist(), fits.tolist(), rtol=1e-4)
        if name == "own" and kind is Here:
            (host,) = here.hosted
            assert host.hooks == model.made[0].hooks
            assert host.params["steps"] == model.made[0].params["steps"]


def test_what_was_decided_is_followed_and_not_decided_again(tmp_path: Path) -> None:
    write(tmp_path, "own", "")
    here = Here(tmp_path)
    here.train()
    before = [np.asarray(weight) for weight in here.loaded.model.weights]
    trainer = here.trainer()
    trainer.callbacks.folder = tmp_path / "callbacks"
    last = len(here.decisions) - 1
    border = fitting.pb.Border(number=last, state=f"{last - 1}", here=True, next=f"{last}", last=True)
    assert trainer.at_border(border) == here.decisions[last]
    assert_same([np.asarray(weight) for weight in here.loaded.model.weights], before)


def test_weights_that_other_workers_would_not_get_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "own", "")
    here = Here(tmp_path)
    trainer = here.trainer()
    trainer.callbacks.folder = tmp_path / "callbacks"
    trainer.callbacks._watched = True
    trainer.at_border(fitting.pb.Border(number=0, here=True, next="0"))
    with pytest.raises(ModelError, match="on_train_batch_end changes weights, of which other workers do not learn"):
        trainer.train(fitting.pb.Task(epoch=0), iter(here.data))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("make_train_function(force=True)", "called make_train_function, of which other workers do not learn"),
        ("compile('sgd', 'mse')", "has compiled the model again, which is not possible while it trains"),
    ],
)
def test_a_step_that_other_workers_would_not_get_is_refused(tmp_path: Path, call: str, message: str) -> None:
    fitting.write(
        tmp_path,
        "loss = 'mse'\nclass New(keras.callbacks.Callback):\n    def on_epoch_begin(self, epoch, logs=None):\n"
        f"        self.model.{call}\ndef callbacks(): return [New()]",
    )
    trainer = Here(tmp_path).trainer()
    trainer.callbacks.folder = tmp_path / "callbacks"
    trainer.callbacks.watch_compile(None)
    with pytest.raises(ModelError, match=message):
        trainer.at_border(fitting.pb.Border(number=0, here=True, next="0"))


def test_a_monitored_metric_that_is_not_there_is_told(tmp_path: Path) -> None:
    fitting.write(
        tmp_path, "loss = 'mse'\ndef callbacks(): return [keras.callbacks.EarlyStopping('val_nothing', mode='min')]"
    )
    here = Here(tmp_path)
    here.train()
    (note,) = here.session.notes
    assert "callbacks: Early stopping conditioned on metric `val_nothing` which is not available" in note


def test_all_callbacks_of_keras_are_tried_or_in_the_table() -> None:
    kinds = {name for name in dir(keras.callbacks) if name[0].isupper()} - {"Callback", "CallbackList"}
    untried = {"BackupAndRestore", "History", "OrbaxCheckpoint", "ProgbarLogger", "RemoteMonitor", "TensorBoard"}
    assert kinds == (CASES.keys() - {"own", "freezes"}) | untried


PREDICTS = """
SEEN = []
class Predicts(keras.callbacks.Callback):
    def on_predict_begin(self, logs=None): SEEN.append(("begin", self.model.name, self.params["epochs"]))
    def on_predict_batch_begin(self, batch, logs=None): SEEN.append(("batch", batch))
    def on_predict_batch_end(self, batch, logs=None): SEEN.append((batch, np.array(logs["outputs"])))
    def on_predict_end(self, logs=None): SEEN.append(("end",))
def callbacks(): return [Predicts(), keras.callbacks.EarlyStopping()]
loss = "mse"
"""


def test_predictions_call_their_hooks(tmp_path: Path) -> None:
    fitting.write(tmp_path, PREDICTS)
    here = Here(tmp_path)
    predictor = Predictor(here.loaded, here.session, worker=0, folder=None, spec=here.spec)  # type: ignore[arg-type]
    for index, (start, stop) in enumerate([(0, 4 * BATCH), (4 * BATCH, RECORDS)]):  # two tasks
        predictor.predict(index, iter(here.batches(Mode.PREDICTION, start, stop)))
    predictor.end()
    ours = here.loaded._module.SEEN
    module = fitting.user_module(tmp_path)
    here.loaded.model.predict(DATA["x"], batch_size=BATCH, verbose=0, callbacks=module.callbacks())
    assert len(ours) == len(module.SEEN) == 2 + 2 * RECORDS // BATCH
    for one, other in zip(ours, module.SEEN, strict=True):
        assert one[0] == other[0]
        for mine, theirs in zip(one[1:], other[1:], strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("kind", ["Predicts()", "keras.callbacks.LambdaCallback(on_predict_end=lambda logs: None)"])
def test_hooks_of_predictions_are_refused_with_several_workers(tmp_path: Path, kind: str) -> None:
    fitting.write(tmp_path, PREDICTS + f"def callbacks(): return [{kind}]")
    with pytest.raises(ModelError, match=r"callbacks: \w+\.on_predict_\w+ does not work with several workers"):
        check_predict_callbacks(Here(tmp_path).loaded.callbacks(), 2)
    check_predict_callbacks([keras.callbacks.EarlyStopping(), keras.callbacks.ModelCheckpoint("a.keras")], 2)
