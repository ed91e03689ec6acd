"""Processes that `warm` keeps waiting: the next job takes them, others take their place, and none outlives its use."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import counting
import psutil
import pytest

import elasticdl_nb
from elasticdl_nb.job.warm import pool
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform.early import WAITS
from elasticdl_nb.runtime.platform.local import WORKER

SERVED: dict[str, Any] = {"distribution_strategy": "ParameterServerStrategy", "num_workers": 2, "num_ps": 1}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    yield
    elasticdl_nb.warm(0)
    until(lambda: not waiting())


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 100
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waiting(parent: int | None = None) -> set[int]:
    """The ids of the workers that wait for a job of this process, or of another."""
    found = set()
    for process in psutil.Process(parent).children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command[-2:] == [WORKER, WAITS]:
            found.add(process.pid)
    return found


def test_a_job_takes_those_that_wait_and_others_come_in_their_place(tmp_path):
    elasticdl_nb.warm(workers=3)
    until(lambda: len(waiting()) == 3)
    before = waiting()
    job = elasticdl_nb.train(
        **counting.write(tmp_path / "one", 200), **SERVED, envs={"PYTHONUNBUFFERED": "1", "TEST_SLOW": "0"}, wait=False
    )
    # Variables of the job's own are not those that the processes were started with.
    assert not {pid for name, pid in pids(job).items() if name.startswith("worker")} & before
    job.wait()
    until(lambda: len(waiting() - before) == 3)

    before = waiting()
    job = elasticdl_nb.train(**counting.write(tmp_path / "two", 200), **SERVED, num_epochs=3, wait=False)
    workers = {pid for name, pid in pids(job).items() if name.startswith("worker")}
    assert len(workers) == 2 and workers < before
    job.wait()
    until(lambda: len(waiting()) == 3 and not waiting() & before)  # not even the one that was not needed
    assert Counter(counting.uses(tmp_path / "two")) == {3: 200}
    # The processes of a cell that fails before its job starts are for the next.
    early = pool.take()
    before = waiting()
    pool.put_back(early)
    assert pool.take() is early and waiting() == before
    pool.put_back(early)
    elasticdl_nb.warm(workers=1, idle=0.5)
    until(lambda: not waiting())


def pids(job: elasticdl_nb.Job) -> dict[str, int]:
    """The ids of the job's processes, once its two workers are among them."""
    found: dict[str, int] = {}

    def both() -> bool:
        found.update({name: process.pid for name, process in chaos.processes(job.folder).items()})
        return {"worker-0", "worker-1"} <= found.keys()

    until(both)
    return found


def test_none_is_used_in_other_surroundings(monkeypatch):
    elasticdl_nb.warm()
    until(waiting)
    before = waiting()
    monkeypatch.setenv("ELASTICDL_TEST", "other")
    early = pool.take()
    until(lambda: waiting() and not waiting() & before)
    pool.put_back(early)


def test_none_outlives_the_process_that_asked_for_it():
    program = "import elasticdl_nb; elasticdl_nb.warm(workers=2); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as parent:
        until(lambda: len(waiting(parent.pid)) == 2)
        left = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    psutil.wait_procs(left, timeout=100)
    assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("wrong", [{"workers": -1}, {"workers": True}, {"workers": "2"}, {"idle": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        elasticdl_nb.warm(**wrong)
