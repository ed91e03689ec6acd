"""Jobs of real processes that are killed: each role alone, several together, and again and again."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import RECORDS

import elasticdl_nb
from elasticdl_nb.job import Job
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.protocol import master_pb2 as pb

pytestmark = pytest.mark.timeout(900)
SERVED = {"distribution_strategy": "ParameterServerStrategy", "num_ps": 2, "num_workers": 2, "checkpoint_steps": 30}
EPOCHS = 4
"""Minutes of training while it is slowed down, seconds afterwards."""

KILLS = int(os.environ.get("ELASTICDL_TEST_KILLS", "7"))


def wait_until(condition: Callable[[], object], job: Job | None = None, seconds: float = 200.0) -> None:
    """Wait until something happens; if `job` is given, it must happen while the job runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        if job is not None:
            status = job.status()
            assert not status.finished_at, f"the job ended before: {status}"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def wait_for_records(job: Job, more_than: int) -> None:
    wait_until(lambda: job.status().records_done > more_than, job)


def check_end(job: Job, records: int) -> pb.JobStatus:
    """The job does what it should and leaves nothing behind."""
    job.wait(timeout=240)
    status = job.status()
    assert (status.phase, status.records_done, status.records_total) == (pb.SUCCEEDED, records, records)
    assert status.tasks_done == status.tasks_total
    assert job.metrics["mse"] < 0.5
    check_nothing_is_left(job)
    return status


def check_nothing_is_left(job: Job) -> None:
    wait_until(lambda: not chaos.processes(job.folder))
    assert not list(job.folder.processes.iterdir())
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(job.folder.path) not in commands
    assert not list(job.folder.path.glob("journal*"))
    assert not list(job.folder.checkpoints.glob(".*"))
    assert job.folder.temporary() is None


def kill(job: Job, *names: str) -> Callable[[], bool]:
    """Kill processes; return a function that says whether others have replaced them."""
    before = chaos.processes(job.folder)
    for name in names:
        os.kill(before[name].pid, signal.SIGKILL)

    def replaced() -> bool:
        now = chaos.processes(job.folder)
        return all(name in now and now[name] != before[name] for name in names)

    return replaced


def listens(job: Job) -> bool:
    """Whether the job's status comes from a living master rather than from a dead one's files."""
    return bool(job.folder.living_master())


def test_a_job_survives_the_death_of_each_role(start, hold):
    job = start(**SERVED, num_epochs=EPOCHS)
    wait_until(lambda: job.status().checkpoint_step > 0, job)
    for names in (["worker-0"], ["master"], ["supervisor"], ["ps-1"], ["master", "worker-1", "ps-0"]):
        wait_until(kill(job, *names))
        wait_until(lambda: listens(job))
        wait_for_records(job, job.status().records_done)
    hold()
    status = check_end(job, EPOCHS * RECORDS)
    assert status.rollbacks >= 2
    assert {(i.role, i.index): i.restarts for i in status.instances if i.role != "master"} == {
        ("worker", 0): 1, ("worker", 1): 1, ("ps", 0): 1, ("ps", 1): 1,
    }  # fmt: skip


def test_random_deaths_every_few_seconds(start, hold, tmp_path, monkeypatch):
    usual = tmp_path / "usual"
    usual.mkdir()
    monkeypatch.setenv("TMPDIR", str(usual))
    epochs = 3 + KILLS // 3
    job = start(**SERVED, num_epochs=epochs)
    wait_for_records(job, 0)
    assert chaos.unleash(job.folder, chaos.poisson(3.0, kills=KILLS, seed=5, roles=chaos.ROLES)) > KILLS // 2
    hold()
    check_end(job, epochs * RECORDS)
    assert not list(usual.iterdir())


def test_a_local_job_goes_on_under_another_master_with_the_worker_it_had(start, hold):
    job = start(num_epochs=3)
    wait_for_records(job, 0)
    wait_until(kill(job, "master"))
    hold()
    status = check_end(job, 3 * RECORDS)
    assert [i.restarts for i in status.instances if i.role == "worker"] == [0]
    assert any("restarted" in event.text for event in status.events)


def test_a_master_that_is_killed_again_and_again_counts_every_task_once(start, hold):
    job = start(**{**SERVED, "num_minibatches_per_task": 1}, num_epochs=EPOCHS)
    wait_for_records(job, 0)
    hold()
    for _ in range(5):
        if job.status().finished_at:
            break
        wait_until(kill(job, "master"))
        wait_until(lambda: listens(job))
        time.sleep(1.0)  # of work under this master
    status = check_end(job, EPOCHS * RECORDS)
    assert status.tasks_done == EPOCHS * RECORDS // 32
    assert sum("restarted" in event.text for event in status.events) >= 3
    assert not status.rollbacks and not any(instance.restarts for instance in status.instances)


