"""What happens to a job, and when: plain events, from a text or at random. No I/O."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from elasticdl_nb.runtime.errors import OptionError

ROLES = ("worker", "ps", "master", "supervisor")
ACTS = ("kill", "stop", "cut", "delay")
"""What `poisson` can do to a process."""

_STOP_SECONDS, _DELAY_SECONDS, _LATE_SECONDS = (0.2, 12.0), 3.0, 0.3
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "continue": signal.SIGCONT}
_PROCESS = r"(?P<role>worker|ps|master|supervisor)(-(?P<index>\d+))?"
_LINE = re.compile(
    r"(?P<at>\d+(\.\d+)?)s?\s+"
    rf"((?P<act>kill|stop|continue|cut|delay)\s+{_PROCESS}(\s+by\s+(?P<late>\d+(\.\d+)?)s)?"
    r"(\s+for\s+(?P<long>\d+(\.\d+)?)s)?|scale\s+(?P<workers>\d+))"
)


@dataclass(frozen=True)
class Signal:
    """Send a signal to a process of the job, `at` seconds after the start.

    Without an index, any process of the role may get it; `chance`, from 0 to 1, selects which one. A process that is
    stopped continues after `pause` seconds; if that is 0, it does not continue by itself.
    """

    at: float
    signal: signal.Signals
    roles: tuple[str, ...]
    index: int | None = None
    chance: float = 0.0
    pause: float = 0.0


@dataclass(frozen=True)
class Cut:
    """Break all connections that a process has then."""

    at: float
    roles: tuple[str, ...]
    index: int | None = None
    chance: float = 0.0


@dataclass(frozen=True)
class Delay:
    """For `pause` seconds, everything that a process sends and receives is up to `late` seconds late."""

    at: float
    roles: tuple[str, ...]
    index: int | None = None
    chance: float = 0.0
    late: float = _LATE_SECONDS
    pause: float = _DELAY_SECONDS


@dataclass(frozen=True)
class Scale:
    """Continue with this many workers, `at` seconds after the start."""

    at: float
    workers: int


Event = Signal | Cut | Delay | Scale


def parse_schedule(text: str) -> list[Event]:
    """Return the events of a schedule: `10s kill worker-0; 20s scale 4; 30s stop ps-1 for 5s; 40s cut worker`.

    Times are seconds from the start. `kill`, `stop`, `continue`, `cut` and `delay` take a role, with or without a
    number; `stop` takes a duration, `delay` also by how much: `delay ps-0 by 0.2s for 5s`. Raises OptionError, which
    names the part that is not valid.
    """
    events: list[Event] = []
    for part in re.split(r"[;\n]", text):
        if not part.strip():
            continue
        match = _LINE.fullmatch(part.strip())
        if match is None or not _fits(match):
            problem = f"{part.strip()!r} is not valid; expected something like '10s kill worker-0' or '20s scale 4'"
            raise OptionError("schedule", problem)
        events.append(_event(match))
    return sorted(events, key=lambda event: event.at)


def _fits(match: re.Match[str]) -> bool:
    takes_duration, takes_lateness = match["act"] in ("stop", "delay"), match["act"] == "delay"
    return (takes_duration or not match["long"]) and (takes_lateness or not match["late"])


def _event(match: re.Match[str]) -> Event:
    at = float(match["at"])
    if match["workers"]:
        return Scale(at, int(match["workers"]))
    index = int(match["index"]) if match["index"] else None
    roles = (match["role"],)
    if match["act"] == "cut":
        return Cut(at, roles, index)
    if match["act"] == "delay":
        late, pause = float(match["late"] or _LATE_SECONDS), float(match["long"] or _DELAY_SECONDS)
        return Delay(at, roles, index, late=late, pause=pause)
    return Signal(at, _SIGNALS[match["act"]], roles, index, pause=float(match["long"] or 0))


def poisson(
    mean: float, *, kills: int = 0, seed: int = 0, roles: Sequence[str] = ROLES[:3], acts: Sequence[str] = ACTS[:1]
) -> Iterator[Event]:
    """Yield blows to random processes of these roles, `mean` seconds apart on average: deaths, or others of `ACTS`.

    There are `kills` of them, or no end of them if it is 0. Raises OptionError for values that are not valid.
    """
    for name, given, known in (("roles", roles, ROLES), ("acts", acts, ACTS)):
        unknown = [one for one in given if one not in known]
        if unknown or not given:
            raise OptionError(name, f"{', '.join(unknown) or 'none'}; expected some of {', '.join(known)}")
    if mean <= 0:
        raise OptionError("poisson", f"{mean:g} seconds between deaths is too short")
    source = random.Random(seed)
    at, count, to = 0.0, 0, tuple(roles)
    while not kills or count < kills:
        at += source.expovariate(1 / mean)
        count += 1
        chance = source.random()
        match acts[0] if len(acts) == 1 else source.choice(acts):
            case "kill":
                yield Signal(at, signal.SIGKILL, to, None, chance)
            case "stop":
                yield Signal(at, signal.SIGSTOP, to, None, chance, source.uniform(*_STOP_SECONDS))
            case "cut":
                yield Cut(at, to, None, chance)
            case _:
                yield Delay(at, to, None, chance)


def choose(event: Signal | Cut | Delay, living: Sequence[str]) -> str | None:
    """Return which of the living processes ("worker-0", "master", …) an event is for, or None if there is none."""
    meant = [
        name for name in sorted(living) if name.partition("-")[0] in event.roles and event.index in (None, _index(name))
    ]
    return meant[int(event.chance * len(meant))] if meant else None


def _index(name: str) -> int | None:
    _, _, index = name.partition("-")
    return int(index) if index else None
