"""The parts that recovery is made of: schedules, the journal, and processes that outlive who started them."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.chaos import Scale, Signal, choose, parse_schedule, poisson
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.journal import Journal
from elasticdl_nb.runtime.platform.base import Exited, InstanceId
from elasticdl_nb.runtime.platform.local import LocalPlatform
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.locks import Process, hold_lock, holder, is_locked

# ------------------------------------------------------------ chaos


def test_schedules_are_read_in_the_order_of_their_times():
    assert parse_schedule("20s scale 4; 10 kill worker-0\n1.5s stop ps") == [
        Signal(1.5, signal.SIGSTOP, ("ps",)),
        Signal(10.0, signal.SIGKILL, ("worker",), 0),
        Scale(20.0, 4),
    ]


@pytest.mark.parametrize("text", ["10s kill client", "kill worker-0", "1s scale", "soon kill ps-1"])
def test_a_schedule_that_is_not_understood_is_refused(text):
    with pytest.raises(OptionError, match=r"schedule: .*is not valid"):
        parse_schedule(text)


def test_random_deaths_can_be_repeated_and_have_their_mean():
    events = list(poisson(5.0, kills=2000, seed=1))
    assert events == list(poisson(5.0, kills=2000, seed=1)) != list(poisson(5.0, kills=2000, seed=2))
    assert events[-1].at / 2000 == pytest.approx(5.0, rel=0.1)
    assert len(list(itertools.islice(poisson(1.0), 10))) == 10


def test_a_signal_finds_its_process():
    living = ["worker-0", "worker-1", "ps-0", "master"]
    assert choose(Signal(0, signal.SIGKILL, ("worker",), 1), living) == "worker-1"
    assert choose(Signal(0, signal.SIGKILL, ("worker",), 2), living) is None
    assert choose(Signal(0, signal.SIGKILL, ("master",)), living) == "master"
    assert {choose(Signal(0, signal.SIGKILL, chaos.ROLES, None, n / 100), living) for n in range(100)} == set(living)


# ------------------------------------------------------------ the journal


def test_a_journal_brings_back_what_the_coordinator_knew(tmp_path):
    spec = JobSpec.create("predict", trained_model="m", data="f", output="o", num_workers=2, minibatch_size=1)
    done = pb.TaskDone(id=1, attempt=1, records=32)
    events = [
        ("start", (1.0,)),
        ("data_counted", ([FileRecords("f", 100)], [], 1.5)),
        ("hello", (pb.Hello(role="worker", worker=0, incarnation="0", pid=7), 2.0)),
        ("message", (("worker", 0, "0"), pb.WorkerMessage(sequence=1, want=pb.Want(tasks=2)), 2.1)),
        ("exited", (("worker", 1, "0"), -9, "", 2.2)),
        ("message", (("worker", 0, "0"), pb.WorkerMessage(sequence=2, task_done=done), 3.0)),
    ]  # fmt: skip
    coordinator = Coordinator(spec, 0.5)
    journal = Journal(tmp_path / "journal.db")
    assert journal.recover() is None
    journal.replace(coordinator)
    for count, (name, arguments) in enumerate(events):
        getattr(coordinator, name)(*arguments)
        coordinator.actions.clear()
        journal.append(name, arguments)
        journal.commit(coordinator)
        if count == 2:
            journal.replace(coordinator)
    assert journal.append("cancel", ("never committed", 4.0))
    assert not journal.append("tick", (4.5,))
    again = Journal(tmp_path / "journal.db").recover()
    assert again.queue.records_done == coordinator.queue.records_done == {"predict": 32}
    assert pickle.dumps(again.queue) == pickle.dumps(coordinator.queue)
    assert [m.key for m in again.members()] == [("worker", 0, "0"), ("worker", 1, "1")]
    assert not again.actions
    journal.remove()
    assert not list(tmp_path.iterdir())


def test_a_journal_on_a_full_disk_says_so_and_goes_on_once_there_is_room(tmp_path):
    spec = JobSpec.create("predict", trained_model="m", data="f", output="o", minibatch_size=1)
    coordinator, journal = Coordinator(spec, 0.5), Journal(tmp_path / "journal.db")
    journal.replace(coordinator)
    pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    assert journal.append("cancel", ("x" * 100_000, 1.0))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.commit(coordinator)
    journal._database.execute(f"PRAGMA max_page_count = {pages + 100}")
    assert journal.append("cancel", ("on request", 2.0)), "nobody would commit any more"
    journal.commit(coordinator)
    assert Journal(tmp_path / "journal.db").recover().picture.events[-1].text == "cancelled: on request"


# ------------------------------------------------------------ processes


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


def test_a_process_is_told_from_a_later_one_with_its_number(sleeper, tmp_path):
    process = Process.of(sleeper.pid)
    process.write(tmp_path / "note")
    assert Process.read(tmp_path / "note") == process and process.is_alive()
    assert not Process(process.pid, "12345").is_alive()
    Process(process.pid, "12345").kill()
    assert process.is_alive()
    process.kill()
    sleeper.wait()
    assert not process.is_alive()


def test_a_lock_tells_who_holds_it(tmp_path):
    path = tmp_path / "lock"
    assert holder(path) == 0
    with hold_lock(path):
        assert is_locked(path) and holder(path) == os.getpid()
        with pytest.raises(BlockingIOError), hold_lock(path):
            pass
    assert holder(path) == 0 and not is_locked(path)


def test_a_platform_takes_over_what_another_has_started(tmp_path):
    one, two = InstanceId("worker", 0, "0"), InstanceId("ps", 1, "3")

    def platform() -> LocalPlatform:
        return LocalPlatform(lambda role, index: Path(tmp_path / f"{role}-{index}.log"), tmp_path / "processes")

    async def scene() -> list[Exited]:
        first = platform()
        for instance in (one, two):
            await first.start(instance, ["sleep", "1000"], {})
        second = platform()
        assert sorted(await second.adopt(), key=str) == sorted([one, two], key=str)
        await second.kill(one)
        exits = [await anext(second.events())]
        assert sorted(path.name for path in (tmp_path / "processes").iterdir()) == ["ps-1-3"]
        await second.close()
        exits.append(await anext(second.events()))
        await first.close()
        return exits

    assert asyncio.run(scene()) == [Exited(one, -9), Exited(two, -9)]
    assert not list((tmp_path / "processes").iterdir())
