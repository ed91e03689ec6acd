"""A Local job against plain `model.fit`: the same model, data, batch size and number of epochs, one after the other.

Both read the same Parquet file and parse whole batches. It reports the records per second after start-up (from the
first progress on) and the wall time of everything, from process start to trained model. A third figure is that of the
arithmetic alone: the steps of a Local worker in a process of its own, on batches that are in memory already, one by one
or several in a call, whichever is faster. What the job takes beyond it is for reading, parsing, tasks, and reports.
Steps are compiled in none of them, so that it makes no difference when a job decides on that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from elasticdl_nb.model_zoo.flights.prepare import prepare

MODEL = "flights.wide_and_deep"
WARM_UP_STEPS = 1000
"""Steps before the clock starts: by then, a job makes several at once."""


def ours(data: Path, folder: Path, batch: int, epochs: int) -> tuple[float, float]:
    """Run a Local job; return (records per second, seconds)."""
    command = [
        sys.executable, "-m", "elasticdl_nb", "train", f"--model_def={MODEL}", "--input_fn=input_fn", f"--data={data}",
        f"--minibatch_size={batch}", f"--num_epochs={epochs}", f"--output={folder / 'model'}", "--no_saved_model",
        "--job_name=bench", "--quiet", "--log_loss_steps=25", "--jit_compile=false",
    ]  # fmt: skip
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    from elasticdl_nb import attach

    points = [(point.step, point.time) for point in attach("bench").status().losses if point.step >= WARM_UP_STEPS]
    (first, began), (last, ended) = points[0], points[-1]
    return (last - first) * batch / (ended - began), seconds


def alone(way: str, data: Path, batch: int, epochs: int) -> tuple[float, float]:
    """Run `fit` or `steps` in a process of its own; return (records per second, seconds)."""
    started = time.perf_counter()
    output = subprocess.run(
        [sys.executable, __file__, f"--{way}", os.fspath(data), str(batch), str(epochs)], check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ).stdout  # fmt: skip
    return float(json.loads(output.splitlines()[-1])), time.perf_counter() - started


def batches_of(data: str, batch: int) -> Any:
    """Return the table's batches as a `tf.data.Dataset`."""
    import pyarrow.parquet
    import tensorflow as tf

    from elasticdl_nb.model_zoo.flights import wide_and_deep

    table = pyarrow.parquet.read_table(data).drop_columns(["dep_delay", "tailnum"])
    columns = {name: table[name].to_numpy() for name in table.column_names}
    dataset = tf.data.Dataset.from_tensor_slices(columns).shuffle(32 * batch).batch(batch)
    return dataset.map(lambda columns: wide_and_deep.input_fn(columns, "training")).prefetch(tf.data.AUTOTUNE)


def steps(data: str, batch: int, epochs: int) -> None:
    """Make a Local worker's steps with batches in memory; the epochs after the first count."""
    from dense_vs_keras import Session

    import elasticdl_nb.model_zoo
    from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
    from elasticdl_nb.runtime.protocol.master_pb2 import Task
    from elasticdl_nb.runtime.spec import JobSpec
    from elasticdl_nb.runtime.worker.feed import StreamBatches
    from elasticdl_nb.runtime.worker.training.local import LocalTrainer

    dataset = batches_of(data, batch)
    found = list(dataset)
    loaded = load(ModelDefinition(zoo=elasticdl_nb.model_zoo.__path__[0], model_def=MODEL))
    loaded.build(dataset.element_spec[0])
    spec = JobSpec(kind="train", model_def=MODEL, minibatch_size=batch, log_loss_steps=25, jit_compile="false")
    session: Any = Session()
    trainer = LocalTrainer(spec, loaded, session, dataset.element_spec, lambda step, loss: None)
    memory = InMemory(found, dataset.element_spec)
    rates = []
    for batches in (lambda: iter(found), lambda: StreamBatches(memory)):  # type: ignore[arg-type]
        records, began = 0, time.perf_counter()
        for epoch in range(epochs + 1):
            if epoch == 1:
                records, began = 0, time.perf_counter()
            records += trainer.train(Task(), batches())
        rates.append(records / (time.perf_counter() - began))
    trainer.report_loss()
    print(json.dumps(max(rates)))


class InMemory:
    """Batches in memory that a graph can take, all but the last one, which is smaller."""

    def __init__(self, found: list[Any], element_spec: Any) -> None:
        import tensorflow as tf

        optional = tf.experimental.Optional
        batches = tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *parts: tf.stack(parts), *found[:-1]))
        some = batches.map(lambda *parts: optional.from_value(parts))
        self.element_spec = element_spec
        self._dataset = some.concatenate(tf.data.Dataset.from_tensors(optional.empty(batches.element_spec))).prefetch(8)
        self._iterator: Any = None

    def iterator(self) -> Any:
        """See `StreamSource`."""
        self._iterator = self._iterator or iter(self._dataset)
        return self._iterator

    def task_ends(self, *, complete: bool) -> None:
        """See `StreamSource`."""
        self._iterator = None


def fit(data: str, batch: int, epochs: int) -> None:
    """What a Keras user would write for this table."""
    import keras

    from elasticdl_nb.model_zoo.flights import wide_and_deep

    dataset = batches_of(data, batch)
    model = wide_and_deep.custom_model()
    model.compile(optimizer=wide_and_deep.optimizer(), loss=keras.losses.BinaryCrossentropy(from_logits=True))

    class Clock(keras.callbacks.Callback):
        steps = 0
        began = ended = 0.0

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.steps += 1
            self.ended = time.perf_counter()
            if self.steps == WARM_UP_STEPS:
                self.began = self.ended

    clock = Clock()
    model.fit(dataset, epochs=epochs, verbose=0, callbacks=[clock])
    print(json.dumps((clock.steps - WARM_UP_STEPS) * batch / (clock.ended - clock.began)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="*", default=[512, 64])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fit", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--steps", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for way, given in ((fit, options.fit), (steps, options.steps)):
        if given:
            way(given[0], int(given[1]), int(given[2]))
            return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ELASTICDL_HOME"] = folder
        data, _ = prepare(Path(folder) / "flights")
        for batch in options.batch:
            epochs = max(1, options.epochs * batch // 512)
            ratios, overheads = [], []
            for number in range(options.rounds):
                mine = ours(data, Path(folder) / f"{batch}-{number}", batch, epochs)
                theirs, pure = (alone(way, data, batch, epochs) for way in ("fit", "steps"))
                ratios.append(mine[0] / theirs[0])
                overheads.append(pure[0] / mine[0])
                print(f"batch {batch}: job {mine[0]:,.0f} records/s, {mine[1]:.1f} s in all; "
                      f"model.fit {theirs[0]:,.0f} records/s, {theirs[1]:.1f} s in all; ratio {ratios[-1]:.2f}; "
                      f"arithmetic alone {pure[0]:,.0f} records/s, the job takes {overheads[-1]:.2f} times as long",
                      flush=True)  # fmt: skip
            print(f"batch {batch}: median ratio {statistics.median(ratios):.2f}, "
                  f"{statistics.median(overheads):.2f} times its arithmetic")  # fmt: skip


main()
