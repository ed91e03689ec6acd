"""Kills and stops of every role at random instants, while models count how often each record is used.

    python benchmarks/kill_loop.py [--jobs Local "PS 3 async"] [--blows 30] [--seeds 0 1 2]

For each configuration and seed, one job is hit so many times: workers, parameter servers, the master and its
supervisor are killed, or stopped and continued later, sometimes two of them at once. The instants include the first
seconds of the job, checkpoints being written, and the result being written. A job that follows its data gets it
meanwhile, and is told to stop before its result is written; of a topic, the brokers are hit, too (`kill_feeds.py` says
how), and it has two million records. Then these must hold: the job has succeeded; each record
was used exactly `num_epochs` times, according to the trained model's own rows (a prediction has each record exactly
once, in order; a table with bounds holds the rows and counters of a job that nothing hits); no process of the job is
left two seconds after its end; and the disk has nothing but the result. A line per job says so, or what is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import elasticdl_nb
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.model.saving.trained import read_trained_model
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process

sys.path.insert(0, os.fspath(Path(__file__).parents[1] / "tests" / "recovery"))

import counting
import kill_feeds as feeds

SERVED = {"distribution_strategy": "ParameterServerStrategy", "num_workers": 2, "checkpoint_steps": 25}
JOBS: dict[str, dict[str, Any]] = {
    "Local": {"checkpoint_steps": 25},
    "PS 1 async": {**SERVED, "num_ps": 1},
    # Most of its checkpoints hold what has changed.
    "PS 3 async": {**SERVED, "num_ps": 3, "checkpoint_deltas": 3, "checkpoint_delta_mb": 0},
    "PS 1 sync": {**SERVED, "num_ps": 1, "use_async": False, "grads_to_wait": 1},
    "PS 3 sync": {**SERVED, "num_ps": 3, "use_async": False, "grads_to_wait": 1},
    # A mean's size differs, so the optimizer is one that adds one whatever the size of the gradient.
    "PS 2 means": {**SERVED, "num_ps": 2, "use_async": False, "grads_to_wait": 2, "optimizer": "signs"},
    # With one worker, steps have an order, on which it depends what enters the table and what leaves it.
    "PS 2 bounded": {
        **SERVED,
        "num_ps": 2,
        "num_workers": 1,
        "use_async": False,
        "grads_to_wait": 1,
        "shuffle": False,
        "embedding_options": "uses: min_count=2, ttl=60, max_rows=120",
        "table_files_mb": 0,
        "checkpoint_dir": "kept",
    },
    "PS 1 validated": {**SERVED, "num_ps": 1, "validation_data": "data.parquet", "evaluation_steps": 60},
    "all-reduce": {
        "distribution_strategy": "AllreduceStrategy",
        "num_workers": 2,
        "checkpoint_steps": 25,
        "optimizer": "signs",
    },
    "Local followed": {"checkpoint_steps": 25, "follow": True},
    "PS 2 followed": {**SERVED, "num_ps": 2, "follow": True},
    "Local topic": {"checkpoint_steps": 100, "follow": True, "topic": True},
    "PS 2 topic": {**SERVED, "num_ps": 2, "checkpoint_steps": 100, "follow": True, "topic": True},
    "predict file": {"kind": "predict", "num_workers": 2, "output": "out.parquet"},
    "predict folder": {"kind": "predict", "num_workers": 2, "output": "out", "output_format": "parquet"},
}
RECORDS, EPOCHS, BATCH = 4000, 3, 32
TOPIC_RECORDS, TOPIC_BATCH = 2_000_000, 1000
AFTERWARDS = 400.0
"""Seconds that a job may take after the last blow."""

GONE = 2.0
"""Seconds after a job's end in which its processes must disappear."""


@dataclass
class Result:
    """What a job has come to; `wrong` lists what should not be."""

    blows: list[str] = field(default_factory=list)
    seconds: float = 0.0
    restarts: int = 0
    wrong: list[str] = field(default_factory=list)


