"""Whether a model learns as well with all-reduce: with 1, 2 and 3 workers, and with 1 to 3 that come and go.

    python benchmarks/allreduce_convergence.py [--tasks digits shapes] [--seeds 3] [--epochs 8]

Real jobs with `fixed_global_batch`, so a step is the same however many workers share it. Digits are scikit-learn's,
8 x 8; shapes are synthetic images in the form of CIFAR-10's, 32 x 32 in colour. Both models have BatchNormalization and
Dropout. Each line gives the accuracy and the loss on held-out records after the last epoch, over the seeds. The last
lines of a task show how much each number of workers differs from one worker, on average over all epochs, and how much
seeds alone make a difference.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import elasticdl_nb

BATCH = 60
SCHEDULE = ((0.1, 3), (0.35, 1), (0.5, 2), (0.75, 3))
"""(share of the records done, workers from then on)"""

WAYS: dict[str, tuple[int, Sequence[tuple[float, int]]]] = {
    "1 worker": (1, ()), "2 workers": (2, ()), "3 workers": (3, ()), "1 to 3 workers": (2, SCHEDULE),
}  # fmt: skip

MODEL = """
import time

import keras
import tensorflow as tf

from elasticdl_nb import batched

SHAPE = {shape}


def custom_model():
    image = keras.Input(SHAPE, name="image")
    x = image
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dropout(0.2)(keras.layers.Flatten()(x))
    return keras.Model(image, keras.layers.Dense(10)(x))


@batched
def dataset_fn(dataset, mode):
    def parse(records):
        form = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(records, form)
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, *SHAPE])
        return tf.cast(image, tf.float32) / 255.0, tf.cast(parsed["label"], tf.int32)

    return dataset.map(parse)


def loss(labels, output):
    return keras.losses.sparse_categorical_crossentropy(tf.reshape(labels, [-1]), output, from_logits=True)


def optimizer():
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.003, {steps}))


def eval_metrics_fn():
    return {"accuracy": keras.metrics.SparseCategoricalAccuracy()}


class Accelerator(keras.callbacks.Callback):
    in_every_worker = True

    def on_train_batch_begin(self, batch, logs=None):
        time.sleep(0.02)


def callbacks():
    return [Accelerator()]
"""


def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return (data.images[..., None] * 15).astype(np.uint8), data.target


def shapes(count: int = 2400) -> tuple[np.ndarray, np.ndarray]:
    """Waves of ten directions and colours, with noise."""
    random = np.random.default_rng(0)
    labels = random.integers(10, size=count)
    y, x = np.mgrid[:32, :32] / 32
    angles = labels * np.pi / 10
    phases = random.uniform(0, 2 * np.pi, count)
    along = np.cos(angles)[:, None, None] * x + np.sin(angles)[:, None, None] * y
    wave = np.sin(2 * np.pi * 3 * along + phases[:, None, None])[..., None]
    tint = np.stack([np.cos(angles), np.sin(angles), np.cos(2 * angles)], axis=1)[:, None, None, :]
    image = 128 + 30 * wave + 12 * tint + 45 * random.normal(size=(count, 32, 32, 3))
    return image.clip(0, 255).astype(np.uint8), labels


def write(folder: Path, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    (folder / "zoo").mkdir(parents=True)
    steps = len(labels) * 4 // 5 // BATCH * epochs
    code = MODEL.replace("{shape}", repr(images.shape[1:])).replace("{steps}", str(steps))
    (folder / "zoo" / "images.py").write_text(code)
    chosen = np.random.default_rng(1).permutation(len(labels))
    for name, part in (("train", chosen[len(chosen) // 5 :]), ("valid", chosen[: len(chosen) // 5])):
        with tf.io.TFRecordWriter(str(folder / f"{name}.tfrecord")) as writer:
            for place in part:
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[images[place].tobytes()])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(labels[place])])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def curves(folder: Path, way: str, seed: int, epochs: int) -> np.ndarray:
    """Train; return accuracy and loss on held-out records after every epoch, float64 [epochs, 2]."""
    workers, schedule = WAYS[way]
    job = elasticdl_nb.train(
        model_zoo=folder / "zoo", model_def="images.custom_model", data=folder / "train.tfrecord", seed=seed,
        validation_data=folder / "valid.tfrecord", output=folder / f"{way.replace(' ', '-')}-{seed}",
        minibatch_size=BATCH, num_minibatches_per_task=2, num_epochs=epochs, num_workers=workers, min_workers=1,
        distribution_strategy="AllreduceStrategy", fixed_global_batch=True, saved_model=False, wait=False, detach=True,
    )  # fmt: skip
    for share, wanted in schedule:
        while not (status := job.status()).records_total or status.records_done < share * status.records_total:
            time.sleep(0.1)
        job.scale(wanted)
    job.wait()
    found = np.array([[one.metrics["accuracy"], one.metrics["loss"]] for one in job.evaluations])
    if len(found) < epochs:
        raise SystemExit(f"{way}: {len(found)} evaluations of {epochs} epochs")
    return found[-epochs:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["digits", "shapes"], choices=["digits", "shapes"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        os.environ["ELASTICDL_HOME"] = f"{root}/home"
        for task in options.tasks:
            folder = Path(root) / task
            write(folder, *(digits() if task == "digits" else shapes()), options.epochs)
            found = {}
            for way in WAYS:
                every = np.stack([curves(folder, way, seed, options.epochs) for seed in range(options.seeds)])
                found[way] = every
                accuracy, loss = every[:, -1, 0], every[:, -1, 1]
                print(
                    f"{task}: {way:<15} accuracy {accuracy.mean():.4f} ± {accuracy.std():.4f}   "
                    f"loss {loss.mean():.4f} ± {loss.std():.4f}", flush=True,
                )  # fmt: skip
            one = found["1 worker"][..., 1]
            noise = one.std(axis=0).mean()
            for way in list(WAYS)[1:]:
                apart = np.abs(found[way][..., 1].mean(axis=0) - one.mean(axis=0)).mean()
                print(f"{task}: {way:<15} loss differs by {apart:.4f} on average over the epochs; seeds {noise:.4f}")


if __name__ == "__main__":
    main()
