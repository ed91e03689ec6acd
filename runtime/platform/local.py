"""This machine: an instance is a process in a session of its own that writes to a log file.

Each process is recorded in a file while it lives, so that a restarted master finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from elasticdl_nb.runtime.platform.base import Exited, InstanceId, Runs
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.platform.gpus import NONE, VISIBLE, Shares, seen_by
from elasticdl_nb.runtime.platform.outofmemory import LOOK_SECONDS, OutOfMemory
from elasticdl_nb.runtime.storage.locks import Process
from elasticdl_nb.runtime.storage.pauses import may_pass

TAIL_LINES = 20
POLL_SECONDS = 0.1
CALM_SECONDS = 3.0
"""Seconds after the last start of a process before another is made to wait."""

AGAIN_SECONDS = 5.0
"""Seconds before it is told that a process could not be started for want of room on the disk."""

_NO_MEMORY = "was killed by the system because memory ran out"
WORKER = "elasticdl_nb.runtime.worker"
WORKER_ENVS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONUNBUFFERED": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH", "true"),
}
"""Environment variables of every worker, unless the job sets them otherwise."""


class LocalPlatform:
    """Processes on this machine; `log_path(role, index)` is where each writes, `records` a folder that lists them.

    `early` are waiting processes that become the first ones started in their role, if those need nothing else. So does
    each process from `keep_ready`. Of `gpus`, each worker sees its own, and other processes none; without, all see what
    this process sees.
    """

    def __init__(
        self, log_path: Callable[[str, int], Path], records: Path, early: Sequence[EarlyProcess] = (),
        gpus: Shares | None = None,
    ) -> None:  # fmt: skip
        self._log_path, self._records = log_path, records
        self._early = [*early]
        self._gpus = gpus
        self._started_at = time.monotonic()
        self._processes: dict[InstanceId, Process] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._news: asyncio.Queue[Exited | Runs] = asyncio.Queue()
        self._killed: set[InstanceId] = set()
        self._memory = OutOfMemory()
        records.mkdir(exist_ok=True)

    async def start(self, instance: InstanceId, command: Sequence[str], envs: dict[str, str]) -> None:
        """Start a process."""
        self._started_at = time.monotonic()
        envs = {**envs, **self._with_gpus(instance)}
        if self._start_early(instance, command, envs):
            return
        child = None
        try:
            with self._log_path(instance.role, instance.index).open("ab") as log:
                child = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, **envs},
                )  # fmt: skip
            process = Process.of(child.pid)
            process.write(self._record(instance))
        except OSError as error:
            if child is not None:  # no other master would find it
                _kill_session(child.pid)
                await child.wait()
            self._free_gpus(instance)
            self._not_started(instance, error)
            return
        self._processes[instance] = process
        self._watch(instance, process, child.wait())
        self._news.put_nowait(Runs(instance))

    def _start_early(self, instance: InstanceId, command: Sequence[str], envs: dict[str, str]) -> bool:
        """Let the waiting process become this instance; return whether that was possible."""
        early = next((one for one in self._early if one.is_for(command)), None)
        if early is None:
            return False
        self._early.remove(early)
        process, end = Process.of(early.process.pid), _end_of(early.process)
        told = False
        if early.fits(envs):
            # The record comes first: once the process has its arguments, others must be able to find it.
            with contextlib.suppress(OSError):
                process.write(self._record(instance))
                told = early.tell(command[3:], self._log_path(instance.role, instance.index))
        if not told:
            early.dismiss()
            return False
        self._processes[instance] = process
        self._watch(instance, process, end)
        self._news.put_nowait(Runs(instance))
        return True

    def _not_started(self, instance: InstanceId, error: OSError) -> None:
        if not may_pass(error):
            self._news.put_nowait(Exited(instance, 127, str(error)))
            return
        exited = Exited(instance, 127, reason=f"could not be started: {error}", counts=False)
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._news.put_nowait, exited)

    def _with_gpus(self, instance: InstanceId) -> dict[str, str]:
        if self._gpus is None:
            return {}
        return {VISIBLE: ",".join(self._gpus.take(instance)) if instance.role == "worker" else NONE}

    def _free_gpus(self, instance: InstanceId) -> None:
        if self._gpus is not None:
            self._gpus.free(instance)

    def keep_ready(self, module: str, envs: dict[str, str], known: str) -> None:
        """See `Platform`. Does nothing while others are starting, as it would take the processor from them."""
        calm = time.monotonic() - self._started_at > CALM_SECONDS
        if calm and not any(one.is_for([sys.executable, "-m", module]) for one in self._early):
            hidden = {} if self._gpus is None else {VISIBLE: NONE}  # those kept ready are servers
            self._early.append(EarlyProcess(module, {**envs, **hidden}, [known]))

    async def adopt(self) -> list[InstanceId]:
        """Take over the living processes that an earlier master started; return their instances."""
        for path in self._records.iterdir():
            with contextlib.suppress(ValueError, FileNotFoundError):
                instance, process = _instance(path.name), Process.read(path)
                if process.is_alive():
                    if self._gpus is not None and instance.role == "worker":
                        self._gpus.adopt(instance, seen_by(process.pid))
                    self._processes[instance] = process
                    self._watch(instance, process, _until_gone(process))
                    self._news.put_nowait(Runs(instance))
                else:
                    _forget(path)
        return list(self._processes)

    def _watch(self, instance: InstanceId, process: Process, end: Awaitable[int]) -> None:
        watcher = asyncio.create_task(self._await_end(instance, process, end))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _await_end(self, instance: InstanceId, process: Process, end: Awaitable[int]) -> None:
        code = await end
        self._processes.pop(instance, None)
        _kill_session(process.pid)
        self._free_gpus(instance)
        _forget(self._record(instance))
        from_outside = code == -signal.SIGKILL and instance not in self._killed
        self._killed.discard(instance)
        reason = _NO_MEMORY if from_outside and self._memory.has_struck() else ""
        self._news.put_nowait(Exited(instance, code, tail(self._log_path(instance.role, instance.index)), reason))

    async def kill(self, instance: InstanceId) -> None:
        """Kill the process and every other one in its session."""
        process = self._processes.get(instance)
        if process is not None:
            self._killed.add(instance)
            process.kill()

    async def events(self) -> AsyncIterator[Exited | Runs]:
        """Every process's start and end."""
        while True:
            try:
                yield await asyncio.wait_for(self._news.get(), LOOK_SECONDS)
            except TimeoutError:
                self._memory.look()

    async def close(self) -> None:
        """Kill the processes that are left and wait until they are gone."""
        for early in self._early:
            early.dismiss()
            early.process.kill()  # it may be importing
            early.process.wait()
        for process in list(self._processes.values()):
            process.kill()
        await asyncio.gather(*self._watchers)

    def _record(self, instance: InstanceId) -> Path:
        return self._records / f"{instance.role}-{instance.index}-{instance.incarnation}"


def _forget(record: Path) -> None:
    """Remove the record of a process that is gone, if the disk allows it; others see for themselves that it is."""
    with contextlib.suppress(OSError):
        record.unlink()


def _instance(name: str) -> InstanceId:
    role, index, incarnation = name.split("-")
    return InstanceId(role, int(index), incarnation)


def _end_of(child: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Wait for the end of a child that the event loop did not start."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[int] = loop.create_future()

    def wait() -> None:
        code = child.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(end.set_result, code)

    threading.Thread(target=wait, name=f"wait-{child.pid}", daemon=True).start()
    return end


async def _until_gone(process: Process) -> int:
    """Wait for the end of another process's child; how it ended is unknown, so it counts as killed."""
    while process.is_alive():
        await asyncio.sleep(POLL_SECONDS)
    return -signal.SIGKILL


def _kill_session(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a text file, or an empty string if it does not exist."""
    with contextlib.suppress(FileNotFoundError), path.open(errors="replace") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        return "".join(deque(file, maxlen=lines))
    return ""
