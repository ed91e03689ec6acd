"""Nothing waits for ever, and nothing is killed wrongly: processes that stop or die at the worst moments."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import counting
import pytest

import elasticdl_nb
from elasticdl_nb.job import Job, launch
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.control import guarding
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import Kill, Start
from elasticdl_nb.runtime.master.decisions.kinds import coordinator_of
from elasticdl_nb.runtime.master.decisions.membership import HELLO_LIMIT, PATIENT_HELLO_LIMIT
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

pytestmark = pytest.mark.timeout(900)
RECORDS, EPOCHS = 2000, 2
SERVED = {"distribution_strategy": "ParameterServerStrategy", "num_ps": 1, "num_workers": 2, "checkpoint_steps": 30}


def until(condition: Callable[[], object], seconds: float = 60.0) -> float:
    """Wait for it; return the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() < begun + seconds, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.fixture
def hold(tmp_path: Path) -> Callable[[], None]:
    (tmp_path / "hold").touch()
    return lambda: (tmp_path / "hold").unlink(missing_ok=True)


@pytest.fixture
def options(tmp_path: Path, hold: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Options of a job that counts; it is slow until `hold` is called."""
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    yield {
        **counting.write(tmp_path, RECORDS), "num_epochs": EPOCHS, "minibatch_size": 32,
        "num_minibatches_per_task": 4, "envs": {"TEST_SLOW": "3", "TEST_HOLD": os.fspath(tmp_path / "hold")},
        "job_name": "job",
    }  # fmt: skip
    for folder in JobFolder.all():
        launch.kill(folder)


def send(job: Job, number: signal.Signals, *names: str) -> dict[str, chaos.Process]:
    processes = chaos.processes(job.folder)
    for name in names:
        os.kill(processes[name].pid, number)
    return processes


def gone(process: chaos.Process) -> Callable[[], bool]:
    return lambda: not process.is_alive()


def check_end(job: Job, folder: Path) -> pb.JobStatus:
    """The job succeeds with the right counts, and two seconds later nothing of it is left."""
    job.wait(timeout=200)
    until(lambda: not of_job(job.folder), 2.0)
    status = job.status()
    assert status.phase == pb.SUCCEEDED
    assert Counter(counting.uses(folder)) == {EPOCHS: RECORDS}
    assert not list(job.folder.path.glob("journal*"))
    return status


def of_job(folder: JobFolder) -> list[str]:
    """Names of the job's processes, and command lines with its folder in the list of processes."""
    commands = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in commands.splitlines() if os.fspath(folder.path) in line and not line.startswith("Z")]
    return [*lines, *chaos.processes(folder)]


def wait_for_work(job: Job) -> None:
    def works() -> bool:
        status = job.status()
        assert not status.finished_at, status.failure.message
        return status.records_done > 0

    until(works, 120)


# ------------------------------------------------------------ processes that never say hello


@pytest.mark.parametrize("role", ["worker", "ps"])
def test_one_that_runs_and_does_not_say_hello_is_replaced(role):
    job = coordinator_of(JobSpec.create("train", model_def="m", data="f", **SERVED))
    job.handle(events.Started(), 1.0, 1.0)
    key = (role, 0, "0")
    job.actions.clear()
    job.handle(events.Ticked(), 1000.0, 1.0)
    assert not job.actions, "it may be waiting for room on a cluster"
    job.handle(events.Runs(key), 1000.0, 1.0)
    job.handle(events.Ticked(), 1000.0 + HELLO_LIMIT, 1.0)
    assert not job.actions
    job.handle(events.Ticked(), 1001.0 + HELLO_LIMIT, 1.0)
    assert job.actions[:2] == [Kill(key), Start((role, 0, "1"))]
    # Another master waits as long again. After a few in a row, they get far more time: the machine may be busy.
    now, given = 2000.0, []
    for number in range(1, 5):
        key = (role, 0, str(number))
        job.handle(events.Runs(key), now, 1.0)
        now += 25.0
        job.handle(events.Recovered((key,)), now, 1.0)
        job.actions.clear()
        for second in range(1000):
            job.handle(events.Ticked(), now + second, 1.0)
            if Kill(key) in job.actions:
                given.append(second - 1)
                break
        now += 1000.0
    assert given == [HELLO_LIMIT, HELLO_LIMIT, PATIENT_HELLO_LIMIT, PATIENT_HELLO_LIMIT]


def test_servers_and_workers_that_stop_before_their_hello(options, tmp_path, hold):
    """Both at once: what is to be seen takes half a minute."""
    job = elasticdl_nb.train(**options, **SERVED, wait=False)
    wait_for_work(job)
    before = send(job, signal.SIGKILL, "worker-1", "ps-0")
    stopped = {}

    def stop_the_next() -> bool:
        for name in ("worker-1", "ps-0"):
            process = chaos.processes(job.folder).get(name)
            if name in stopped or not process or process == before[name]:
                continue
            os.kill(process.pid, signal.SIGSTOP)
            if state(name) == "starting":
                stopped[name] = process
            else:  # It was faster: try it with the next one.
                os.kill(process.pid, signal.SIGKILL)
                before[name] = process
        return len(stopped) == 2

    def state(name: str) -> str:
        return {f"{one.role}-{one.index}": one.state for one in job.status().instances}[name]

    until(stop_the_next, 120)
    for process in stopped.values():
        until(gone(process), HELLO_LIMIT + 10)
    hold()
    status = check_end(job, tmp_path)
    assert sum("has not said hello" in event.text for event in status.events) == 2


