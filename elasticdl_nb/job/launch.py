"""Starts a job, by way of a supervisor that starts the master, and ends it by force."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from elasticdl_nb.job import warm
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process, holder

_POLL_SECONDS = 0.01
# The dashboard's look is in a layer above this one, so the master is told the module's name.
DASHBOARD = "elasticdl_nb.widgets.dashboard:Pages"
_START_SECONDS = 60.0
_LATE_SECONDS = 15.0
_STOP_SECONDS = 5.0
_MAX_KILLS = 10
_reapers: dict[Path, threading.Thread] = {}


def begin() -> EarlyProcess:
    """Start the processes of a job that is yet to be prepared, unless such wait already (see `warm`).

    Meanwhile, they import what every job needs. Give the result to `launch` or `dismiss`. The processes exit by
    themselves when this process ends.
    """
    return warm.pool.take()


def dismiss(early: EarlyProcess) -> None:
    """Let the processes that `begin` has started wait for another job, or exit and leave no zombie behind."""
    warm.pool.put_back(early)


def launch(folder: JobFolder, early: EarlyProcess | None = None) -> None:
    """Start the job in `folder`, in a session of its own, and return once its master listens.

    `early` is the result of `begin`. It is not used if it has died, or if environment variables or the working
    directory have changed since. Raises JobFailed, with the end of the master's log, if the master dies before it
    listens. An interrupt leaves no process behind.
    """
    folder.write_dashboard(DASHBOARD)
    log = folder.log_path("master")
    if early is not None and not early.is_as_if_started_now():
        dismiss(early)
        early = None
    supervisor = early or begin()
    try:
        if not supervisor.tell([os.fspath(folder.path)], log) and early:
            dismiss(early)
            supervisor = begin()
            supervisor.tell([os.fspath(folder.path)], log)
        supervisor = _wait_until_it_listens(folder, supervisor, log)
    except BaseException:
        _stop(supervisor)
        kill(folder)
        raise
    # If the supervisor does not outlive this process, it must not stay behind as a zombie.
    _reapers[folder.path] = supervisor.reap()
    warm.pool.used(folder)


def join(folder: JobFolder) -> None:
    """If this process started the job's master, return once that has exited and left no zombie."""
    reaper = _reapers.pop(folder.path, None)
    if reaper is not None:
        reaper.join(_STOP_SECONDS)


def _wait_until_it_listens(folder: JobFolder, supervisor: EarlyProcess, log: Path) -> EarlyProcess:
    """Wait for the master, and return its supervisor: this one, or another if it is killed meanwhile."""
    begun = time.monotonic()
    kills = 0
    while folder.master() is None:
        # Checked before the last look: it may have done its work and ended in between.
        code = supervisor.process.poll()
        ended = code is not None and folder.master() is None and folder.status() is None
        if code is not None and code < 0 and ended and kills < _MAX_KILLS:
            kills += 1
            supervisor = begin()
            supervisor.tell([os.fspath(folder.path)], log)
        elif ended:
            said = tail(log, 20) or supervisor.last_words()
            raise JobFailed(f"the job's master ended at once, with exit code {code}:\n{said}")
        elif code is not None:
            break
        seconds = time.monotonic() - begun
        if seconds > _START_SECONDS:
            raise JobFailed(f"the job's master did not listen within {_START_SECONDS:.0f} seconds:\n{tail(log, 20)}")
        if seconds > _LATE_SECONDS:  # if someone has stopped one of them, no one else knows of it yet
            for pid in (supervisor.process.pid, folder.master_pid()):
                _continue(pid)
        time.sleep(_POLL_SECONDS)
    return supervisor


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGCONT)


def _stop(supervisor: EarlyProcess) -> None:
    supervisor.dismiss()
    supervisor.process.terminate()
    try:
        supervisor.process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.process.kill()
        supervisor.process.wait()


def terminate(folder: JobFolder) -> None:
    """Tell the job's supervisor to end the job, by way of the master. Without a supervisor, tell the master."""
    if pid := folder.supervisor() or folder.master_pid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(folder: JobFolder) -> None:
    """End every process of the job at once, starting with those that would restart others."""
    if folder.path.exists():
        folder.mark_over()  # those that are left start no other supervisor
    for lock in ("supervisor.lock", "master.lock"):
        while pid := holder(folder.path / lock):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
    for path in folder.processes.glob("*"):
        with contextlib.suppress(ValueError, FileNotFoundError):
            Process.read(path).kill()


def tail(path: Path, lines: int | None) -> str:
    """Return the last lines of a text file, or all of it for None; an empty string if there is no such file."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return text if lines is None else "".join(text.splitlines(keepends=True)[-lines:] if lines > 0 else [])
