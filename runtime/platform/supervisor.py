"""Starts a job's master, and restarts it when it dies: `python -m …supervisor JOB_FOLDER [PID OF A LIVING MASTER]`.

With `python -m …supervisor --waits [WORKERS]` (see `early`), the master and so many workers are on their way before the
job's folder is known.

It is small, so that it hardly ever dies itself. If it does, another process of the job starts another one (see
`control.guarding`), which adopts the master. Both exit once the job is over. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from elasticdl_nb.runtime.platform.early import WAITS, EarlyProcess, arguments_when_told
from elasticdl_nb.runtime.storage.locks import Process, Silence, hold_lock, holder, last_change

POLL_SECONDS = 0.5
HUNG_SECONDS = 30.0
"""Seconds without a sign of life of the master (another time of master.json) after which it is killed."""

MAX_QUICK_DEATHS = 10
"""Number of masters in a row that ended by themselves within QUICK_SECONDS, after which the job is given up."""

MAX_QUICK_KILLS = 30
"""The same for masters that were killed."""

QUICK_SECONDS = 5.0
MASTER = "elasticdl_nb.runtime.master"
SUPERVISED = "--supervised"
LOCK = "supervisor.lock"
LOG = os.path.join("logs", "master.log")
"""Where in the job's folder supervisor and master write their output."""

_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """One job's supervisor; `run` returns its exit code. `early` is a master that waits for its job."""

    def __init__(self, folder: Path, master: int = 0, early: EarlyProcess | None = None) -> None:
        self._folder = folder
        self._master = Process.of(master) if master else None
        self._early = early
        self._told_to_end = False
        self._codes: dict[int, int] = {}
        self._wakes, wake = os.pipe()
        os.set_blocking(self._wakes, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def run(self) -> int:
        """Supervise until the job is over or cannot be rescued."""
        deaths = kills = 0
        while not self._is_over():
            if self._master is None:
                # Another supervisor, or one before this, may have started one.
                living = holder(self._folder / "master.lock")
                self._master = Process.of(living) if living else self._start()
            begun = time.monotonic()
            code = self._wait(self._master)
            self._master = None
            if self._is_over() or holder(self._folder / "master.lock"):
                continue
            quick = time.monotonic() - begun < QUICK_SECONDS
            deaths, kills = (deaths + (code >= 0), kills + (code < 0)) if quick else (0, 0)
            hopeless = deaths >= (MAX_QUICK_DEATHS if self._listened() else 1) or kills >= MAX_QUICK_KILLS
            if self._told_to_end or hopeless:
                self._bury()
                return code if 0 <= code < 256 else 1
            print(f"the master died ({code}); restarting it", flush=True)  # noqa: T201  its log
        for path in self._folder.glob("journal.db*"):  # of a master that was killed before it had removed it
            path.unlink(missing_ok=True)
        return 0

    def _start(self) -> Process:
        arguments = [os.fspath(self._folder), SUPERVISED]
        early, self._early = self._early, None
        if early is not None and early.process.poll() is None and early.tell(arguments, self._folder / LOG):
            child = early.process
        else:
            command = [sys.executable, "-m", MASTER, *arguments]
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        child.returncode = 0  # reaped in `_reap`, not by Popen
        return Process.of(child.pid)

    def _wait(self, master: Process) -> int:
        """Return how the master ended: its exit code, or a negative signal; -9 if that cannot be known."""
        silence = Silence(time.monotonic())
        while True:
            self._reap()
            if master.pid in self._codes:
                return self._codes.pop(master.pid)
            if not master.is_alive():
                self._reap()
                return self._codes.pop(master.pid, -signal.SIGKILL)
            if silence.seconds(last_change(self._folder / "master.json"), time.monotonic()) > HUNG_SECONDS:
                master.kill()
            with contextlib.suppress(OSError):
                os.utime(self._folder / LOCK)  # a sign of life of this process
            select.select([self._wakes], [], [], POLL_SECONDS)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakes, 4096)

    def _reap(self) -> None:
        """Reap every child that has ended, including the workers of dead masters."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])

    def _is_over(self) -> bool:
        return (self._folder / "over").exists()

    def _listened(self) -> bool:
        return (self._folder / "master.json").exists()

    def _bury(self) -> None:
        """Kill the processes of a job that is given up, and see that none of them starts another supervisor."""
        (self._folder / "over").touch()
        (self._folder / "feeder.json").unlink(missing_ok=True)  # it holds a secret
        for path in (self._folder / "processes").glob("*"):
            with contextlib.suppress(ValueError, FileNotFoundError):
                Process.read(path).kill()

    def _end(self, *_: object) -> None:
        self._told_to_end = True
        if self._master is not None and self._master.is_alive():
            os.kill(self._master.pid, signal.SIGTERM)


def _adopt_orphans() -> None:
    """Become the parent of the processes that dead masters leave, so that they can be reaped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main(folder: str, *more: str) -> None:
    """Run the supervisor of the job in this folder, or of one that it has yet to learn of."""
    _adopt_orphans()
    early, master = None, "".join(more) or "0"
    if folder == WAITS:
        early, master = EarlyProcess(MASTER, known=more), "0"
        (folder,) = arguments_when_told()
    path = Path(folder)
    try:
        with hold_lock(path / LOCK):
            code = Supervisor(path, int(master), early).run()
    except BlockingIOError:
        sys.exit("this job already has a supervisor")
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
