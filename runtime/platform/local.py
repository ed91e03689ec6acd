"""This machine: an instance is a process in a session of its own, its output in a log file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from elasticdl_nb.runtime.platform.base import Exited, InstanceId

TAIL_LINES = 20


class LocalPlatform:
    """Processes on this machine; `log_path(role, index)` says where each writes."""

    def __init__(self, log_path: Callable[[str, int], Path]) -> None:
        self._log_path = log_path
        self._processes: dict[InstanceId, asyncio.subprocess.Process] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._exits: asyncio.Queue[Exited] = asyncio.Queue()

    async def start(self, instance: InstanceId, command: Sequence[str], envs: dict[str, str]) -> None:
        """Start a process."""
        path = self._log_path(instance.role, instance.index)
        try:
            with path.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, **envs},
                )  # fmt: skip
        except OSError as error:
            await self._exits.put(Exited(instance, 127, str(error)))
            return
        self._processes[instance] = process
        watcher = asyncio.create_task(self._watch(instance, process, path))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch(self, instance: InstanceId, process: asyncio.subprocess.Process, log: Path) -> None:
        code = await process.wait()
        self._processes.pop(instance, None)
        _kill_session(process.pid)
        await self._exits.put(Exited(instance, code, tail(log)))

    async def kill(self, instance: InstanceId) -> None:
        """Kill the process and all others of its session."""
        process = self._processes.get(instance)
        if process is not None:
            _kill_session(process.pid)

    async def exits(self) -> AsyncIterator[Exited]:
        """Every process's end."""
        while True:
            yield await self._exits.get()

    async def close(self) -> None:
        """Kill what is left and wait until it is gone."""
        for process in list(self._processes.values()):
            _kill_session(process.pid)
        await asyncio.gather(*self._watchers)


def _kill_session(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a text file; empty if there is none."""
    with contextlib.suppress(FileNotFoundError), path.open(errors="replace") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        return "".join(deque(file, maxlen=lines))
    return ""
