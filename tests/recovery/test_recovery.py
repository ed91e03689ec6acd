"""Jobs of real processes that are killed: each role, together, and again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from conftest import RECORDS

from elasticdl_nb.job import Job
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.protocol import master_pb2 as pb

SERVED = {"distribution_strategy": "ParameterServerStrategy", "num_ps": 2, "num_workers": 2, "checkpoint_steps": 50}
KILLS = int(os.environ.get("ELASTICDL_TEST_KILLS", "10"))


def wait_until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.02)


def trained(job: Job, records: int) -> Callable[[], bool]:
    return lambda: job.status().records_done >= records


def check_end(job: Job, records: int) -> pb.JobStatus:
    """The job has done what it should, and has left nothing."""
    job.wait(timeout=240)
    status = job.status()
    assert (status.phase, status.records_done, status.records_total) == (pb.SUCCEEDED, records, records)
    assert status.tasks_done == status.tasks_total
    assert job.metrics["mse"] < 0.5
    check_nothing_is_left(job)
    return status


def check_nothing_is_left(job: Job) -> None:
    wait_until(lambda: not chaos.processes(job.folder), 10)
    assert not list(job.folder.processes.iterdir())
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(job.folder.path) not in commands
    assert not list(job.folder.path.glob("journal*"))
    assert not list(job.folder.checkpoints.glob(".*"))


def kill(job: Job, *names: str) -> None:
    living = chaos.processes(job.folder)
    for name in names:
        os.kill(living[name].pid, signal.SIGKILL)


def test_a_job_survives_the_death_of_each_role(start):
    job = start(**SERVED, num_epochs=3)
    wait_until(lambda: job.status().checkpoint_step > 0)
    for names in (["worker-0"], ["master"], ["supervisor"], ["ps-1"], ["master", "worker-1", "ps-0"]):
        before = job.status().records_done
        kill(job, *names)
        wait_until(lambda names=names: set(names) <= set(chaos.processes(job.folder)))
        wait_until(lambda before=before: job.status().records_done != before)
    status = check_end(job, 3 * RECORDS)
    assert status.rollbacks >= 2
    assert {(i.role, i.index): i.restarts for i in status.instances if i.role != "master"} == {
        ("worker", 0): 1, ("worker", 1): 1, ("ps", 0): 1, ("ps", 1): 1,
    }  # fmt: skip


def test_random_deaths_every_few_seconds(start):
    job = start(**SERVED, num_epochs=2 + KILLS // 3)
    wait_until(trained(job, 1))
    assert chaos.unleash(job.folder, chaos.poisson(3.0, kills=KILLS, seed=5, roles=chaos.ROLES)) > KILLS // 2
    check_end(job, (2 + KILLS // 3) * RECORDS)


def test_a_local_job_goes_on_under_another_master_with_the_worker_it_had(start):
    job = start(num_epochs=3)
    wait_until(trained(job, 1000))
    kill(job, "master")
    status = check_end(job, 3 * RECORDS)
    assert [i.restarts for i in status.instances if i.role == "worker"] == [0]
    assert any("started again" in event.text for event in status.events)


def test_workers_and_servers_end_by_themselves_when_nobody_comes_back(start):
    job = start(**SERVED, num_epochs=50)
    wait_until(lambda: len(chaos.processes(job.folder)) == 6)
    kill(job, "supervisor", "master")
    wait_until(lambda: not chaos.processes(job.folder), 15)
    assert job.status().phase == pb.FAILED


def test_workers_join_and_leave_and_cancelling_ends_all(start):
    job = start(**{**SERVED, "num_workers": 1}, num_epochs=100)
    wait_until(trained(job, 500))
    job.scale(workers=3)
    wait_until(lambda: sum(i.tasks_done > 0 for i in job.status().instances if i.role == "worker") == 3)
    job.scale(workers=1)
    wait_until(lambda: sum(i.state == "running" for i in job.status().instances if i.role == "worker") == 1)
    assert job.status().num_workers == 1
    kill(job, "master")
    begun = time.monotonic()
    job.cancel()
    assert time.monotonic() - begun < 10
    assert job.status().phase == pb.CANCELLED
    check_nothing_is_left(job)


def test_a_server_that_hangs_is_replaced(start):
    job = start(**SERVED, num_epochs=4)
    wait_until(trained(job, 1000))
    chaos.unleash(job.folder, chaos.parse_schedule("0s stop ps-0"))
    wait_until(lambda: any("ps-0 has been silent" in event.text for event in job.status().events))
    check_end(job, 4 * RECORDS)


def test_the_command_line_scales_and_kills(start):
    job = start(**SERVED, num_epochs=6)
    wait_until(trained(job, 500))
    command = [sys.executable, "-m", "elasticdl_nb"]
    done = subprocess.run(
        [*command, "chaos", job.name, "--schedule=0s kill worker-0; 0.1s scale 3"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "SIGKILL to worker-0" in done.stderr and "3 worker(s)" in done.stderr
    subprocess.run([*command, "scale", job.name, "--workers=2"], check=True)
    check_end(job, 6 * RECORDS)
