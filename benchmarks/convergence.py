"""Whether a model learns as well when workers come and go: AUC with 2 workers, with 4, and with 2 to 4 of them.

    python benchmarks/convergence.py [--seeds 3] [--records 51200]

Real jobs with a parameter server and asynchronous steps, on synthetic clicks derived from hidden properties of users
and items and two numbers. In the third case, `Job.scale` changes the number of workers four times. A step waits for a
twentieth of a second, as if for an accelerator, so several workers can share few cores and new ones join in time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import elasticdl_nb

BATCH = 64
SIZES = {"users": 4000, "items": 1000}
SCHEDULE = ((0.1, 4), (0.45, 3), (0.6, 2), (0.75, 4))
"""(share of the records done, workers from then on)"""

MODEL = """
import time

import keras
import tensorflow as tf


def custom_model():
    user, item = (keras.Input((1,), dtype="int32", name=name) for name in ("user", "item"))
    x = keras.Input((2,), name="x")
    rows = [
        keras.layers.Flatten()(keras.layers.Embedding(100_000, 8, name=name)(ids))
        for name, ids in (("users", user), ("items", item))
    ]
    match = keras.layers.Dot(1)(rows)
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()([*rows, x, match]))
    return keras.Model({"user": user, "item": item, "x": x}, keras.layers.Dense(1)(hidden))


def loss(labels, output):
    return keras.losses.binary_crossentropy(keras.ops.reshape(labels, (-1, 1)), output, from_logits=True)


def optimizer():
    return keras.optimizers.Adam(0.005)


def dataset_fn(dataset, mode):
    def parse(record):
        features = {name: tf.reshape(tf.cast(record[name], tf.int32), [1]) for name in ("user", "item")}
        return {**features, "x": tf.stack([record["a"], record["b"]])}, record["click"]

    return dataset.map(parse)


def eval_metrics_fn():
    return {"auc": keras.metrics.AUC(from_logits=True)}


class Accelerator(keras.callbacks.Callback):
    in_every_worker = True

    def on_train_batch_begin(self, batch, logs=None):
        time.sleep(0.05)


def callbacks():
    return [Accelerator()]
"""


def write_data(folder: Path, records: int) -> None:
    (folder / "zoo").mkdir()
    (folder / "zoo" / "clicks.py").write_text(MODEL)
    random = np.random.default_rng(0)
    users, items = (random.normal(size=size).astype(np.float32) for size in SIZES.values())
    for name, count in (("train", records), ("valid", 10_000)):
        user, item = (random.integers(size, size=count) for size in SIZES.values())
        a, b = random.normal(size=(2, count)).astype(np.float32)
        score = users[user] + items[item] + a - b
        click = (random.random(count) < 1 / (1 + np.exp(-score))).astype(np.float32)
        frame = pd.DataFrame({"user": user, "item": item, "a": a, "b": b, "click": click})
        frame.to_parquet(folder / f"{name}.parquet")


def auc(folder: Path, name: str, workers: int, seed: int, schedule: Sequence[tuple[float, int]]) -> float:
    """Train, with the number of workers changed at these shares of the records; return the final AUC."""
    job = elasticdl_nb.train(
        model_zoo=folder / "zoo", model_def="clicks.custom_model", data=folder / "train.parquet",
        validation_data=folder / "valid.parquet", output=folder / f"{name}-{seed}", seed=seed, minibatch_size=BATCH,
        num_minibatches_per_task=4, num_epochs=1, evaluation_steps=10**6, num_ps=1, num_workers=workers,
        distribution_strategy="ParameterServerStrategy", saved_model=False, wait=False, detach=True,
    )  # fmt: skip
    for share, wanted in schedule:
        while not (status := job.status()).records_total or status.records_done < share * status.records_total:
            time.sleep(0.1)
        job.scale(wanted)
    job.wait()
    return job.metrics["auc"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--records", type=int, default=51_200, help="trained on for one epoch")
    options = parser.parse_args()
    ways: dict[str, tuple[int, Sequence[tuple[float, int]]]] = {
        "2 workers": (2, ()), "4 workers": (4, ()), "2 to 4 workers": (2, SCHEDULE),
    }  # fmt: skip
    means = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ELASTICDL_HOME"] = f"{folder}/home"
        write_data(Path(folder), options.records)
        for name, (workers, schedule) in ways.items():
            found = [
                auc(Path(folder), name.replace(" ", "-"), workers, seed, schedule) for seed in range(options.seeds)
            ]
            means[name] = np.mean(found)
            seeds = ", ".join(f"{value:.4f}" for value in found)
            print(f"{name:<15} AUC {means[name]:.4f} ± {np.std(found):.4f}   ({seeds})", flush=True)
    print(f"varying - constant: {means['2 to 4 workers'] - means['2 workers']:+.4f}")


if __name__ == "__main__":
    main()