class Loop:
    """One job, and the blows that it gets."""

    def __init__(self, folder: Path, name: str, blows: int, seed: int, mean: float, records: int) -> None:
        self._folder, self._options, self._blows, self._mean = folder, dict(JOBS[name]), blows, mean
        self._random = random.Random(f"{name} {seed}")
        self._kind = self._options.pop("kind", "train")
        self._result = Result()
        self._begun = time.monotonic()
        self._timers: list[threading.Timer] = []
        self._bounded = "embedding_options" in self._options
        self._hold, self._numbers = folder / "hold", folder.parent / "numbers"
        self._feed: feeds.Files | feeds.Topic | None = None
        is_topic = self._options.pop("topic", False)
        self._records = records or (TOPIC_RECORDS if is_topic else RECORDS)
        self._batch = TOPIC_BATCH if is_topic else BATCH
        if "follow" in self._options:
            self._feed = feeds.Topic(self._records) if is_topic else feeds.Files(folder / "stream", self._records)
        self._epochs = 1 if self._feed else EPOCHS

    def run(self) -> Result:
        """Run the job to its end, and look at what is left."""
        self._hold.touch()
        hitting = threading.Thread(target=self._hit_it)
        hitting.start()
        job = None
        try:
            job = self._start()
            job.wait(timeout=4 * self._blows * self._mean + AFTERWARDS)
        except Exception as error:  # a finding
            self._result.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            self._hold.unlink(missing_ok=True)
            hitting.join()
            for timer in self._timers:
                timer.join()
            if self._feed is not None:
                self._feed.close()
            self._result.seconds = time.monotonic() - self._begun
            for folder in JobFolder.all():
                self._result.wrong += left_behind(folder, self._folder)
                launch.kill(folder)
        if job is not None:
            status = job.status()
            self._result.restarts = sum(one.restarts for one in status.instances)
            if status.phase != pb.SUCCEEDED:
                self._result.wrong.append(f"{pb.JobPhase.Name(status.phase)}: {status.failure.message}")
            else:
                self._result.wrong += self._counts() + self._evaluations(status)
        return self._result

    # ------------------------------------------------------------ the job

    def _start(self) -> Job:
        common: dict[str, Any] = {
            "minibatch_size": self._batch, "num_minibatches_per_task": 4, "wait": False, "detach": True,
            "job_name": "hit",
            "envs": {"TEST_SLOW": f"{self._slowness():.3f}", "TEST_HOLD": os.fspath(self._hold)},
        }  # fmt: skip
        if self._kind == "train":
            written = counting.write(self._folder, self._records, skewed=self._bounded)
            if self._bounded:
                self._options["checkpoint_dir"] = self._folder / self._options["checkpoint_dir"]
            if "validation_data" in self._options:
                self._options["validation_data"] = self._folder / self._options["validation_data"]
                written["eval_metrics_fn"] = "counted"
            if self._feed is not None:
                written["data"] = self._feed.data
            return elasticdl_nb.train(**written, **self._options, **common, num_epochs=self._epochs)
        self._output = self._folder / self._options.pop("output")
        if self._random.random() < 0.5:  # something to be replaced
            self._output.mkdir() if self._output.suffix == "" else self._output.write_bytes(b"old")
            common["overwrite"] = True
        return elasticdl_nb.predict(
            trained_model=self._numbers / "out", data=self._numbers / "data.parquet", output=self._output,
            **self._options, **common,
        )  # fmt: skip

    def _slowness(self) -> float:
        """Seconds for each step with which the job lasts longer than the blows."""
        steps = self._records * (self._epochs if self._kind == "train" else 1) / self._batch
        return 1.3 * self._blows * self._mean / steps * self._options.get("num_workers", 1)

    def _stop(self, folder: JobFolder) -> None:
        """Put the last records there, and stop the job, whose master may be dead now."""
        assert self._feed is not None
        self._feed.finish(folder)
        self._until(lambda: folder.is_over() or self._is_stopped(), 120)

    def _is_stopped(self) -> bool:
        with contextlib.suppress(ElasticDLError):
            elasticdl_nb.attach("hit").stop()
            return True
        return False

    def _counts(self) -> list[str]:
        if self._bounded:
            return self._bounds()
        if self._kind == "train":
            uses = Counter(counting.uses(self._folder).tolist())
            wrong = [] if uses == {self._epochs: self._records} else [f"uses of records: {dict(uses)}"]
            return wrong + (self._feed.wrong(self._folder / "out") if self._feed else [])
        files = sorted(self._output.glob("*.parquet")) if self._output.is_dir() else [self._output]
        numbers = np.concatenate([pq.read_table(file)["prediction"].to_numpy() for file in files])
        return (
            []
            if np.array_equal(numbers, np.arange(RECORDS))
            else [f"predictions are not those of the {RECORDS} records"]
        )

    def _bounds(self) -> list[str]:
        """How a table with bounds differs from that of the same job without blows, and the trained model from it."""
        held = counting.held(self._folder / "kept")
        alone = self._folder.parent / "alone"
        options = {**self._options, "checkpoint_dir": alone / "kept"}
        with _home(alone / "home"):
            elasticdl_nb.train(
                **counting.write(alone, RECORDS, skewed=True), **options, minibatch_size=BATCH,
                num_minibatches_per_task=4, num_epochs=EPOCHS, wait=True, progress=False,
            )  # fmt: skip
        expected = counting.held(alone / "kept")
        wrong = [f"{name}: {_differing(held[name], expected[name])}" for name in held if held[name] != expected[name]]
        definition = read_trained_model(self._folder / "out")[1]
        tables = MappedTables(definition.tables, definition.tables_digest)
        (name,) = tables
        written = {
            key: value for ids, rows in tables.export(name)
            for key, value in zip(ids.tolist(), rows[:, 0].tolist(), strict=True)
        }  # fmt: skip
        return wrong if written == held["rows"] else [*wrong, "the trained model has other rows than the checkpoint"]

    def _evaluations(self, status: pb.JobStatus) -> list[str]:
        """What is wrong with the evaluations: each has every record once, and the last is of the trained model."""
        if "validation_data" not in self._options:
            return []
        counted = [(one.step, one.records, one.metrics.get("records")) for one in status.evaluations]
        wrong = [f"an evaluation of (step, records, counted) {one}" for one in counted if one[1:] != (RECORDS, RECORDS)]
        if not counted or counted[-1][0] != status.step:
            wrong.append(f"the job ended at step {status.step}, and has evaluated {counted}")
        return wrong

    # ------------------------------------------------------------ the blows

    def _hit_it(self) -> None:
        folder = self._wait_for_folder()
        last = max(1, self._blows // 6)
        for number in range(self._blows):
            if folder is None or folder.is_over():
                break
            if number == 0:
                time.sleep(self._random.uniform(0, 3))
            elif number == self._blows - last:
                self._hold.unlink()
                if self._feed is not None:
                    self._stop(folder)
                self._until(lambda: phase(folder) == pb.FINISHING or folder.is_over(), 120)
            elif number > self._blows - last:
                time.sleep(self._random.expovariate(2 / self._mean))
            elif self._random.random() < 0.3:
                self._until(lambda: any(folder.checkpoints.glob(".step-*")), 5)
                time.sleep(self._random.uniform(0, 0.05))
            else:
                time.sleep(self._random.expovariate(1 / self._mean))
            if self._feed is not None and self._random.random() < 0.8:
                self._feed.grow(folder, 1 / self._blows)
            for _ in range(2 if self._random.random() < 0.2 else 1):
                self._blow(folder)
        self._hold.unlink(missing_ok=True)

    def _blow(self, folder: JobFolder) -> None:
        living = chaos.processes(folder)
        others = self._feed.targets if self._feed else ()
        role = self._random.choice(sorted({*(name.partition("-")[0] for name in living), *others} or {""}))
        if self._feed is not None and role in others:
            self._note(self._feed.blow(role, self._random))
        names = sorted(name for name in living if name.partition("-")[0] == role)
        if not names:
            return
        name = self._random.choice(names)
        process, stops = living[name], self._random.random() < 0.3
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP if stops else signal.SIGKILL)
        pause = self._random.choice([0.2, 2.0, 6.0, 40.0]) if stops else 0.0
        if stops:
            timer = threading.Timer(pause, go_on, [process])
            timer.start()
            self._timers.append(timer)
        what = f"stop {name} for {pause:g}s" if stops else f"kill {name}"
        self._note(what)

    def _note(self, what: str) -> None:
        self._result.blows.append(f"{time.monotonic() - self._begun:.1f}s {what}")

    def _wait_for_folder(self) -> JobFolder | None:
        self._until(lambda: bool(JobFolder.all()), 60)
        return next(iter(JobFolder.all()), None)

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)