def journal_of_a_later_version(path: Path) -> str:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE about SET format = 99, package = '77.3'")
    database.close()
    ours = elasticdl_nb.__version__
    return rf"format 99, written by elasticdl_nb 77\.3, but this is elasticdl_nb {ours}, .* start the job again"


def journal_that_is_gone(path: Path) -> str:
    for part in path.parent.glob("journal.db*"):
        part.unlink()
    return "the job's journal is gone"


@pytest.mark.parametrize("change", [journal_of_a_later_version, journal_that_is_gone])
def test_a_master_that_cannot_read_the_journal_ends_the_job_and_says_why(start, change):
    job = start(**SERVED, num_epochs=EPOCHS)
    wait_until(lambda: len(job.status().losses) > 2, job)
    wait_until(lambda: (job.folder.status() or pb.JobStatus()).losses, job)  # as users last saw it
    message = change(job.folder.path / "journal.db")
    os.kill(chaos.processes(job.folder)["master"].pid, signal.SIGKILL)
    with pytest.raises(JobFailed, match=message) as caught:
        job.wait(timeout=60)
    assert "Traceback" not in str(caught.value)
    status = job.status()
    assert status.phase == pb.FAILED and re.search(message, status.failure.message)
    assert status.losses and status.started_at and status.events[-1].level == "error"
    assert {instance.state for instance in status.instances} == {"stopped"}
    wait_until(lambda: not chaos.processes(job.folder) and not job.folder.is_alive())
    assert "Traceback" not in job.folder.log_path("master").read_text()


def test_workers_join_and_leave_and_cancelling_ends_all(start):
    job = start(**{**SERVED, "num_workers": 1}, num_epochs=EPOCHS)
    wait_for_records(job, 0)
    job.scale(workers=3)
    wait_until(lambda: sum(i.tasks_done > 0 for i in job.status().instances if i.role == "worker") == 3, job)
    job.scale(workers=1)
    wait_until(lambda: sum(i.state == "running" for i in job.status().instances if i.role == "worker") == 1, job)
    assert job.status().num_workers == 1
    kill(job, "master")
    job.cancel()
    assert job.status().phase == pb.CANCELLED
    check_nothing_is_left(job)


def test_a_server_that_hangs_is_replaced_and_one_that_paused_is_found_again(start, hold):
    job = start(**SERVED, num_epochs=4)
    wait_for_records(job, 0)
    # For longer than workers wait for a sign of life, and shorter than the master does.
    chaos.unleash(job.folder, chaos.parse_schedule("0s stop ps-1; 8s continue ps-1"))
    wait_for_records(job, job.status().records_done)
    chaos.unleash(job.folder, chaos.parse_schedule("0s stop ps-0"))
    wait_until(lambda: any("ps-0 has been silent" in event.text for event in job.status().events), job)
    hold()
    check_end(job, 4 * RECORDS)


def test_the_command_line_scales_and_kills_also_between_machines(start, hold, monkeypatch):
    monkeypatch.setenv("ELASTICDL_BIND", "127.0.0.2")
    monkeypatch.setenv("ELASTICDL_ENCRYPT", "1")
    job = start(**SERVED, num_epochs=EPOCHS)
    wait_for_records(job, 0)
    assert job.folder.living_master().startswith("tls://127.0.0.2:")
    sockets = [c for p in chaos.processes(job.folder).values() for c in psutil.Process(p.pid).net_connections()]
    places = {c.laddr.ip.removeprefix("::ffff:") for c in sockets if c.status == psutil.CONN_LISTEN}
    assert places == {"127.0.0.1", "127.0.0.2"}  # the former belongs to the dashboard
    command = [sys.executable, "-m", "elasticdl_nb"]
    schedule = "0s kill worker-0; 0.1s scale 3; 1s cut ps-1; 2s stop ps-0 for 1s; 3s delay worker-1; 4s cut master"
    trial = subprocess.Popen(
        [*command, "chaos", job.name, f"--schedule={schedule}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: any(i.restarts for i in job.status().instances), job)
    time.sleep(6)
    subprocess.run([*command, "scale", job.name, "--workers=2"], check=True)
    hold()
    report, told = trial.communicate(timeout=240)
    assert trial.returncode == 0, report + told
    for what in ("SIGKILL to worker-0", "3 worker(s)", "connection(s) of ps-1", "SIGSTOP to ps-0", "s late for"):
        assert what in told and what in report
    assert "6 blow(s)" in report and "Each record was used as often as said" in report
    check_end(job, EPOCHS * RECORDS)
