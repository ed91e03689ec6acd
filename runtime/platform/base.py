"""What the master needs from the place where a job's processes run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class InstanceId:
    """One process of a job; `incarnation` tells it from earlier processes with the same role and index."""

    role: str
    index: int
    incarnation: str


@dataclass(frozen=True)
class Exited:
    """An instance has ended; a negative code is the signal that ended it. `log_tail` is the end of its output.

    A platform that knows more than the code gives a `reason`, such as "was evicted: …". `counts` says whether the
    process itself caused its end.
    """

    instance: InstanceId
    code: int
    log_tail: str = ""
    reason: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Stuck:
    """An instance cannot start yet: what it waits for, or an empty string once it no longer waits.

    A `hopeless` instance will not start unless the job is changed.
    """

    instance: InstanceId
    reason: str
    hopeless: bool = False


@dataclass(frozen=True)
class Runs:
    """An instance runs: it will say hello to the master soon, or hangs."""

    instance: InstanceId


News = Exited | Stuck | Runs


class Platform(Protocol):
    """Starts, ends and watches the instances of one job."""

    async def start(self, instance: InstanceId, command: Sequence[str], envs: dict[str, str]) -> None:
        """Start an instance; if that fails, the instance is reported as exited."""
        ...

    async def adopt(self) -> list[InstanceId]:
        """Take over the living instances that an earlier master of the job started; return them."""
        ...

    def keep_ready(self, module: str, envs: dict[str, str], known: str) -> None:
        """Have a process waiting to run `python -m module`, if that helps here; to be called again and again.

        `known` is the argument with which it prepares.
        """
        ...

    async def kill(self, instance: InstanceId) -> None:
        """Kill an instance and everything it started, at once. It is not an error if the instance is gone."""
        ...

    def events(self) -> AsyncIterator[News]:
        """Every instance's start and end, and what keeps one from starting, as it happens; never ends by itself."""
        ...

    async def close(self) -> None:
        """End all instances that are left."""
        ...
