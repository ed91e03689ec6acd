"""Models trained by this project's own trainers in this process, to be compared with `model.fit`."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.data.chunks import Metadata
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, ModelDefinition, load
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.evaluator import Evaluator
from elasticdl_nb.runtime.worker.predictor import Predictor
from elasticdl_nb.runtime.worker.training.local import LocalTrainer

RECORDS, BATCH, EPOCHS = 96, 16, 2
random = np.random.default_rng(0)
DATA = {
    "x": random.normal(size=(RECORDS, 4)).astype("float32"),
    "y": random.normal(size=RECORDS).astype("float32"),
    "w": random.random(RECORDS).astype("float32"),
    "k": random.integers(0, 3, RECORDS),
    "s": np.where(np.arange(6) < 4, random.integers(1, 20, (RECORDS, 6)), 0),
    "t": np.array(["good movie", "bad film", "so so"], object)[random.integers(0, 3, RECORDS)],
    "i": random.random((RECORDS, 8 * 8 * 3)).astype("float32"),
}
PRELUDE = """
import keras
import numpy as np
import tensorflow as tf
from elasticdl_nb import Mode

def init(seed):
    return keras.initializers.RandomUniform(-0.5, 0.5, seed=seed)

def dense(units, seed, activation=None, **more):
    return keras.layers.Dense(units, activation, kernel_initializer=init(seed), **more)

def mlp(**more):
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, dense(1, 2)(dense(8, 1, "relu", **more)(inputs)))

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = dense(8, 1, "relu"), dense(1, 2)

    def call(self, x):
        return self.head(self.hidden(x))

def custom_model():
    return mlp()

def input_fn(r):
    return r["x"], tf.reshape(r["y"], [1])

def optimizer():
    return keras.optimizers.SGD(0.05)
"""
Values = Mapping[str, np.ndarray]


class Session:
    """A worker's session with a master that nobody listens to."""

    generation = 0

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.history: list[dict[str, float]] = []

    def progress(self, step: int, records: int) -> None:
        pass

    def loss(self, step: int, value: float) -> None:
        pass

    def activity(self, activity: str) -> None:
        pass

    def note(self, level: str, text: str) -> None:
        self.notes.append(text)


def write(folder: Path, text: str, *, prelude: str = PRELUDE) -> Path:
    """Write a zoo with the module `m`."""
    (folder / "m.py").write_text(prelude + textwrap.dedent(text))
    return folder


def user_module(folder: Path) -> ModuleType:
    """The module `m` of a zoo, as its author would import it."""
    module = ModuleType("m")
    exec(compile((folder / "m.py").read_text(), str(folder / "m.py"), "exec"), vars(module))
    return module


def forget_settings() -> None:
    """Undo what a model's module may have set for all of Keras."""
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


def weights_of_fit(folder: Path, fit: Callable[[ModuleType], keras.Model]) -> tuple[keras.Model, list[np.ndarray]]:
    """Let `fit` train as its author would; return the model and its weights."""
    forget_settings()
    keras.utils.set_random_seed(1)
    model = fit(user_module(folder))
    return model, model.get_weights()


