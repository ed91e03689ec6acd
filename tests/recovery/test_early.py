"""Processes that start before their task is known: they get their task, or leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import counting
import psutil
import pytest

import elasticdl_nb
from elasticdl_nb.job import launch
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.platform import local
from elasticdl_nb.runtime.platform.base import Exited, InstanceId, Runs
from elasticdl_nb.runtime.platform.early import WAITS, EarlyProcess
from elasticdl_nb.runtime.platform.local import LocalPlatform
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

TALKER = """
import os, sys
from elasticdl_nb.runtime.platform.early import WAITS, arguments_when_told
waits, known = sys.argv[1] == WAITS, sys.argv[2:]
print(*(["early", *known] if waits else ["plain"]), flush=True)
arguments = arguments_when_told() if waits else sys.argv[1:]
print(*arguments, os.environ.get("FLAG", "no flag"), repr(sys.stdin.read()), flush=True)
sys.exit(7)
"""


@pytest.fixture
def talker(tmp_path, monkeypatch) -> str:
    (tmp_path / "talker.py").write_text(TALKER)
    monkeypatch.chdir(tmp_path)
    return "talker"


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ------------------------------------------------------------------ one process


def test_it_goes_on_with_what_it_is_told_and_what_it_said_before_is_in_its_log(talker, tmp_path):
    early = EarlyProcess(talker)
    assert early.is_as_if_started_now()
    assert early.tell(["a b", "c"], tmp_path / "log")
    assert early.process.wait(60) == 7
    assert (tmp_path / "log").read_text() == "early\na b c no flag ''\n"
    assert not early.is_as_if_started_now()


def test_it_leaves_when_it_is_dismissed(talker):
    early = EarlyProcess(talker)
    early.dismiss()
    assert early.process.wait(60) == 0
    early.dismiss()


def test_it_is_out_of_date_once_variables_or_the_folder_are_others(talker, tmp_path, monkeypatch):
    early = EarlyProcess(talker)
    monkeypatch.setenv("TF2_BEHAVIOR", "1")  # as an import of TensorFlow does
    assert early.is_as_if_started_now()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert not early.is_as_if_started_now()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.chdir(tmp_path.parent)
    assert not early.is_as_if_started_now()
    early.dismiss()
    early.process.wait(60)


# ------------------------------------------------------------------ on a platform


@pytest.mark.parametrize(("envs", "said"), [({}, "early\n0 x no flag ''\n"), ({"FLAG": "set"}, "plain\n0 x set ''\n")])
def test_a_platform_gives_it_the_first_part_that_needs_nothing_else(talker, tmp_path, envs, said):
    early = EarlyProcess(talker)
    instance = InstanceId("worker", 0, "0")

    async def play() -> Exited:
        platform = LocalPlatform(lambda role, index: tmp_path / "log", tmp_path / "notes", [early])
        news, other = aiter(platform.events()), InstanceId("ps", 0, "0")
        await platform.start(other, [sys.executable, "-c", "pass"], {})
        assert [await anext(news), await anext(news)] == [Runs(other), Exited(other, 0)]
        await platform.start(instance, [sys.executable, "-m", talker, "0", "x"], envs)
        assert (tmp_path / "notes" / "worker-0-0").exists()
        assert await anext(news) == Runs(instance)
        exited = await anext(news)
        assert isinstance(exited, Exited)
        await platform.close()
        return exited

    exited = asyncio.run(play())
    assert (exited.instance, exited.code, exited.log_tail) == (instance, 7, said)
    assert early.process.wait(60) == (0 if envs else 7)
    assert not list((tmp_path / "notes").iterdir())


def test_a_platform_keeps_one_ready_once_nothing_else_starts(talker, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "CALM_SECONDS", 0.5)
    children = psutil.Process().children

    async def play() -> None:
        before = len(children())
        platform = LocalPlatform(lambda role, index: tmp_path / "log", tmp_path / "notes")
        platform.keep_ready(talker, {}, "the job")
        assert len(children()) == before
        await asyncio.sleep(0.6)
        for _ in range(3):
            platform.keep_ready(talker, {}, "the job")
        assert len(children()) == before + 1
        news, instance = aiter(platform.events()), InstanceId("ps", 1, "2")
        await platform.start(instance, [sys.executable, "-m", talker, "1"], {})
        assert await anext(news) == Runs(instance)
        exited = await anext(news)
        assert isinstance(exited, Exited) and exited.log_tail == "early the job\n1 no flag ''\n"
        await asyncio.sleep(0.6)
        platform.keep_ready(talker, {}, "the job")
        assert len(children()) == before + 1
        await platform.close()
        assert len(children()) == before

    asyncio.run(play())


def test_a_server_in_waiting_replaces_one_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    job = elasticdl_nb.train(
        **counting.write(tmp_path, 4000), num_epochs=3, minibatch_size=32, num_minibatches_per_task=4, wait=False,
        distribution_strategy="ParameterServerStrategy", num_workers=1, checkpoint_steps=50,
        envs={"TEST_SLOW": "0.1", "TEST_HOLD": str(tmp_path / "hold")},
    )  # fmt: skip
    (tmp_path / "hold").touch()

    def pid_of(name: str) -> int | None:
        return getattr(chaos.processes(job.folder).get(name), "pid", None)

    def waits(process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):  # it is ending
            return process.cmdline()[2:4] == ["elasticdl_nb.runtime.ps", WAITS]
        return False

    def waiting() -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(master).children() if (master := pid_of("master")) else []
            return [one for one in found if waits(one)]
        return []

    try:
        until(lambda: waiting() and job.status().checkpoint_step > 0)
        (spare,) = waiting()
        os.kill(chaos.processes(job.folder)["ps-0"].pid, signal.SIGKILL)
        until(lambda: pid_of("ps-0") == spare.pid and job.status().rollbacks)
        until(waiting)
        (spare,) = waiting()
        os.kill(chaos.processes(job.folder)["master"].pid, signal.SIGKILL)
        until(lambda: not spare.is_running() or spare.status() == psutil.STATUS_ZOMBIE)  # the next master has its own
        (tmp_path / "hold").unlink()
        job.wait(timeout=200)
        until(lambda: not waiting())
    finally:
        launch.kill(job.folder)
    assert set(counting.uses(tmp_path)) == {3}


# ------------------------------------------------------------------ all processes of a job


@pytest.fixture
def folder(tmp_path, monkeypatch) -> JobFolder:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    folder = JobFolder.create(JobSpec.create("train", model_def="m", data="x.csv", job_name="job"))
    (folder.path / "spec.json").write_text("no JSON")
    return folder


def family(pid: int) -> list[psutil.Process]:
    """Supervisor, master and worker, once they exist."""
    until(lambda: len(psutil.Process(pid).children(recursive=True)) == 2)
    supervisor = psutil.Process(pid)
    return [supervisor, *supervisor.children(recursive=True)]


def test_nothing_is_left_of_processes_that_are_dismissed_or_whose_client_is_killed():
    early = launch.begin()
    processes = family(early.process.pid)
    launch.dismiss(early)
    assert not psutil.wait_procs(processes, timeout=60)[1]
    code = "from elasticdl_nb.job import launch; print(launch.begin().process.pid, flush=True); input()"
    client = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes = family(int(client.stdout.readline()))  # type: ignore[union-attr]
    client.kill()
    client.communicate()
    assert not psutil.wait_procs(processes, timeout=60)[1]


@pytest.mark.parametrize("victim", [None, 0, 1, 2])
def test_a_job_starts_whoever_of_them_has_died(folder, victim):
    early = launch.begin()
    processes = family(early.process.pid)
    if victim is not None:
        os.kill(processes[victim].pid, signal.SIGKILL)
        until(lambda: not processes[victim].is_running() or processes[victim].status() == "zombie")
    # The master gets as far as reading the job: that shows that it has received its arguments.
    with pytest.raises(JobFailed, match=r"ended at once, with exit code 1:(.|\n)*JSONDecodeError"):
        launch.launch(folder, early)
    assert not psutil.wait_procs(processes, timeout=60)[1]
    assert not folder.is_alive()
