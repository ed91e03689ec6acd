"""Processes that are started before it is known what for, so that what they import is there when it is.

Such a child waits at its standard input, a pipe from the process that started it, to be told its arguments. When that
process ends first, in whatever way, the child leaves: nobody else holds the pipe's other end. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

WAITS = "--waits"
"""The one argument of a process that is yet to be told its arguments."""

# Set by TensorFlow and what it imports, for themselves; in a process that has been told nothing yet, too.
_SET_BY_LIBRARIES = frozenset(
    {
        "ENABLE_RUNTIME_UPTIME_TELEMETRY", "HDF5_PLUGIN_PATH", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK",
        "TF2_BEHAVIOR", "TPU_ML_PLATFORM", "TPU_ML_PLATFORM_VERSION",
    }
)  # fmt: skip


class EarlyProcess:
    """A child that runs `python -m module`, in a session of its own, and waits to be told more."""

    def __init__(self, module: str, envs: Mapping[str, str] | None = None) -> None:
        self.envs = dict(envs or {})
        self._surroundings = _surroundings()
        # What it says before its log is known. It reads that itself, in `arguments_when_told`.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  open as long as this object
        self._command = [sys.executable, "-m", module]
        self.process = subprocess.Popen(
            [*self._command, WAITS],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
            env={**os.environ, **self.envs},
        )

    def is_for(self, command: Sequence[str]) -> bool:
        """Whether it runs the same module as this command, whose arguments it may be told."""
        return [*command[:3]] == self._command

    def fits(self, envs: Mapping[str, str]) -> bool:
        """Whether it lives, with these further variables and no others."""
        return self.process.poll() is None and self.envs == envs

    def is_as_if_started_now(self) -> bool:
        """Whether it lives, and neither variables nor working directory have changed here since it was started."""
        return self.process.poll() is None and self._surroundings == _surroundings()

    def tell(self, arguments: Sequence[str], log: Path) -> bool:
        """Let it go on with these arguments, and write to this log; return False if it is gone."""
        pipe = self.process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps({"arguments": [*arguments], "log": os.fspath(log)}).encode() + b"\n")
            pipe.close()
        except OSError:
            return False
        return True

    def dismiss(self) -> None:
        """Let it leave, and whatever it has started early itself; does nothing once it has been told its arguments."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def last_words(self) -> str:
        """Return what it said before it was told its arguments."""
        return os.pread(self._said.fileno(), 1 << 16, 0).decode(errors="replace")


def arguments_when_told() -> list[str]:
    """Wait, in a child, for the arguments, and write to the log from then on; end if none will come.

    What it said meanwhile comes first in the log.
    """
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(0)  # whatever other threads are at
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