class Here:
    """A job with one worker in this process; it evaluates at the ends of epochs if `evaluates`."""

    evaluates = False

    def __init__(self, folder: Path, **options: Any) -> None:
        forget_settings()
        sys.modules.pop("m", None)
        keras.utils.set_random_seed(1)
        self.spec = JobSpec(
            kind="train", model_def="m.custom_model",
            **{"num_epochs": EPOCHS, "seed": 1, "minibatch_size": BATCH, **options},
        )  # fmt: skip
        self.folder, self.session, self.layers = folder, Session(), ServedLayers(seed=1)
        with serving(self.layers):
            self.loaded: LoadedModel = load(ModelDefinition.from_spec(self.spec, str(folder)))
            self.data = self.batches(Mode.TRAINING)
            self.loaded.build(self.data.element_spec[0])

    def batches(self, mode: Mode, start: int = 0, stop: int = RECORDS) -> tf.data.Dataset:
        columns = {name: tf.constant(values[start:stop]) for name, values in DATA.items()}
        return self.loaded.batches(
            tf.data.Dataset.from_tensors(columns), mode, Metadata(list(columns), {}), form="columns",
            batch_size=self.spec.minibatch_size, shuffle_seed=None, task_records=RECORDS,
            weight_column=self.spec.sample_weight_column, class_weights=self.spec.class_weight,
        )  # fmt: skip

    def tasks(self) -> Iterator[pb.Task]:
        for epoch in range(self.spec.num_epochs):
            yield pb.Task(id=epoch + 1, epoch=epoch)

    def trainer(self) -> LocalTrainer:
        return LocalTrainer(
            self.spec,
            self.loaded,
            self.session,
            self.data.element_spec,
            lambda step, loss: None,  # type: ignore[arg-type]
        )

    def train(self) -> list[np.ndarray]:
        """Train and return the weights."""
        trainer = self.trainer()
        trainer.callbacks.folder = self.folder / "callbacks"
        self.decisions: list[pb.Decision] = []
        if trainer.callbacks.any:
            self.decide(trainer)
            self.hosted = trainer.callbacks._hosted.callbacks  # type: ignore[union-attr]
        for task in self.tasks():
            trainer.train(task, iter(self.data))
            if not trainer.callbacks.any:
                self.ended(trainer.so_far())
            elif self.decide(trainer, last=task.epoch + 1 == self.spec.num_epochs).over:
                break
        trainer.training_ends()
        trainer.finish()
        return [np.asarray(weight) for weight in self.loaded.model.weights]

    def ended(self, epoch: pb.EpochEnded) -> None:
        assert epoch.records == RECORDS
        self.session.history.append(dict(epoch.logs))

    def decide(self, trainer: LocalTrainer, last: bool = False) -> pb.Decision:
        """Evaluate if the model's callbacks know an epoch by now, and let them decide what comes next."""
        number = len(self.decisions)
        border = pb.Border(
            number=number, state=f"{number - 1}" if number else "", here=True, next=f"{number}", last=last,
            steps=RECORDS // BATCH,
        )  # fmt: skip
        if number and self.evaluates:
            trainer.callbacks.test_begins(number)
            border.evaluation.update(self.evaluate(trainer.callbacks.test_batch))
            trainer.callbacks.test_ends(number, border.evaluation)
        self.decisions.append(decision := trainer.at_border(border))
        if number:
            self.session.history.append(dict(decision.logs))
        return decision

    def evaluate(self, around: Any = contextlib.nullcontext) -> dict[str, float]:
        """Evaluate in two tasks of whole batches, whose states are added up."""
        evaluator = Evaluator(self.loaded, self.session)  # type: ignore[arg-type]
        first = evaluator.evaluate(iter(self.batches(Mode.EVALUATION, 0, 48)), 1, around)[1]
        second = evaluator.evaluate(iter(self.batches(Mode.EVALUATION, 48)), 1, around)[1]
        for one, other in zip(first, second, strict=True):
            assert one.name == other.name
            for mine, more in zip(one.arrays, other.arrays, strict=True):
                mine.values[:] = [a + b for a, b in zip(mine.values, more.values, strict=True)]
        return evaluator.values(first)

    def predict(self) -> Any:
        """The outputs for all records, batch by batch."""
        predictor = Predictor(self.loaded, self.session, worker=0, folder=None, spec=self.spec)  # type: ignore[arg-type]
        return [predictor._outputs(batch)[0] for batch in self.batches(Mode.PREDICTION)]


def assert_same(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float = 1e-5) -> None:
    """Assert that two lists of weights have the same shapes and values."""
    assert [one.shape for one in ours] == [one.shape for one in theirs]
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance, err_msg=f"weight {number}")
