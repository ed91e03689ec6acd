"""Seconds from the death of a process to the first useful step after it, and records that were computed again.

    python benchmarks/recovery.py [--rounds 2]

A job trains DeepFM with two workers and two parameter servers; a worker, a server and the master are killed with
SIGKILL, in turn. A step is useful once the job has done more records than it had (after going back to a checkpoint,
where it does). A worker that is started anew needs seconds to import TensorFlow; its peer goes on meanwhile.
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
    """Wait until every process is at work, a checkpoint was made since, and some records after it."""
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
    """Kill a process; return the seconds until the first useful step, and the records that the job went back by."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
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