# ------------------------------------------------------------ supervisor and master


def test_supervisors_and_masters_that_die_and_stop_in_any_order(options, tmp_path, hold):
    job = elasticdl_nb.train(**options, **SERVED, wait=False)
    wait_for_work(job)
    kill, stop = signal.SIGKILL, signal.SIGSTOP
    for blows in (
        [(kill, "supervisor"), (kill, "master")],
        [(kill, "master"), (kill, "supervisor")],
        [(stop, "supervisor"), (kill, "master")],
        [(stop, "master"), (kill, "supervisor")],
    ):
        before = chaos.processes(job.folder)
        for number, name in blows:
            os.kill(before[name].pid, number)
        until(gone(before["master"]), 45)
        until(gone(before["supervisor"]), 45)
        until(lambda: {"supervisor", "master"} <= set(chaos.processes(job.folder)))
        until(job.folder.living_master)
        assert job.status().phase == pb.RUNNING and job.folder.is_alive()
    # One that stops is replaced, too, and none that is stopped stays behind when the job ends.
    before = send(job, stop, "supervisor")
    until(gone(before["supervisor"]), guarding.HUNG_SECONDS + 10)
    until(lambda: "supervisor" in chaos.processes(job.folder))
    hold()
    status = check_end(job, tmp_path)
    assert not any(one.restarts for one in status.instances), "workers and servers went on"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_job_whose_supervisor_is_killed_or_stopped_ends_at_once(options, hold, number):
    job = elasticdl_nb.train(**{**options, "num_epochs": 1}, wait=False)
    wait_for_work(job)
    before = send(job, number, "supervisor")
    if number == signal.SIGKILL:
        until(lambda: "supervisor" in chaos.processes(job.folder) and gone(before["supervisor"])())
    hold()
    until(lambda: job.status().finished_at, 60)
    until(lambda: not of_job(job.folder), 2.0)
    assert job.status().phase == pb.SUCCEEDED


def test_a_job_all_of_whose_processes_die_goes_on_if_someone_watches_it(options, tmp_path, hold):
    job = elasticdl_nb.train(**options, wait=False)
    wait_for_work(job)
    watching = job.watch()
    next(watching)
    send(job, signal.SIGKILL, "supervisor", "master", "worker-0")
    hold()
    assert list(watching)[-1].phase == pb.SUCCEEDED
    check_end(job, tmp_path)


def test_processes_end_when_nobody_comes_back(options):
    job = elasticdl_nb.train(**options, **SERVED, wait=False)
    wait_for_work(job)
    job.folder.mark_over()
    send(job, signal.SIGKILL, "supervisor", "master")
    until(lambda: not of_job(job.folder), 10)
    assert job.status().phase == pb.FAILED
    assert job.folder.temporary() is None


# ------------------------------------------------------------ the first seconds


@pytest.mark.parametrize("lock", ["master.lock", "supervisor.lock"])
def test_a_job_starts_whoever_is_killed_in_its_first_second(options, tmp_path, hold, lock):
    """The command line, so that its exit code and what it prints are seen."""
    hold()
    given = [f"--{name}={value}" for name, value in options.items() if name not in ("envs", "saved_model")]
    command = [sys.executable, "-m", "elasticdl_nb", "train", *given, "--saved_model=false"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    path = tmp_path / "home" / "jobs" / "job" / lock
    until(lambda: path.exists() and path.read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(path.read_text()), signal.SIGKILL)
    said, _ = client.communicate(timeout=200)
    assert client.returncode == 0, said
    assert Counter(counting.uses(tmp_path)) == {EPOCHS: RECORDS}


# ------------------------------------------------------------ clients that vanish, and machines that sleep


def test_a_job_ends_a_minute_after_the_client_that_waited_for_it(options, tmp_path, monkeypatch):
    given = [f"--{name}={value}" for name, value in options.items() if name not in ("envs", "saved_model")]
    envs = f"--envs=TEST_SLOW=3,TEST_HOLD={tmp_path / 'hold'}"
    client = subprocess.Popen([sys.executable, "-m", "elasticdl_nb", "train", *given, envs], stderr=subprocess.DEVNULL)
    until(lambda: JobFolder.all() and JobFolder.all()[0].master(), 60)
    folder = JobFolder.all()[0]
    client.kill()  # as early as it can be
    client.wait()
    took = until(lambda: folder.is_over(), 90)
    assert took > 50
    until(lambda: not of_job(folder), 2.0)
    status = folder.status()
    assert status is not None and status.phase == pb.CANCELLED
    assert any("its client has been gone" in event.text for event in status.events)


def test_a_pause_of_the_whole_job_is_no_death(options, tmp_path, hold):
    job = elasticdl_nb.train(**options, **SERVED, wait=False)
    wait_for_work(job)
    processes = chaos.processes(job.folder)
    for process in processes.values():
        os.kill(process.pid, signal.SIGSTOP)
    time.sleep(HELLO_LIMIT + 5)
    for process in processes.values():
        os.kill(process.pid, signal.SIGCONT)
    done = job.status().records_done
    until(lambda: job.status().records_done > done)
    hold()
    assert chaos.processes(job.folder) == processes
    status = check_end(job, tmp_path)
    assert not any(one.restarts for one in status.instances)
