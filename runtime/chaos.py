"""Trouble on purpose: workers join and processes die, on a schedule or at random, while a job runs.

Events come from a plain, repeatable list or generator (`parse_schedule`, `poisson`). `unleash` makes them happen to a
job on this machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from elasticdl_nb.runtime.control.masterclient import scale_job
from elasticdl_nb.runtime.errors import JobError, OptionError
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import Process

ROLES = ("worker", "ps", "master", "supervisor")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "continue": signal.SIGCONT}
_POLL_SECONDS = 0.05
_LINE = re.compile(
    r"(?P<at>\d+(\.\d+)?)s?\s+"
    r"((?P<act>kill|stop|continue)\s+(?P<role>worker|ps|master|supervisor)(-(?P<index>\d+))?|scale\s+(?P<workers>\d+))"
)


@dataclass(frozen=True)
class Signal:
    """Send a signal to a process of the job, `at` seconds after the start.

    Without an index, any process of the role may get it; `chance`, from 0 to 1, selects which one.
    """

    at: float
    signal: signal.Signals
    roles: tuple[str, ...]
    index: int | None = None
    chance: float = 0.0


@dataclass(frozen=True)
class Scale:
    """Continue with this many workers, `at` seconds after the start."""

    at: float
    workers: int


Event = Signal | Scale


def parse_schedule(text: str) -> list[Event]:
    """Return the events of a schedule: `10s kill worker-0; 20s scale 4; 30s kill master; 40s stop ps-1`.

    Times are seconds from the start; `kill`, `stop` and `continue` take a role, with or without a number.
    Raises OptionError, which names the part that is not valid.
    """
    events: list[Event] = []
    for part in re.split(r"[;\n]", text):
        if not part.strip():
            continue
        match = _LINE.fullmatch(part.strip())
        if match is None:
            problem = f"{part.strip()!r} is not valid; expected something like '10s kill worker-0' or '20s scale 4'"
            raise OptionError("schedule", problem)
        at = float(match["at"])
        if match["workers"]:
            events.append(Scale(at, int(match["workers"])))
        else:
            index = int(match["index"]) if match["index"] else None
            events.append(Signal(at, _SIGNALS[match["act"]], (match["role"],), index))
    return sorted(events, key=lambda event: event.at)


def poisson(mean: float, *, kills: int = 0, seed: int = 0, roles: Sequence[str] = ROLES[:3]) -> Iterator[Event]:
    """Yield deaths of random processes of these roles, `mean` seconds apart on average.

    There are `kills` of them, or no end of them if it is 0. Raises OptionError for values that are not valid.
    """
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise OptionError("roles", f"{', '.join(unknown) or 'none'}; expected some of {', '.join(ROLES)}")
    if mean <= 0:
        raise OptionError("poisson", f"{mean:g} seconds between deaths is too short")
    source = random.Random(seed)
    at, count = 0.0, 0
    while not kills or count < kills:
        at += source.expovariate(1 / mean)
        count += 1
        yield Signal(at, signal.SIGKILL, tuple(roles), None, source.random())


def choose(event: Signal, living: Sequence[str]) -> str | None:
    """Return which of the living processes ("worker-0", "master", …) a signal is for, or None if there is none."""
    meant = [
        name for name in sorted(living) if name.partition("-")[0] in event.roles and event.index in (None, _index(name))
    ]
    return meant[int(event.chance * len(meant))] if meant else None


def _index(name: str) -> int | None:
    _, _, index = name.partition("-")
    return int(index) if index else None


# ------------------------------------------------------------ making it happen


def processes(folder: JobFolder) -> dict[str, Process]:
    """Return the job's living processes by name: "master", "supervisor", "worker-0", "ps-1", …"""
    found = {}
    for path in folder.processes.glob("*"):
        with contextlib.suppress(ValueError, FileNotFoundError):
            role, index, _ = path.name.split("-")
            found[f"{role}-{index}"] = Process.read(path)
    for name, pid in (("master", folder.master_pid()), ("supervisor", folder.supervisor())):
        if pid:
            found[name] = Process.of(pid)
    return {name: process for name, process in found.items() if process.is_alive()}


def unleash(folder: JobFolder, events: Iterable[Event], tell: Callable[[str], None] = lambda _: None) -> int:
    """Make the events happen to the job, until there are no more or the job is over; return how many took effect.

    `tell` is called with a line about each event.
    """
    begun = time.monotonic()
    happened = 0
    for event in events:
        while (left := begun + event.at - time.monotonic()) > 0:
            if not folder.is_alive():
                return happened
            time.sleep(min(left, _POLL_SECONDS))
        if not folder.is_alive():
            break
        done = _scale(folder, event) if isinstance(event, Scale) else _signal(folder, event)
        happened += bool(done)
        tell(f"{event.at:.1f}s {done or 'had no effect'}")
    return happened


def _scale(folder: JobFolder, event: Scale) -> str:
    with contextlib.suppress(JobError):
        scale_job(folder, event.workers)
        return f"{event.workers} worker(s)"
    return ""


def _signal(folder: JobFolder, event: Signal) -> str:
    living = processes(folder)
    name = choose(event, list(living))
    if name is None:
        return ""
    with contextlib.suppress(ProcessLookupError):
        os.kill(living[name].pid, event.signal)
    return f"{event.signal.name} to {name} (process {living[name].pid})"
