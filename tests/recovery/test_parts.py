"""The parts of recovery: schedules, and processes that outlive the one that started them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.chaos import Scale, Signal, choose, parse_schedule, poisson
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform.base import Exited, InstanceId, Runs
from elasticdl_nb.runtime.platform.local import LocalPlatform
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
