"""Seconds from a process's death to the first useful step after it, and the number of records computed again.

    python benchmarks/recovery.py [--rounds 2] [--strategy AllreduceStrategy]

A job trains DeepFM with two workers and two parameter servers; a worker, a server and the master are killed in turn,
with SIGKILL. A step is useful once the job has done more records than before (which may be after going back to a
checkpoint). A new worker needs seconds to import TensorFlow; its peer continues meanwhile.

With AllreduceStrategy, three workers train a dense model. One is killed, in every other round the oldest. Figures:
seconds to the next step of the others, and how long they paused when another worker took its place.

What counts after many such blows, that each record was used as often as said, is tried by `kill_loop.py`.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import elasticdl_nb
from elasticdl_nb.job import Job
from elasticdl_nb.runtime.protocol import master_pb2 as pb

RECORDS = 40_000
ROLES = ("worker", "ps", "master")
DEADLINE = 120.0


def write_data(path: Path) -> None:
    random = np.random.default_rng(0)
    columns: dict[str, np.ndarray] = {f"I{i + 1}": random.normal(size=RECORDS).astype(np.float32) for i in range(13)}
    columns |= {f"C{i + 1}": random.zipf(1.2, RECORDS) % 100_000 for i in range(26)}
    columns["label"] = (random.random(RECORDS) < 0.25).astype(np.int32)
    pd.DataFrame(columns).to_parquet(path, row_group_size=4000)


def start(folder: Path) -> Job:
    write_data(folder / "data.parquet")
    return elasticdl_nb.train(
        model_def="deepfm.deepfm", data=folder / "data.parquet", output=folder / "out", minibatch_size=256,
        num_epochs=10_000, num_minibatches_per_task=4, checkpoint_steps=100, wait=False, detach=True,
        distribution_strategy="ParameterServerStrategy", num_ps=2, num_workers=2, saved_model=False,
    )  # fmt: skip


def running(job: Job) -> pb.JobStatus:
    """Wait until every process is working, a checkpoint was made since, and some records were done after it."""
    status = job.status()
    checkpoint = None
    while True:
        if status.finished_at:
            raise SystemExit(f"the job ended: {status.failure.message}")
        if all(one.state == "running" for one in status.instances if one.role != "master"):
            checkpoint = status.checkpoint_step if checkpoint is None else checkpoint
            if status.checkpoint_step > max(checkpoint, 0):
                return status
        time.sleep(0.1)
        status = job.status()


def measure(job: Job, role: str) -> tuple[float, int]:
    """Kill a process; return the seconds until the first useful step, and how many records the job went back."""
    before = running(job)
    victim = next(one for one in before.instances if one.role == role)
    os.kill(victim.pid, signal.SIGKILL)
    began = time.perf_counter()
    mark, redone, rollbacks = before.records_done, 0, before.rollbacks
    goes_back = role == "ps"
    while time.perf_counter() < began + DEADLINE:
        status = job.status()
        if status.rollbacks > rollbacks:
            rollbacks, redone, mark = status.rollbacks, max(0, mark - status.records_done), status.records_done
        elif status.records_done > mark and not (goes_back and rollbacks == before.rollbacks):
            return time.perf_counter() - began, redone
        mark = max(mark, status.records_done) if goes_back and rollbacks == before.rollbacks else mark
        time.sleep(0.02)
    raise SystemExit(f"no step within {DEADLINE:g} seconds: {job.status().detail}")


# ------------------------------------------------------------------ all-reduce

DENSE = """
import keras
import tensorflow as tf

from elasticdl_nb import batched


def custom_model():
    x = inputs = keras.Input((64,), name="x")
    for _ in range(4):
        x = keras.layers.BatchNormalization()(keras.layers.Dense(512, "relu")(x))
    return keras.Model(inputs, keras.layers.Dense(1)(x))


@batched
def input_fn(record, mode):
    return tf.stack([record[f"c{i}"] for i in range(64)], -1), record["label"]