def _differing(found: Any, expected: Any) -> str:
    if not isinstance(found, dict):
        return f"{found} instead of {expected}"
    both = found.keys() | expected.keys()
    return f"{sum(found.get(key) != expected.get(key) for key in both)} of {len(both)} ids differ"


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Let a job that nobody hits have its folder elsewhere."""
    before = os.environ["ELASTICDL_HOME"]
    os.environ["ELASTICDL_HOME"] = os.fspath(folder)
    try:
        yield
    finally:
        os.environ["ELASTICDL_HOME"] = before


def phase(folder: JobFolder) -> int:
    """The phase in the job's last written status."""
    status = folder.status()
    return status.phase if status else pb.STARTING


def go_on(process: Process) -> None:
    """Let a stopped process continue, unless it has been replaced."""
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)


def left_behind(folder: JobFolder, around: Path) -> list[str]:
    """Return what a job that has ended has left: processes, and files that are not its result."""
    deadline = time.monotonic() + GONE
    while (left := commands(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    wrong = [f"still there: {command}" for command in left]
    unwanted: Iterator[Path]
    for what, unwanted in (
        ("an unfinished checkpoint", folder.checkpoints.glob(".*")),
        ("a process's record", folder.processes.glob("*")),
        ("the journal", folder.path.glob("journal*")),
        ("a part", folder.parts.glob("*")),
        ("beside the output", (path for path in around.iterdir() if path.name.startswith("."))),
        ("in the job's folder", (path for path in folder.path.iterdir() if path.name.startswith("."))),
        ("a temporary folder", (path for path in Path(tempfile.gettempdir()).glob("elasticdl-*"))),
    ):
        wrong += [f"{what}: {path}" for path in unwanted]
    return wrong


def commands(folder: JobFolder) -> list[str]:
    """The command lines of processes that belong to the job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if os.fspath(folder.path) in command:
                found.append(f"{path.parent.name} {command}")
    living = chaos.processes(folder)
    return found + [f"{process.pid} {name}" for name, process in living.items() if not found]


def hit(folder: Path, name: str, *, blows: int, seed: int, mean: float = 2.5, records: int = 0) -> Result:
    """Run one job of this configuration in an empty folder, hit it, and return what it has come to.

    It has so many `records`, or as many as such jobs usually have.
    """
    if JOBS[name].get("kind") == "predict" and not (folder.parent / "numbers").exists():
        train_numbers(folder.parent / "numbers")
    os.environ["ELASTICDL_HOME"] = os.fspath(folder / "home")
    # Temporary folders of this job alone. Not deep in others, as sockets in them need short paths.
    with tempfile.TemporaryDirectory(prefix="hit-", dir="/tmp") as temporary:
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
        try:
            return Loop(folder, name, blows, seed, mean, records).run()
        finally:
            del os.environ["TMPDIR"]
            tempfile.tempdir = None


def train_numbers(folder: Path) -> None:
    """Train the model for predictions, whose output is the number of the record."""
    os.environ["ELASTICDL_HOME"] = os.fspath(folder / "home")
    written = counting.write(folder, RECORDS)
    elasticdl_nb.train(**{**written, "model_def": "counting.numbers"}, minibatch_size=RECORDS, wait=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--blows", type=int, default=30)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--mean", type=float, default=2.5, help="seconds between two blows, on average")
    parser.add_argument("--keep", help="a folder to keep everything of the jobs in that something is wrong with")
    given = parser.parse_args()
    bad = 0
    print(f"{'job':<16}{'seed':>5}{'blows':>7}{'restarts':>10}{'seconds':>9}  result", flush=True)
    for seed in given.seeds:
        for name in given.jobs:
            with tempfile.TemporaryDirectory() as parent:
                folder = Path(parent) / "job"
                folder.mkdir()
                result = hit(folder, name, blows=given.blows, seed=seed, mean=given.mean)
                said = "; ".join(result.wrong) or "each record as often as said, nothing left"
                print(
                    f"{name:<16}{seed:>5}{len(result.blows):>7}{result.restarts:>10}{result.seconds:>9.1f}  {said}",
                    flush=True,
                )
                if result.wrong:
                    bad += 1
                    print("    " + "; ".join(result.blows), flush=True)
                    if given.keep:
                        os.rename(parent, Path(given.keep) / f"{name.replace(' ', '-')}-{seed}")
                        os.mkdir(parent)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
