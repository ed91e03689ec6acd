"""A worker's Local training against plain `model.fit` with its own defaults, for four dense models and two batch sizes.

Both train in one process, in turns: a block of the worker's, then one of `fit`. The worker reads a Parquet file, as
in a job that is given arrays, and measures whether compiled steps are faster before the first block. `fit` gets arrays,
and its second epoch counts. A line gives the median of each in records per second, the median of the blocks' ratios
with the lowest and the highest, and what became of the steps. `--jit_compile` shows what the choice is worth.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.feed import StreamSource
from elasticdl_nb.runtime.worker.jobdata import JobData
from elasticdl_nb.runtime.worker.sources import Sources
from elasticdl_nb.runtime.worker.training.local import LocalTrainer

ZOO = """
import keras
import tensorflow as tf
from keras import layers
from elasticdl_nb import batched

def mlp():
    given = outputs = keras.Input((256,))
    for units in (512, 256, 128):
        outputs = layers.Dense(units, "relu")(outputs)
    return keras.Model(given, layers.Dense(10)(outputs))

def cnn():
    given = keras.Input((28, 28, 1))
    outputs = layers.MaxPooling2D()(layers.Conv2D(32, 3, activation="relu")(given))
    outputs = layers.MaxPooling2D()(layers.Conv2D(64, 3, activation="relu")(outputs))
    return keras.Model(given, layers.Dense(10)(layers.Flatten()(outputs)))

def transformer():
    given = outputs = keras.Input((32, 64))
    for _ in range(2):
        outputs = layers.LayerNormalization()(outputs + layers.MultiHeadAttention(4, 16)(outputs, outputs))
        wide = layers.Dense(128, "gelu")(outputs)
        outputs = layers.LayerNormalization()(outputs + layers.Dense(64)(wide))
    return keras.Model(given, layers.Dense(10)(layers.GlobalAveragePooling1D()(outputs)))

def lstm():
    given = keras.Input((32, 32))
    return keras.Model(given, layers.Dense(10)(layers.LSTM(64)(given)))

@batched
def input_fn(records):
    return tf.reshape(records["x"], [-1, *SHAPE]), records["y"]

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def optimizer():
    return keras.optimizers.Adam()
"""
SHAPES = {"mlp": (256,), "cnn": (28, 28, 1), "transformer": (32, 64), "lstm": (32, 32)}
RECORDS = 16384


class Session:
    """A worker's session without a master."""

    generation = 0

    def __init__(self) -> None:
        self.said = ""

    def progress(self, step: int, records: int) -> None:
        """Nobody counts."""

    def loss(self, step: int, value: float) -> None:
        """Nobody draws a curve."""

    def note(self, level: str, text: str) -> None:
        """Keep what was decided."""
        self.said = text


class Worker:
    """Trains on one task after the other."""

    def __init__(self, folder: Path, data: Path, model: str, batch: int, jit: str) -> None:
        options = {"input_fn": f"{model}_zoo.input_fn", "num_epochs": 1000, "jit_compile": jit}
        self.spec = JobSpec.create(
            "train", model_zoo=str(folder), model_def=f"{model}_zoo.{model}", data=str(data), minibatch_size=batch,
            **options,
        )  # fmt: skip
        self.session = Session()
        loaded = load(ModelDefinition.from_spec(self.spec, str(folder)))
        sources = Sources(self.spec, loaded, JobData(self.spec, loaded, folder / f"listings-{data.stem}"))
        self.source: StreamSource = sources[pb.TRAIN]  # type: ignore[assignment]
        self.path = sources.reader(pb.TRAIN).files()[0].path
        loaded.build(self.source.element_spec[0])
        self.trainer = LocalTrainer(
            self.spec, loaded, self.session, self.source.element_spec, lambda step, loss: None  # type: ignore[arg-type]
        )  # fmt: skip
        self.size = batch * self.spec.num_minibatches_per_task
        self.number = 0
        self.announced = [self.announce()]

    def announce(self) -> pb.Task:
        """Begin to read the next task."""
        start = self.number * self.size % RECORDS
        self.number += 1
        ranges = [pb.Range(path=self.path, start=start, end=start + self.size)]
        self.source.announce(task := pb.Task(index=self.number, ranges=ranges))
        return task

    def train(self, seconds: float) -> float:
        """Train for about so long; return the records per second."""
        records, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            self.announced.append(self.announce())
            records += self.trainer.train(self.announced.pop(0), iter(self.source.batches()))
        return records / (time.perf_counter() - began)

    def settle(self, patience: float) -> None:
        """Train until it is decided how."""
        until = time.perf_counter() + patience
        self.train(1)
        while self.spec.jit_compile == "auto" and not self.session.said and time.perf_counter() < until:
            self.train(0.3)


class Fit(keras.callbacks.Callback):
    """What a Keras user would write."""

    def __init__(self, folder: Path, model: str, batch: int, x: Any, y: Any) -> None:
        super().__init__()
        definition = ModelDefinition(zoo=str(folder), model_def=f"{model}_zoo.{model}")
        self.fitted = load(definition).model
        self.fitted.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self.x, self.y, self.batch, self.ends = x, y, batch, [0.0]
        self.records = 32 * batch
        self.train(1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the clock."""
        self.ends.append(time.perf_counter())

    def train(self, seconds: float) -> float:
        """Train for about so long; return the records per second of the second epoch."""
        x, y = self.x[: self.records], self.y[: self.records]
        self.fitted.fit(x, y, batch_size=self.batch, epochs=2, verbose=0, callbacks=[self])
        rate = len(x) / (self.ends[-1] - self.ends[-2])
        self.records = max(8 * self.batch, min(len(self.x), int(rate * seconds) // self.batch * self.batch))
        return rate


def compare(folder: Path, model: str, batch: int, jit: str, blocks: int, seconds: float) -> float:
    """Print a line for a model and batch size; return the median ratio."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(RECORDS, *SHAPES[model])).astype(np.float32)
    y = rng.integers(0, 10, RECORDS)
    data = folder / f"{model}-{batch}.parquet"
    flat = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), math.prod(SHAPES[model]))
    pa.parquet.write_table(pa.table({"x": flat, "y": y}), data)
    (folder / f"{model}_zoo.py").write_text(ZOO.replace("SHAPE", str(SHAPES[model])))
    fit, worker = Fit(folder, model, batch, x, y), Worker(folder, data, model, batch, jit)
    worker.settle(30)
    pairs = [(worker.train(seconds), fit.train(seconds)) for _ in range(blocks)]
    worker.source.close()
    ratios = [mine / theirs for mine, theirs in pairs]
    mine, theirs = (statistics.median(one) for one in zip(*pairs, strict=True))
    said = worker.session.said.removeprefix("jit_compile: ") or f"jit_compile={jit}"
    print(
        f"{model}, batch {batch}: Local {mine:,.0f} records/s, fit {theirs:,.0f}; ratio "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); {said}",
        flush=True,
    )
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(SHAPES))
    parser.add_argument("--batch", type=int, nargs="*", default=[64, 512])
    parser.add_argument("--jit_compile", default="auto")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for model in given.models:
            for batch in given.batch:
                args = model, batch, given.jit_compile, given.blocks, given.seconds
                ratios.append(compare(Path(folder), *args))
    print(f"geometric mean of {len(ratios)} ratios: {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
