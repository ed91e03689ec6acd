"""Processes that are started before their task is known, so that their imports are done when it is.

Such a child waits for its arguments on standard input, a pipe from the process that started it. If that process ends
first, in any way, the child exits, because nobody else holds the other end of the pipe. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

WAITS = "--waits"
"""The first argument of a process that still waits for its arguments."""

# TensorFlow and what it imports set these for themselves, also in a process that still waits for its arguments.
_SET_BY_LIBRARIES = frozenset(
    {
        "ENABLE_RUNTIME_UPTIME_TELEMETRY", "HDF5_PLUGIN_PATH", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK",
        "TF2_BEHAVIOR", "TPU_ML_PLATFORM", "TPU_ML_PLATFORM_VERSION",
    }
)  # fmt: skip


class EarlyProcess:
    """A child that runs `python -m module`, in a session of its own, and waits for its arguments.

    `known` is what it is told at once, to prepare for.
    """

    def __init__(self, module: str, envs: Mapping[str, str] | None = None, known: Sequence[str] = ()) -> None:
        self.envs, self.known = dict(envs or {}), tuple(known)
        self._surroundings = _surroundings()
        # Its output before its log is known. The child copies it there, in `arguments_when_told`.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  open as long as this object
        self._command = [sys.executable, "-m", module]
        self.process = subprocess.Popen(
            [*self._command, WAITS, *known],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
            env={**os.environ, **self.envs},
        )

    def is_for(self, command: Sequence[str]) -> bool:
        """Whether it runs the same module as this command, and so can take its arguments."""
        return [*command[:3]] == self._command

    def fits(self, envs: Mapping[str, str]) -> bool:
        """Whether it is alive, with exactly these additional environment variables."""
        return self.process.poll() is None and self.envs == envs

    def is_as_if_started_now(self) -> bool:
        """Whether it is alive, and neither environment nor working directory have changed here since it started."""
        return self.process.poll() is None and self._surroundings == _surroundings()

    def tell(self, arguments: Sequence[str], log: Path) -> bool:
        """Let it continue with these arguments, writing to this log; return False if it is gone."""
        pipe = self.process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps({"arguments": [*arguments], "log": os.fspath(log)}).encode() + b"\n")
            pipe.close()
        except OSError:
            return False
        return True

    def dismiss(self) -> None:
        """Let it exit, with whatever it started early itself; does nothing once it has its arguments."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            self.reap()

    def reap(self) -> threading.Thread:
        """Return a thread that waits for the process's end, so that it does not stay behind as a zombie."""
        reaper = threading.Thread(target=self.process.wait, name=f"reap-{self.process.pid}", daemon=True)
        reaper.start()
        return reaper

    def last_words(self) -> str:
        """Return its output from before it got its arguments."""
        return os.pread(self._said.fileno(), 1 << 16, 0).decode(errors="replace")


def arguments_when_told() -> list[str]:
    """In a child, wait for the arguments, and write to the log from then on; exit if none will come.

    The output from before that comes first in the log.
    """
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(0)  # whatever other threads are doing
    told = json.loads(line)
    with open(told["log"], "ab") as log, open(os.devnull, "rb") as nothing:
        sys.stdout.flush()
        with contextlib.suppress(OSError):
            log.write(os.pread(1, 1 << 20, 0))
        log.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os.dup2(nothing.fileno(), 0)
    arguments: list[str] = told["arguments"]
    return arguments


def _surroundings() -> tuple[str, dict[str, str]]:
    return os.getcwd(), {name: value for name, value in os.environ.items() if name not in _SET_BY_LIBRARIES}
