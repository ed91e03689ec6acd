"""Two jobs that together want more slots than there are: gang scheduling against elastic jobs.

    python benchmarks/elastic_jobs.py [--slots 5] [--workers 3] [--steps 900]

Each job wants `workers` workers. Gang: a job starts once all of its workers have a slot, so the second waits for the
first. Elastic: the second starts at once with the slots that are left, and grows with `Job.scale` when the first is
over. The jobs are real, with a parameter server each. A step is a tenth of a second of waiting, as if for an
accelerator, so that slots are scarce and not this machine's cores.

Printed for both: the makespan, the seconds from submitting the second job to its first finished task, and the share of
all slots' time within the makespan that was spent in steps.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import elasticdl_nb
from elasticdl_nb.job import Job

BATCH = 32
STEP = 0.1
POLL = 0.1
MODEL = f"""
import time

import keras
import tensorflow as tf


def custom_model():
    x = keras.Input((4,), name="x")
    return keras.Model({{"x": x}}, keras.layers.Dense(1)(x))


def loss(labels, output):
    return keras.ops.mean(keras.ops.square(keras.ops.reshape(labels, (-1, 1)) - output))


def optimizer():
    return keras.optimizers.SGD(0.01)


def dataset_fn(dataset, mode):
    return dataset.map(lambda record: ({{"x": tf.stack([record[c] for c in "abcd"])}}, record["y"]))


class Accelerator(keras.callbacks.Callback):
    in_every_worker = True

    def on_train_batch_begin(self, batch, logs=None):
        time.sleep({STEP})


def callbacks():
    return [Accelerator()]
"""


@dataclass(frozen=True)
class Result:
    makespan: float
    first_step: float
    utilisation: float


class Cluster:
    """Starts the two jobs of one run in a folder."""

    def __init__(self, folder: Path, slots: int, wanted: int, steps: int) -> None:
        self.slots, self.wanted, self._steps, self._folder = slots, wanted, steps, folder
        (folder / "zoo").mkdir()
        (folder / "zoo" / "waiting.py").write_text(MODEL)
        random = np.random.default_rng(0)
        data = {name: random.normal(size=BATCH * steps).astype(np.float32) for name in "abcdy"}
        pd.DataFrame(data).to_parquet(folder / "data.parquet")

    def start(self, name: str, workers: int) -> Job:
        return elasticdl_nb.train(
            model_zoo=self._folder / "zoo", model_def="waiting.custom_model", data=self._folder / "data.parquet",
            output=self._folder / name, job_name=name, minibatch_size=BATCH, num_minibatches_per_task=5, num_epochs=1,
            distribution_strategy="ParameterServerStrategy", num_ps=1, num_workers=workers, saved_model=False,
            wait=False, detach=True,
        )  # fmt: skip

    def run(self, second: Callable[[Job], Job], meanwhile: Callable[[Job, Job], None], name: str) -> Result:
        """Start a job, then a second one with `second`, which gets the first; return when both are over."""
        began = time.time()
        one = self.start(f"{name}-1", self.wanted)
        other = second(one)
        first_step = 0.0
        while not (other.status().finished_at and one.status().finished_at):
            if not first_step and other.status().records_done:
                first_step = time.time() - began
            meanwhile(one, other)
            time.sleep(POLL)
        for job in (one, other):
            job.wait()
        makespan = time.time() - began
        return Result(makespan, first_step, 2 * self._steps * STEP / (self.slots * makespan))

    def gang(self) -> Result:
        def second(one: Job) -> Job:
            one.wait()
            return self.start("gang-2", self.wanted)

        return self.run(second, lambda one, other: None, "gang")

    def elastic(self) -> Result:
        grown = False

        def meanwhile(one: Job, other: Job) -> None:
            nonlocal grown
            if not grown and one.status().finished_at and not other.status().finished_at:
                grown = True
                other.scale(self.wanted)

        return self.run(lambda one: self.start("elastic-2", self.slots - self.wanted), meanwhile, "elastic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=5)
    parser.add_argument("--workers", type=int, default=3, help="slots that each job wants")
    parser.add_argument("--steps", type=int, default=900, help="of each job")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ELASTICDL_HOME"] = f"{folder}/home"
        cluster = Cluster(Path(folder), options.slots, options.workers, options.steps)
        results = {"gang": cluster.gang(), "elastic": cluster.elastic()}
    for name, result in results.items():
        print(
            f"{name:<8} makespan {result.makespan:6.1f} s   second job's first task after {result.first_step:6.1f} s   "
            f"utilisation {result.utilisation:.0%}"
        )
    print(f"elastic / gang: makespan {results['elastic'].makespan / results['gang'].makespan:.2f}")


if __name__ == "__main__":
    main()
