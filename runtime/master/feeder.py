"""The process that goes on writing the data of a job that follows it, such as rows of a database.

The job's folder names its module, which is in a layer above this one. The master tells it how far the job is, and
starts it again when it dies; see `elasticdl_nb.sql.following.__main__` for what they say to each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.pauses import pause_after

_LONGEST = 1 << 24
"""Bytes of a message of the process, which may have a value of the database in it."""

_MOST_FAILURES = 3
"""How often in a row the process may die while the job waits for its end."""


class Feeder:
    """Keeps the process alive. `note` takes (level, text) for users; `clock` is in seconds."""

    def __init__(self, folder: JobFolder, note: Callable[[str, str], None], clock: Callable[[], float]) -> None:
        self._folder, self._note, self._clock = folder, note, clock
        self._module, _ = folder.feeder()
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._failures, self._again = 0, 0.0
        self.is_done = not self._module
        """Whether no more data comes: there is no such process, or it has done what it was to do before the end."""

    async def look(self, *, waiting: int, stop: bool) -> None:
        """Tell the process how many records wait to be used, and whether the job is to end; start it if need be."""
        if self.is_done:
            return
        if self._process is not None and self._process.returncode is not None:
            await self._died(self._process.returncode, stop=stop)
        if self._process is None and not self.is_done and self._clock() >= self._again:
            await self._start()
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it has just died
                self._process.stdin.write(json.dumps({"waiting": waiting, "stop": stop}).encode() + b"\n")
                await self._process.stdin.drain()

    async def _start(self) -> None:
        command = [sys.executable, "-m", self._module, os.fspath(self._folder.path)]
        with open(self._folder.log_path("feeder"), "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log, start_new_session=True, limit=_LONGEST
            )
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said = json.loads(line)
            if "done" in said:
                self.is_done = True
            else:
                self._note(said["level"], said["text"])
            self._failures = 0

    async def _died(self, code: int, *, stop: bool) -> None:
        if self._reading is not None:
            await self._reading
        self._process = None
        if self.is_done:
            return
        self._failures += 1
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        text = f"the process that reads the job's data has ended ({how}; see logs/feeder.log)"
        if stop and self._failures >= _MOST_FAILURES:
            self.is_done = True
            self._note("warning", f"{text}; what it has not read is left to a later job")
            return
        self._again = self._clock() + (pause_after(self._failures - 1) if self._failures > 1 and not stop else 0.0)
        self._note("warning", f"{text}, and is started again")

    async def close(self) -> None:
        """End the process."""
        self.is_done = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading
