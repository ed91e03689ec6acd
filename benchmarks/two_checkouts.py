"""Throughput of a job with parameter servers in this checkout and in another one, in turns: what a change has cost.

    git worktree add ../before COMMIT, and install it into an environment of its own
    python benchmarks/two_checkouts.py --before ../before/.venv/bin/python [--rounds 20] [--batch 512] [--sync]

In each checkout, a job trains DeepFM with one worker and one server. Both are there all the time, but worker and server
of one of them are stopped (SIGSTOP) while the other is measured for a few seconds, by turns. A line gives a round's
records per second of processor time of both, which other programs on the machine disturb less than seconds of the
clock; the last one the medians, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import signal
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
    """In a process of one checkout: for each line that comes, let a job run and print records per processor second."""
    import psutil

    import elasticdl_nb
    from elasticdl_nb.runtime import chaos

    with tempfile.TemporaryDirectory() as folder:
        os.environ["ELASTICDL_HOME"] = f"{folder}/home"
        job = elasticdl_nb.train(
            model_def="deepfm.deepfm", data=data, output=f"{folder}/out", minibatch_size=batch, num_epochs=10_000,
            distribution_strategy="ParameterServerStrategy", num_ps=1, num_workers=1, use_async=mode == "async",
            saved_model=False, wait=False, detach=True,
        )  # fmt: skip
        while not job.status().records_done:
            time.sleep(0.1)
        time.sleep(WARM_SECONDS)
        processes = [one for name, one in chaos.processes(job.folder).items() if name.startswith(("worker", "ps"))]

        def send(number: signal.Signals) -> None:
            for process in processes:
                os.kill(process.pid, number)

        def used() -> float:
            """Processor seconds."""
            return sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in processes)

        print("ready", flush=True)
        try:
            for line in sys.stdin:
                if line.strip() == "stop":
                    send(signal.SIGSTOP)
                    continue
                send(signal.SIGCONT)
                time.sleep(1.0)
                before, begun = job.status().records_done, used()
                time.sleep(seconds)
                print((job.status().records_done - before) / (used() - begun), flush=True)
                send(signal.SIGSTOP)
        finally:
            send(signal.SIGCONT)
            job.cancel()


def begin(command: list[str], folder: str) -> subprocess.Popen[str]:
    """Start the measuring process of a checkout, and wait until its job trains."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line.strip() != "ready":
        pass
    return process


def tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def rate(process: subprocess.Popen[str]) -> float:
    """Let a checkout's job run for a while; return its records per processor second."""
    assert process.stdout is not None
    tell(process, "go")
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="the Python of the other checkout's environment")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=4.0)
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
        mode_option = ["--sync"] if given.sync else []
        jobs = {
            name: begin([python, __file__, *more, *mode_option], folder)
            for name, python in (("before", given.before), ("now", sys.executable))
        }
        for process in jobs.values():
            tell(process, "stop")
        for number in range(given.rounds):
            for name, process in list(jobs.items())[:: -1 if number % 2 else 1]:
                rates[name].append(rate(process))
            print(
                f"before {rates['before'][-1]:8.0f}   now {rates['now'][-1]:8.0f} records a processor second",
                flush=True,
            )
        for process in jobs.values():
            process.communicate(timeout=60)
    before, now = (statistics.median(rates[name]) for name in ("before", "now"))
    ratio = statistics.median(now / before for before, now in zip(rates["before"], rates["now"], strict=True) if before)
    print(f"before {before:.0f}, now {now:.0f} records a processor second; median ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