def loss(labels, output):
    return keras.ops.mean(keras.ops.square(keras.ops.reshape(labels, (-1, 1)) - output))


def optimizer():
    return keras.optimizers.Adam(0.001)
"""


def start_ring(folder: Path) -> Job:
    random = np.random.default_rng(0)
    columns = {f"c{i}": random.normal(size=RECORDS).astype(np.float32) for i in range(64)}
    columns["label"] = columns["c0"] - columns["c1"]
    pd.DataFrame(columns).to_parquet(folder / "data.parquet", row_group_size=4000)
    (folder / "zoo").mkdir()
    (folder / "zoo" / "dense.py").write_text(DENSE)
    return elasticdl_nb.train(
        model_zoo=folder / "zoo", model_def="dense.custom_model", data=folder / "data.parquet", output=folder / "out",
        minibatch_size=256, num_epochs=10_000, num_minibatches_per_task=16, wait=False, detach=True, num_workers=3,
        distribution_strategy="AllreduceStrategy", saved_model=False, log_loss_steps=1,
    )  # fmt: skip


def rings(job: Job) -> list[pb.Event]:
    """The events that report the forming of a ring."""
    return [event for event in job.status().events if event.text.startswith("training together")]


def wait_for_ring(job: Job, formed: int, workers: int) -> pb.Event:
    """Wait until a ring of this many workers was formed, after `formed` others, and has trained for a second."""
    deadline = time.perf_counter() + DEADLINE
    while time.perf_counter() < deadline:
        found = [ring for ring in rings(job)[formed:] if ring.text.count("worker-") == workers]
        losses = job.status().losses
        if found and losses and losses[-1].time > found[-1].time + 1:
            return found[-1]
        time.sleep(0.05)
    raise SystemExit(f"no ring of {workers} workers within {DEADLINE:g} seconds")


def pause(job: Job, when: float) -> float:
    """Seconds between the last step before a moment and the first one after it."""
    times = [point.time for point in job.status().losses]
    return min(one for one in times if one > when) - max(one for one in times if one <= when)


def measure_ring(job: Job, victim: int) -> tuple[float, float]:
    """Kill a worker; return the seconds to the others' next step, and how long they paused when a new one joined."""
    formed = len(rings(job))
    pid = next(one.pid for one in job.status().instances if one.role == "worker" and one.index == victim)
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    wait_for_ring(job, formed, 2)
    first = min(point.time for point in job.status().losses if point.time > killed + 1e-3)
    joined = wait_for_ring(job, formed, 3)
    return first - killed, pause(job, joined.time)


def recover_rings(folder: Path, rounds: int) -> None:
    job = start_ring(folder)
    try:
        wait_for_ring(job, 0, 3)
        for number in range(rounds):
            oldest = int(rings(job)[-1].text.partition("worker-")[2].partition(",")[0])
            victim = oldest if number % 2 else (oldest + 1) % 3
            seconds, paused = measure_ring(job, victim)
            who = "the oldest" if victim == oldest else "another"
            print(
                f"{who:<10} killed: next step after {seconds:5.2f} s   a join paused the others {paused:5.2f} s",
                flush=True,
            )
    finally:
        job.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--strategy", nargs="+", default=["ParameterServerStrategy", "AllreduceStrategy"])
    given = parser.parse_args()
    rounds = given.rounds
    if "AllreduceStrategy" in given.strategy:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["ELASTICDL_HOME"] = f"{folder}/home"
            recover_rings(Path(folder), rounds)
    if "ParameterServerStrategy" not in given.strategy:
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ELASTICDL_HOME"] = f"{folder}/home"
        job = start(Path(folder))
        try:
            for _ in range(rounds):
                for role in ROLES:
                    seconds, redone = measure(job, role)
                    print(f"{role:<8} {seconds:6.2f} s   {redone:6} records again", flush=True)
        finally:
            job.cancel()


if __name__ == "__main__":
    main()
