"""Keeps a job's supervisor going: whoever of the job is alive starts another one when it is gone or hangs.

The supervisor restarts the master. The master looks after the supervisor, and so do workers and parameter servers, for
the moments in which both are gone. If nobody is left, clients that watch the job start it again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process, Silence, last_change

HUNG_SECONDS = 15.0
"""Seconds without a sign of life of the supervisor after which it is killed."""

PATIENCE_SECONDS = 0.5
"""Seconds without a master and a supervisor after which a worker or server starts another supervisor."""

MASTERS_SECONDS = 5.0
"""The same while there is a master, which should have done it."""

AGAIN_SECONDS = 2.0
"""Seconds until another one is started, if the first does not appear."""


class Guard:
    """Looks after the supervisor of a job that has had one. For the master, or for any other process of the job."""

    def __init__(self, folder: JobFolder, *, is_master: bool = False) -> None:
        self._folder, self._is_master = folder, is_master
        self._silence = self._absence = Silence(time.monotonic())
        self._started_at = -AGAIN_SECONDS

    def look(self) -> bool:
        """Kill a supervisor that hangs, and start one if there is none; return whether one was started."""
        folder, now = self._folder, time.monotonic()
        if folder.is_over() or not folder.had_supervisor():
            return False
        if pid := folder.supervisor():
            self._absence = Silence(now)
            if self._silence.seconds(last_change(folder.supervisor_lock), now) > HUNG_SECONDS:
                with contextlib.suppress(ProcessLookupError):
                    Process.of(pid).kill()
            return False
        self._silence = Silence(now)
        patience = MASTERS_SECONDS if folder.has_master() and not self._is_master else PATIENCE_SECONDS
        if self._absence.seconds(0.0, now) < patience or now < self._started_at + AGAIN_SECONDS:
            return False
        self._started_at = now
        start_supervisor(folder, os.getpid() if self._is_master else 0)
        return True


def revive(folder: JobFolder) -> bool:
    """Start a job of this machine again whose processes have all been killed; return whether that was possible."""
    if folder.is_over() or folder.is_alive() or not folder.had_supervisor() or folder.cluster():
        return False
    start_supervisor(folder)
    deadline = time.monotonic() + MASTERS_SECONDS
    while not folder.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    return True


def start_supervisor(folder: JobFolder, master: int = 0) -> None:
    """Start a supervisor, for the living master with this process id, for another living one, or for a new one."""
    with folder.log_path("master").open("ab") as log:
        child = subprocess.Popen(
            supervisor_command(folder.path, master), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    # A daemon, as the child may wait for the end of this process.
    threading.Thread(target=child.wait, name="reap-supervisor", daemon=True).start()


def supervisor_command(folder: Path, master: int = 0) -> list[str]:
    """The command of a supervisor, for a new master or for one that is alive."""
    more = [str(master)] if master else []
    return [sys.executable, "-m", "elasticdl_nb.runtime.platform.supervisor", os.fspath(folder), *more]
