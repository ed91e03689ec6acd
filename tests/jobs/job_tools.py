"""What tests of whole jobs share: commands as people give them, and waiting for what they bring about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from elasticdl_nb.runtime.control.masterclient import current_status
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

REPOSITORY = Path(__file__).parents[2]
LIMIT = 300.0
"""Seconds that anything waited for may take on a busy machine."""

MODULE = (sys.executable, "-m", "elasticdl.python.elasticdl.client")


@dataclass
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The machine-readable last line."""
        return json.loads(self.out.splitlines()[-1])


class Running:
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def end(self) -> Ended:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=LIMIT)
        return Ended(self.process.returncode, out, err)

    def interrupt(self, number: int = signal.SIGINT) -> Ended:
        """Send it a signal, and wait for its end."""
        self.process.send_signal(number)
        return self.end()


class Commands:
    """Runs `elasticdl` commands in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, cwd: Path | None = None, program: Sequence[str] = MODULE) -> Running:
        """Start a command."""
        process = subprocess.Popen(
            [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=cwd or self._directory, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self._started.append(process)
        return Running(process)

    def run(self, *arguments: str, cwd: Path | None = None, program: Sequence[str] = MODULE) -> Ended:
        """Run a command to its end."""
        return self.start(*arguments, cwd=cwd, program=program).end()

    def succeed(self, *arguments: str, cwd: Path | None = None) -> Ended:
        """Run a command that has to succeed."""
        ended = self.run(*arguments, cwd=cwd)
        assert ended.code == 0, ended.err
        return ended

    def end(self) -> None:
        """End commands that a failed test has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()


def flags(**options: Any) -> list[str]:
    """Options as a command line has them."""
    return [f"--{name}={value}" for name, value in options.items()]


def wait_until(what: Callable[[], Any], why: str) -> Any:
    """Wait until `what()` is true, and return it."""
    deadline = time.monotonic() + LIMIT
    while not (value := what()):
        assert time.monotonic() < deadline, f"waited in vain until {why}"
        time.sleep(0.02)
    return value


def status_of(name: str) -> pb.JobStatus:
    """How a job stands."""
    return current_status(JobFolder.find(name))


def wait_for_status(name: str, holds: Callable[[pb.JobStatus], Any], why: str) -> pb.JobStatus:
    """Wait until a job's status is as wanted; fails at once if the job ends before."""

    def look() -> pb.JobStatus | None:
        if not (JobFolder(os.path.join(os.environ["ELASTICDL_HOME"], "jobs", name)).path / "spec.json").exists():
            return None
        status = status_of(name)
        if holds(status):
            return status
        assert not status.finished_at, f"the job ended before {why}: {status}"
        return None

    return wait_until(look, why)


def workers(status: pb.JobStatus) -> list[Any]:
    """The job's workers, by number."""
    return sorted((item for item in status.instances if item.role == "worker"), key=lambda item: item.index)


def kill(pid: int) -> None:
    """kill -9, and wait until it is gone."""
    process = psutil.Process(pid)
    process.kill()
    psutil.wait_procs([process], timeout=5)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes of jobs in this folder, which they may have been told late, and others started with a path in it."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if any(str(folder) in argument for argument in process.info["cmdline"] or ())
        or (
            any(argument.startswith("elasticdl_nb.runtime.") for argument in process.info["cmdline"] or ())
            and (process.info["environ"] or {}).get("ELASTICDL_HOME", "").startswith(str(folder))
        )
    ]
