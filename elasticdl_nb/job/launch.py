"""Starting a job: a supervisor, which starts the master, and ending it by force."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process, holder

_POLL_SECONDS = 0.01
SUPERVISOR = "elasticdl_nb.runtime.platform.supervisor"
# How the dashboard looks is a layer above this one, and named for the master to load.
DASHBOARD = "elasticdl_nb.widgets.dashboard:Pages"
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_reapers: dict[Path, threading.Thread] = {}


def begin() -> EarlyProcess:
    """Start the processes of a job that is yet to be prepared: they import what every job needs meanwhile.

    To be given to `launch`, or else dismissed. They leave by themselves when this process ends.
    """
    return EarlyProcess(SUPERVISOR)


def dismiss(early: EarlyProcess) -> None:
    """Let processes leave that `begin` has started, and see that no zombie stays behind."""
    early.dismiss()
    _reap(early, "early")


def launch(folder: JobFolder, early: EarlyProcess | None = None) -> None:
    """Start the job in `folder`, in a session of its own, and return once its master listens.

    `early` has what `begin` has returned; it is not used if it has died, or if variables or the working directory have
    changed since. Raises JobFailed, with the end of the master's log, if the master dies before it listens. When this
    is interrupted, no process is left behind.
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
        _wait_until_it_listens(folder, supervisor, log)
    except BaseException:
        _stop(supervisor)
        kill(folder)
        raise
    # The supervisor outlives this process, or else must not stay behind as a zombie.
    _reapers[folder.path] = _reap(supervisor, folder.name)


def _reap(early: EarlyProcess, name: str) -> threading.Thread:
    reaper = threading.Thread(target=early.process.wait, name=f"reap-{name}", daemon=True)
    reaper.start()
    return reaper


def join(folder: JobFolder) -> None:
    """Return once the job's master, if this process has started it, has exited and left no zombie."""
    reaper = _reapers.pop(folder.path, None)
    if reaper is not None:
        reaper.join(_STOP_SECONDS)


def _wait_until_it_listens(folder: JobFolder, supervisor: EarlyProcess, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while folder.master() is None:
        # Asked before looking a last time: it may have done its work and ended in between.
        code = supervisor.process.poll()
        if code is not None and folder.master() is None and folder.status() is None:
            said = tail(log, 20) or supervisor.last_words()
            raise JobFailed(f"the job's master ended at once, with exit code {code}:\n{said}")
        if code is not None:
            return
        if time.monotonic() > deadline:
            raise JobFailed(f"the job's master did not listen within {_START_SECONDS:.0f} seconds:\n{tail(log, 20)}")
        time.sleep(_POLL_SECONDS)


def _stop(supervisor: EarlyProcess) -> None:
    supervisor.dismiss()
    supervisor.process.terminate()
    try:
        supervisor.process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.process.kill()
        supervisor.process.wait()


def terminate(folder: JobFolder) -> None:
    """Tell the job's supervisor, which tells the master, to end the job; or the master, if that is alone."""
    if pid := folder.supervisor() or folder.master_pid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(folder: JobFolder) -> None:
    """End every process of the job at once: first those that would start others again."""
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
