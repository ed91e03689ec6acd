"""Whether the system has killed a process because memory ran out."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from elasticdl_nb.runtime.platform.base import Exited, InstanceId
from elasticdl_nb.runtime.platform.local import LocalPlatform
from elasticdl_nb.runtime.platform.outofmemory import OutOfMemory, counters

WORKER = InstanceId("worker", 0, "0")


def test_the_counters_of_the_process_s_own_groups_are_found(tmp_path: Path) -> None:
    process, groups = tmp_path / "self", tmp_path / "groups"
    (groups / "job").mkdir(parents=True)
    process.mkdir()
    (process / "cgroup").write_text("0::/job\n")
    assert counters(process, groups) == [Path("/proc/vmstat")]
    (groups / "job" / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert counters(process, groups) == [groups / "job" / "memory.events"]
    (groups / "memory" / "job").mkdir(parents=True)
    (groups / "memory" / "job" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    (process / "cgroup").write_text("8:pids:/job\n4:memory:/job\n")
    assert counters(process, groups) == [groups / "memory" / "job" / "memory.oom_control"]


def test_a_kill_counts_for_a_few_seconds(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("oom_kill 1\n")
    memory = OutOfMemory([counter, tmp_path / "gone"])
    assert not memory.has_struck()
    counter.write_text("oom_kill 2\n")
    for _ in range(2):
        assert memory.has_struck()
        memory.look()
    assert not memory.has_struck()


@pytest.mark.parametrize("who", ["the system", "someone", "the master"])
def test_only_a_kill_from_outside_is_put_down_to_memory(tmp_path: Path, who: str) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("oom_kill 1\n")

    async def run() -> Exited:
        platform = LocalPlatform(lambda role, index: tmp_path / f"{role}-{index}.log", tmp_path / "records")
        platform._memory = OutOfMemory([counter])
        await platform.start(WORKER, [sys.executable, "-c", "import time; time.sleep(100)"], {})
        if who != "someone":
            counter.write_text("oom_kill 2\n")
        if who == "the master":
            await platform.kill(WORKER)
        else:
            os.kill(platform._processes[WORKER].pid, signal.SIGKILL)
        async for event in platform.events():
            if isinstance(event, Exited):
                return event
        raise AssertionError

    event = asyncio.run(run())
    assert event.code == -signal.SIGKILL
    assert event.reason == ("was killed by the system because memory ran out" if who == "the system" else "")
    assert event.counts
