"""Files that a process keeps locked while it lives, and processes started by others. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Lock a file until the block ends or the process dies in any way; meanwhile it holds the process's id.

    Raises BlockingIOError if another process holds it.
    """
    with path.open("a+") as file:
        for attempt in range(100):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # It may only be someone checking whether the lock is held.
                if attempt == 99:
                    raise
                time.sleep(0.002)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def last_change(path: Path) -> float:
    """When a file was last written or touched, by which its holder shows that it is alive; 0 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


LONGEST_STEP = 3.0
"""Of the time between two looks, so much counts at most: if it is longer, the process that looks was stopped, too."""


class Silence:
    """How long a process has shown no sign of life, whatever is done to the date meanwhile. A plain object."""

    def __init__(self, now: float) -> None:
        self._seconds = 0.0
        self._sign, self._looked = 0.0, now

    def seconds(self, sign: float, now: float) -> float:
        """Return for how long `sign` has been the last one; a monotonic clock shows `now`."""
        self._seconds = self._seconds + min(now - self._looked, LONGEST_STEP) if sign == self._sign else 0.0
        self._sign, self._looked = sign, now
        return self._seconds


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def holder(path: Path) -> int:
    """The id of the process that holds the lock; 0 if none does."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        if is_locked(path):
            return int(path.read_text())
    return 0


@dataclass(frozen=True)
class Process:
    """A process on this machine, perhaps another's child; `started` distinguishes it from later ones with its id."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """The current process with this id."""
        return cls(pid, _started(pid))

    @classmethod
    def read(cls, path: Path) -> Process:
        """Read back what `write` wrote; raises ValueError if the file holds anything else."""
        pid, started = path.read_text().split()
        return cls(int(pid), started)

    def write(self, path: Path) -> None:
        """Record the process in a file."""
        path.write_text(f"{self.pid} {self.started}")

    def is_alive(self) -> bool:
        """Whether it is still running."""
        return bool(self.started) and _started(self.pid) == self.started

    def kill(self) -> None:
        """Kill it and every other process of its session at once."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


def _started(pid: int) -> str:
    """When a process started, in the kernel's units; empty if it is gone or only waiting to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _started_elsewhere(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _started_elsewhere(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    return "unknown"
