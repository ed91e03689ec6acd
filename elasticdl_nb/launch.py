"""Starting a job's master process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.jobfolder import JobFolder

_POLL_SECONDS = 0.01
# How the dashboard looks is a layer above this one, and named for the master to load.
DASHBOARD = "elasticdl_nb.widgets.dashboard:Pages"
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_reapers: dict[Path, threading.Thread] = {}


def launch(folder: JobFolder) -> None:
    """Start the master of the job in `folder`, in a session of its own, and return once it listens.

    Raises JobFailed, with the end of the master's log, if it dies before. When this is interrupted, no process is
    left behind.
    """
    log = folder.log_path("master")
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "elasticdl_nb.runtime.master", os.fspath(folder.path), DASHBOARD],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_it_listens(folder, process, log)
    except BaseException:
        _stop(process)
        raise
    # The master outlives this process, or else must not stay behind as a zombie.
    reaper = threading.Thread(target=process.wait, name=f"reap-{folder.name}", daemon=True)
    reaper.start()
    _reapers[folder.path] = reaper


def join(folder: JobFolder) -> None:
    """Return once the job's master, if this process has started it, has exited and left no zombie."""
    reaper = _reapers.pop(folder.path, None)
    if reaper is not None:
        reaper.join(_STOP_SECONDS)


def _wait_until_it_listens(folder: JobFolder, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while folder.master() is None:
        # Asked before looking a last time: it may have done its work and ended in between.
        code = process.poll()
        if code is not None and folder.master() is None and folder.status() is None:
            raise JobFailed(f"the job's master ended at once, with exit code {code}:\n{tail(log, 20)}")
        if code is not None:
            return
        if time.monotonic() > deadline:
            raise JobFailed(f"the job's master did not listen within {_START_SECONDS:.0f} seconds:\n{tail(log, 20)}")
        time.sleep(_POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def kill(pid: int, forcibly: bool = False) -> None:
    """End the process, if it still lives."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL if forcibly else signal.SIGTERM)


def tail(path: Path, lines: int | None) -> str:
    """Return the last lines of a text file, or all of it for None; an empty string if there is no such file."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return text if lines is None else "".join(text.splitlines(keepends=True)[-lines:] if lines > 0 else [])
