"""The parts of recovery: schedules, and processes that outlive the one that started them."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.chaos import Cut, Delay, Ledger, Scale, Signal, choose, parse_schedule, poisson
from elasticdl_nb.runtime.chaos.blows import cut
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.exits import likely_cause
from elasticdl_nb.runtime.platform import local
from elasticdl_nb.runtime.platform.base import Exited, InstanceId, Runs
from elasticdl_nb.runtime.platform.local import LocalPlatform
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.locks import Process, hold_lock, holder, is_locked
from elasticdl_nb.runtime.storage.pauses import FIRST, write_at_last

# ------------------------------------------------------------ chaos


def test_schedules_are_read_in_the_order_of_their_times():
    assert parse_schedule("20s scale 4; 10 kill worker-0\n1.5s stop ps") == [
        Signal(1.5, signal.SIGSTOP, ("ps",)),
        Signal(10.0, signal.SIGKILL, ("worker",), 0),
        Scale(20.0, 4),
    ]
    assert parse_schedule("1s cut ps-1; 2s stop worker for 3s; 3s delay master; 4s delay ps-0 by 0.1s for 9s") == [
        Cut(1.0, ("ps",), 1),
        Signal(2.0, signal.SIGSTOP, ("worker",), pause=3.0),
        Delay(3.0, ("master",)),
        Delay(4.0, ("ps",), 0, late=0.1, pause=9.0),
    ]


@pytest.mark.parametrize(
    "text", ["10s kill client", "kill worker-0", "1s scale", "soon kill ps-1", "1s kill ps for 2s", "1s stop ps by 2s"]
)
def test_a_schedule_that_is_not_understood_is_refused(text):
    with pytest.raises(OptionError, match=r"schedule: .*is not valid"):
        parse_schedule(text)


def test_random_deaths_can_be_repeated_and_have_their_mean():
    events = list(poisson(5.0, kills=2000, seed=1))
    assert events == list(poisson(5.0, kills=2000, seed=1)) != list(poisson(5.0, kills=2000, seed=2))
    assert events[-1].at / 2000 == pytest.approx(5.0, rel=0.1)
    assert len(list(itertools.islice(poisson(1.0), 10))) == 10
    mixed = list(poisson(1.0, kills=400, acts=chaos.ACTS))
    assert {type(event) for event in mixed} == {Signal, Cut, Delay}
    assert {event.pause > 0 for event in mixed if isinstance(event, Signal) and event.signal == signal.SIGSTOP} == {
        True
    }
    with pytest.raises(OptionError, match="acts: burn; expected some of kill"):
        next(poisson(1.0, acts=("burn",)))


def test_a_signal_finds_its_process():
    living = ["worker-0", "worker-1", "ps-0", "master"]
    assert choose(Signal(0, signal.SIGKILL, ("worker",), 1), living) == "worker-1"
    assert choose(Signal(0, signal.SIGKILL, ("worker",), 2), living) is None
    assert choose(Signal(0, signal.SIGKILL, ("master",)), living) == "master"
    assert {choose(Signal(0, signal.SIGKILL, chaos.ROLES, None, n / 100), living) for n in range(100)} == set(living)


def test_the_cost_of_a_blow_is_the_time_to_the_next_useful_step_and_what_was_thrown_away():
    ledger = Ledger()

    def seen(at: float, records: int, rollbacks: int = 0, **more: object) -> None:
        phase = more.pop("phase", pb.RUNNING)
        ledger.seen(at, pb.JobStatus(
            records_done=records, records_total=300, step=records // 10, rollbacks=rollbacks, num_epochs=3, phase=phase,
        ))  # fmt: skip

    seen(0.0, 100)
    ledger.struck(1.0, "SIGKILL to worker-0")
    seen(1.1, 100)  # what it was before the blow
    seen(1.5, 110)
    ledger.struck(2.0, "SIGKILL to ps-0", goes_back=True)
    seen(2.2, 120)  # a worker did not know yet
    seen(3.0, 50, 1)
    seen(4.0, 50, 1)
    seen(6.0, 60, 1)
    ledger.struck(7.0, "SIGKILL to master")
    seen(9.0, 300, 1, phase=pb.SUCCEEDED)
    report = ledger.report
    assert [(blow.seconds, blow.records, blow.steps) for blow in report.blows] == [
        (0.5, 0, 0),
        (4.0, 70, 7),
        (2.0, 0, 0),
    ]
    assert report.is_exact and "Each record was used as often as said: 300 of 300" in report.lines()[-1]
    report.uses = {3.0: 99, 4.0: 1}
    assert not report.is_exact and "1 record(s) 4 times (3 expected)" in report.lines()[-1]


def test_connections_are_cut_and_listening_goes_on():
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            f"import socket; s = socket.create_connection(('127.0.0.1', {server.getsockname()[1]})); print(s.recv(1))"
        )
        client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        connection, _ = server.accept()
        with connection:
            try:
                assert cut(Process.of(client.pid)) == 1
            except PermissionError:
                pytest.skip("this user may not trace processes")
            assert connection.recv(1) == b"" and client.communicate(timeout=60)[0].strip() == b"b''"
        assert cut(Process.of(os.getpid())) >= 0
        socket.create_connection(server.getsockname()).close()


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

    async def scene() -> list[Exited | Runs]:
        first = platform()
        for instance in (one, two):
            await first.start(instance, ["sleep", "1000"], {})
        second = platform()
        assert sorted(await second.adopt(), key=str) == sorted([one, two], key=str)
        await second.kill(one)
        assert {await anext(second.events()), await anext(second.events())} == {Runs(one), Runs(two)}
        exits = [await anext(second.events())]
        assert sorted(path.name for path in (tmp_path / "processes").iterdir()) == ["ps-1-3"]
        await second.close()
        exits.append(await anext(second.events()))
        await first.close()
        return exits

    assert asyncio.run(scene()) == [Exited(one, -9), Exited(two, -9)]
    assert not list((tmp_path / "processes").iterdir())


# ------------------------------------------------------------------ disks without room


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_process_that_cannot_be_recorded_is_not_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "AGAIN_SECONDS", 0.1)
    instance, mark = InstanceId("worker", 0, "0"), f"sleep-{os.getpid()}"

    async def scene() -> Exited | Runs:
        platform = LocalPlatform(lambda role, index: tmp_path / "log", tmp_path / "processes")
        (tmp_path / "processes" / "worker-0-0").symlink_to("/dev/full")
        await platform.start(instance, [sys.executable, "-c", "import time; time.sleep(1000)", mark], {})
        said = await anext(platform.events())
        await platform.close()
        return said

    said = asyncio.run(scene())
    assert isinstance(said, Exited) and not said.counts
    assert said.reason.startswith("could not be started: ") and "No space left on device" in said.reason
    assert not [one for one in psutil.process_iter() if mark in _command(one)]


def test_a_process_s_end_is_told_though_its_record_cannot_be_removed(tmp_path):
    instance = InstanceId("worker", 0, "0")

    async def scene() -> list[Exited | Runs]:
        platform = LocalPlatform(lambda role, index: tmp_path / "log", tmp_path / "processes")
        await platform.start(instance, ["sleep", "1000"], {})
        record = tmp_path / "processes" / "worker-0-0"
        record.unlink()
        record.mkdir()  # which `unlink` cannot remove
        await platform.kill(instance)
        await asyncio.wait(platform._watchers)
        return [platform._news.get_nowait() for _ in range(platform._news.qsize())]

    assert asyncio.run(scene())[-1] == Exited(instance, -9)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_what_a_job_needs_is_written_as_soon_as_there_is_room():
    notes, slept = [], []
    left = [errno.ENOSPC, errno.EROFS]

    def write() -> None:
        if left:
            raise OSError(left[0], os.strerror(left.pop(0)))

    write_at_last(write, "it", lambda level, text: notes.append((level, text)), slept.append)
    assert slept == [FIRST, 2 * FIRST]
    assert notes == [
        ("warning", "it could not be written: [Errno 28] No space left on device; the job waits until it can be"),
        ("info", "it can be written again; the job goes on"),
    ]
    left.append(errno.EACCES)
    with pytest.raises(PermissionError):
        write_at_last(write, "it", lambda level, text: None, slept.append)
    assert likely_cause(1, "OSError: [Errno 28] No space left on device") == "a disk is full or cannot be written"
