"""A model whose rows count how often they are used, whatever strategy trains it.

Each record has a row of its own, and each use of it adds exactly one to that row, because the loss is the negative sum
of the rows of a batch, and the optimizer is plain SGD with a learning rate of one. So the trained model says how often
each record was used. The module's other model, `numbers`, predicts each record's own number.

With all-reduce, a gradient is a mean over workers, whose number changes. There the optimizer is `signs`, which adds one
to each row that has a gradient, of whatever size.

The metric of `counted` is the number of records that an evaluation has seen. Of those, `tested` also adds up how often
they had been used.

Steps take $TEST_SLOW seconds as long as the file $TEST_HOLD exists, or always if no file is named.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files, read

MODEL = """
import os
import time

import elasticdl_nb
import keras
import tensorflow as tf


def custom_model():
    number = keras.Input((1,), dtype="int64", name="number")
    rows = keras.layers.Embedding({records}, 1, embeddings_initializer="zeros", name="uses")(number)
    return keras.Model({{"number": number}}, keras.layers.Flatten()(rows))


def loss(labels, output):
    return -keras.ops.sum(output)


def optimizer():
    return keras.optimizers.SGD(1.0)


def signs():
    return keras.optimizers.Lion(1.0, beta_1=1e-9, beta_2=1.0)


def counted():
    return {{"records": Records()}}


class Records(keras.metrics.Sum):
    def update_state(self, labels, output, sample_weight=None):
        return super().update_state(keras.ops.ones_like(labels))


def tested():
    return {{"records": Records(), "learnt": Learnt()}}


class Learnt(keras.metrics.Sum):
    def update_state(self, labels, output, sample_weight=None):
        return super().update_state(output)


@elasticdl_nb.batched
def input_fn(records, mode):
    number = keras.ops.reshape(records["number"], (-1, 1))
    return {{"number": number}}, keras.ops.zeros_like(records["number"])


def numbers():
    number = keras.Input((1,), dtype="int64", name="number")
    return keras.Model({{"number": number}}, Numbers(name="numbers")(number))


class Numbers(keras.layers.Layer):
    def build(self, shape):
        self.unused = self.add_weight(shape=(1,), initializer="zeros")

    def call(self, inputs):
        tf.py_function(slow, [], [])
        return keras.ops.cast(inputs, "float32") + 0.0 * self.unused


def slow():
    if os.path.exists(os.environ.get("TEST_HOLD", "/")):
        time.sleep(float(os.environ.get("TEST_SLOW", "0")))


class Slow(keras.callbacks.Callback):
    in_every_worker = True

    def on_train_batch_begin(self, batch, logs=None):
        slow()


def callbacks():
    return [Slow()]
"""


def write(folder: Path, records: int, *, skewed: bool = False) -> dict[str, object]:
    """Write the model and its data; return the options of a job that trains it.

    Each record has its own number, or one of a few hundred, some of them often, where they are to be `skewed`.
    """
    (folder / "zoo").mkdir(parents=True)
    (folder / "zoo" / "counting.py").write_text(MODEL.format(records=records))
    numbers = np.random.default_rng(0).zipf(1.3, records) % records if skewed else np.arange(records)
    pq.write_table(pa.table({"number": numbers}), folder / "data.parquet", row_group_size=1000)
    return {
        "model_zoo": folder / "zoo", "model_def": "counting.custom_model", "data": folder / "data.parquet",
        "output": folder / "out", "saved_model": False,
    }  # fmt: skip


def uses(folder: Path) -> np.ndarray:
    """How often each record was used, float [records], according to the trained model."""
    arrays = safetensors.numpy.load_file(folder / "out" / "parameters.safetensors")
    (rows,) = (array for name, array in arrays.items() if "uses" in name or array.ndim == 2)
    return rows[:, 0]


def held(checkpoints: Path) -> dict[str, object]:
    """What the newest checkpoint of servers holds of the bounded table `uses`, but for the order of its rows."""
    newest = max(checkpoints.glob("step-*"), key=lambda path: int(path.name.partition("-")[2]))
    rows: dict[int, float] = {}
    used: dict[int, int] = {}
    counted: dict[int, int] = {}
    found = {"admitted": 0, "evicted": 0}
    for files in checkpoint_files(newest):
        for frame in read(files):
            match frame.meta["kind"]:
                case "rows":
                    rows |= dict(zip(frame.arrays[0].tolist(), frame.arrays[1][:, 0].tolist(), strict=True))
                case "uses":
                    used |= dict(zip(frame.arrays[0].tolist(), frame.arrays[1].tolist(), strict=True))
                case "counters":
                    counted |= dict(zip(frame.arrays[0].tolist(), frame.arrays[1].tolist(), strict=True))
                case "bounds":
                    found = {name: number + int(frame.meta[name]) for name, number in found.items()}
    return {"step": newest.name, "rows": rows, "used": used, "counted": counted, **found}
