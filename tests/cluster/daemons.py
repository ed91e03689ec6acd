"""Servers that tests bring up: started once, shared by all processes of a test run, stopped by the last of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from elasticdl_nb.runtime.storage.locks import Process

CACHE = Path.home() / ".cache" / "elasticdl-nb"
RUN = CACHE / "run"
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Daemon:
    """A server in a session of its own, known by the file that notes its process."""

    name: str

    @property
    def log(self) -> Path:
        return RUN / f"{self.name}.log"

    @property
    def _note(self) -> Path:
        return RUN / f"{self.name}.pid"

    def start(self, *command: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> None:
        RUN.mkdir(parents=True, exist_ok=True)
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **(env or {})},
            )  # fmt: skip
        Process.of(process.pid).write(self._note)

    def wait_until(self, is_ready: Callable[[], bool], seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not self.is_alive():
                raise RuntimeError(f"{self.name} died:\n{self._said()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready after {seconds:.0f} s:\n{self._said()}")
            time.sleep(_POLL_SECONDS)

    def is_alive(self) -> bool:
        process = self._process()
        return process is not None and process.is_alive()

    def stop(self, patience: float = 20.0) -> None:
        """End it, by force after so many seconds, and return once it is gone; harmless if it was never started."""
        process = self._process()
        deadline = time.monotonic() + patience
        if process is not None and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)
        while self.is_alive():
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(_POLL_SECONDS)
        if process is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
        self._note.unlink(missing_ok=True)

    def _process(self) -> Process | None:
        try:
            return Process.read(self._note)
        except FileNotFoundError:
            return None

    def _said(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextlib.contextmanager
def shared(name: str, start: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Have something running in the block that other processes may be using as well.

    Whoever finds no other user starts it, after `stop` has cleared away what a killed run may have left; whoever
    leaves last stops it. Users hold a shared lock, so that those who were killed do not count.
    """
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / f"{name}.users", "a") as users:
        with locked(f"{name}.turn"):
            if _is_only_user(users.fileno()):
                stop()
                try:
                    start()
                except BaseException:
                    stop()
                    raise
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with locked(f"{name}.turn"):
                if _is_only_user(users.fileno()):
                    stop()


def _is_only_user(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Wait for a lock, and hold it in the block."""
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / name, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def output(*command: str | os.PathLike[str]) -> str:
    """Run a command and return what it printed; raises RuntimeError with what it said if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} fails: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
