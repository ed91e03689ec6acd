"""Publishes versions of the model while the job trains: says when, and has a process that writes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from elasticdl_nb.runtime.master.decisions.actions import CommitCheckpoint
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.pauses import pause_after
from elasticdl_nb.runtime.storage.publish import local_path
from elasticdl_nb.runtime.storage.versions import clear_left_behind, records_in, records_of

LOOK_SECONDS = 0.2
"""How often the job's newest checkpoint is looked at, which costs nothing."""

logger = logging.getLogger(__name__)


class Publisher:
    """Versions of the checkpoint that `newest` returns; `note` takes (level, text) for the job's messages."""

    def __init__(
        self, folder: JobFolder, spec: JobSpec, newest: Callable[[], CommitCheckpoint | None],
        note: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._folder, self._spec, self._newest, self._note = folder, spec, newest, note
        self._process: asyncio.subprocess.Process | None = None
        self._path, self._records, self._at = "", 0, time.monotonic()
        self._failures, self._next_at = 0, 0.0

    async def run(self) -> None:
        """Publish until cancelled, if the job does so at all; call `end` then."""
        if self._spec.rhythm is None:
            return
        await asyncio.to_thread(self._continue)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if (checkpoint := self._due(time.monotonic())) is not None:
                await self._publish(checkpoint)

    async def end(self) -> None:
        """End the process, and remove what it was writing."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._spec.rhythm is not None:
            clear_left_behind(local_path(self._spec.output))

    def _continue(self) -> None:
        """Go on after the last version of this job, which a master before this one has published."""
        mine = [one for _, _, one in records_of(local_path(self._spec.output)) if one.job == self._folder.identity]
        if mine:
            self._records = mine[-1].records

    def _due(self, now: float) -> CommitCheckpoint | None:
        checkpoint, rhythm = self._newest(), self._spec.rhythm
        if checkpoint is None or rhythm is None or checkpoint.path == self._path or now < self._next_at:
            return None
        records = records_in(checkpoint.state)
        since = records - self._records if records >= self._records else records  # the job may have gone back
        return checkpoint if rhythm.is_due(now - self._at, since) and self._folder.form.exists() else None

    async def _publish(self, checkpoint: CommitCheckpoint) -> None:
        begun = time.monotonic()
        answer = await self._ask(checkpoint.path)
        if problem := answer.get("error"):
            self._failures += 1
            self._next_at = time.monotonic() + pause_after(self._failures)
            if self._newest() is checkpoint:  # rather than one that was removed meanwhile
                self._note("warning", f"a version of the model could not be published: {problem}")
            return
        if self._failures:
            self._note("info", "versions of the model can be published again")
        self._failures, self._next_at = 0, 0.0
        self._path, self._records, self._at = checkpoint.path, records_in(checkpoint.state), begun
        if number := answer.get("number"):
            kind = "what has changed of it" if answer["is_delta"] else "all of it"
            seconds = time.monotonic() - begun
            logger.info("published version %d, of step %d: %s, in %.1f s", number, checkpoint.step, kind, seconds)

    async def _ask(self, path: str) -> dict[str, Any]:
        try:
            process = await self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{path}\n".encode())
            await process.stdin.drain()
            line = await process.stdout.readline()
            answer: dict[str, Any] = json.loads(line) if line else {}
            return answer if line else {"error": f"the process that writes it has ended; see {self._log}"}
        except OSError as error:
            return {"error": str(error)}

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            with open(self._log, "ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "elasticdl_nb.runtime.publishing", os.fspath(self._folder.path),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                )  # fmt: skip
        return self._process

    @property
    def _log(self) -> str:
        return os.fspath(self._folder.log_path("publisher"))
