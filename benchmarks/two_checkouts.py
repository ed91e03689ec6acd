"""Throughput of a job with parameter servers in this checkout and in another one, in turns: what a change has cost.

    git worktree add ../before COMMIT, and install it into an environment of its own
    python benchmarks/two_checkouts.py --before ../before/.venv/bin/python [--rounds 5] [--batch 512] [--sync]

A job trains DeepFM with one worker and one server in either checkout, by turns. A line gives the records per second of
a round, from the fifth second of training on; the last one the medians and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECORDS = 200_000
WARM_SECONDS = 5.0


def write_data(path: Path) -> None:
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    columns: dict[str, np.ndarray] = {f"I{i + 1}": random.normal(size=RECORDS).astype(np.float32) for i in range(13)}
    columns |= {f"C{i + 1}": random.zipf(1.2, RECORDS) % 100_000 for i in range(26)}
    columns["label"] = (random.random(RECORDS) < 0.25).astype(np.int32)
    pd.DataFrame(columns).to_parquet(path, row_group_size=20_000)


def measure(data: str, batch: int, seconds: float, mode: str) -> None:
    """In a process of one checkout: print the records per second of a job."""
    import elasticdl_nb

    with tempfile.TemporaryDirectory() as folder:
        os.environ["ELASTICDL_HOME"] = f"{folder}/home"
        job = elasticdl_nb.train(
            model_def="deepfm.deepfm", data=data, output=f"{folder}/out", minibatch_size=batch, num_epochs=10_000,
            distribution_strategy="ParameterServerStrategy", num_ps=1, num_workers=1, use_async=mode == "async",
            saved_model=False, wait=False, detach=True,
        )  # fmt: skip
        try:
            while not job.status().records_done:
                time.sleep(0.1)
            time.sleep(WARM_SECONDS)
            before, begun = job.status().records_done, time.perf_counter()
            time.sleep(seconds)
            print((job.status().records_done - before) / (time.perf_counter() - begun))
        finally:
            job.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="the Python of the other checkout's environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--sync", action="store_true", help="synchronous instead of asynchronous")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    mode = "sync" if given.sync else "async"
    if given.measure:
        measure(given.measure, given.batch, given.seconds, mode)
        return
    rates: dict[str, list[float]] = {"before": [], "now": []}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.parquet"
        write_data(data)
        more = ["--measure", os.fspath(data), "--batch", str(given.batch), "--seconds", str(given.seconds)]
        for _ in range(given.rounds):
            for name, python in (("before", given.before), ("now", sys.executable)):
                command = [python, __file__, *more, *(["--sync"] if given.sync else [])]
                done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
                rates[name].append(float(done.stdout.split()[-1]))
                print(f"{name:<7} {rates[name][-1]:10.0f} records/s", flush=True)
    before, now = (statistics.median(rates[name]) for name in ("before", "now"))
    print(f"before {before:.0f}, now {now:.0f} records/s: {now / before:.3f}")


if __name__ == "__main__":
    main()
