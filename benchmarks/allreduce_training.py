"""Records per second of two workers against one, each on a core of its own: MobileNetV2 and a small ResNet.

    python benchmarks/allreduce_training.py [--models resnet mobilenet] [--steps 60] [--workers 1 2] [--rounds 3]

Images have the shape of CIFAR-10's. Every worker is bound to one core and TensorFlow to one thread, so that the second
worker adds a second core, as a second machine would. Rates are measured from the first tenth of the steps to the end.
Each number of workers gets a turn in every round, and its best rate counts, as others may be using the cores. Also
printed: how long the workers exchanged gradients, and how much of that was hidden behind computing (on one machine,
workers exchange gradients after computing; see overlap.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.runtime import chaos

BATCH = 64
MODEL = """
import os

import keras
import tensorflow as tf

from elasticdl_nb import batched

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def resnet():
    def block(x, filters, stride):
        short = x if stride == 1 else keras.layers.Conv2D(filters, 1, stride, use_bias=False)(x)
        y = keras.layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        y = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        return keras.layers.ReLU()(keras.layers.Add()([short, keras.layers.BatchNormalization()(y)]))

    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for filters, stride in ((16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        x = block(x, filters, stride)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))


def mobilenet():
    return keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=10, classifier_activation=None)


@batched
def dataset_fn(dataset, mode):
    def parse(records):
        form = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(records, form)
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, 32, 32, 3])
        return tf.cast(image, tf.float32) / 255.0, tf.cast(parsed["label"], tf.int32)

    return dataset.map(parse)


def loss(labels, output):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(labels, [-1]), logits=output)


def optimizer():
    return keras.optimizers.SGD(0.05, momentum=0.9)
"""


def write_data(path: Path, records: int) -> None:
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(records):
            image = random.integers(0, 256, 3072, np.uint8).tobytes()
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(random.integers(10))])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def bind(job: elasticdl_nb.Job) -> None:
    """Give every worker a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    for name, process in chaos.processes(job.folder).items():
        if name.startswith("worker-"):
            core = cores[int(name.partition("-")[2]) % len(cores)]
            with contextlib.suppress(OSError):  # some end meanwhile
                for thread in Path(f"/proc/{process.pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), {core})


def records_per_second(folder: Path, model: str, workers: int, steps: int) -> float:
    job = elasticdl_nb.train(
        model_zoo=folder / "zoo", model_def=f"models.{model}", data=folder / "data.tfrecord", wait=False, detach=True,
        output=folder / f"{model}-{workers}", overwrite=True, minibatch_size=BATCH, num_minibatches_per_task=4,
        num_epochs=10_000, max_step=steps, distribution_strategy="AllreduceStrategy", num_workers=workers,
        min_workers=workers, saved_model=False, log_loss_steps=1,
    )  # fmt: skip
    try:
        while not job.status().finished_at:  # threads that start later are bound, too
            bind(job)
            time.sleep(0.5)
        job.wait()
        points = list(job.status().losses)
        first = next(point for point in points if point.step >= max(2, steps // 10))
        if exchanging := sum(one.exchanging for one in job.status().instances):
            hidden = sum(one.hidden for one in job.status().instances)
            print(
                f"{model:<10} {workers} workers exchanged for {exchanging / workers:.2f} s each, "
                f"{hidden / exchanging:.0%} of it hidden", flush=True,
            )  # fmt: skip
        return (points[-1].step - first.step) * BATCH * workers / (points[-1].time - first.time)
    finally:
        if not job.status().finished_at:
            job.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet", "mobilenet"], choices=["resnet", "mobilenet"])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ELASTICDL_HOME"] = f"{name}/home"
        (folder / "zoo").mkdir()
        (folder / "zoo" / "models.py").write_text(MODEL)
        write_data(folder / "data.tfrecord", 40 * BATCH)
        for model in given.models:
            rounds = [
                [records_per_second(folder, model, workers, given.steps) for workers in given.workers]
                for _ in range(given.rounds)
            ]
            for number, rates in enumerate(rounds, start=1):
                print(f"{model:<10} round {number}: {', '.join(f'{rate:.1f}' for rate in rates)} records/s", flush=True)
            rates = [max(rates) for rates in zip(*rounds, strict=True)]
            for workers, rate in zip(given.workers, rates, strict=True):
                print(f"{model:<10} {workers} worker(s) {rate:8.1f} records/s   {rate / rates[0]:.2f}x", flush=True)


if __name__ == "__main__":
    main()
