"""What the master asks of the place where a job's processes run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class InstanceId:
    """One process of a job; `incarnation` tells it from those that played the same part before."""

    role: str
    index: int
    incarnation: str


@dataclass(frozen=True)
class Exited:
    """An instance has ended; a negative code is the signal that ended it. `log_tail` is the end of what it printed.

    A platform that knows more than the code gives a `reason`, "was evicted: …", and says with `counts` whether the end
    was the process's own doing.
    """

    instance: InstanceId
    code: int
    log_tail: str = ""
    reason: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Stuck:
    """An instance cannot start yet: what it waits for, or an empty string once it waits no more.

    A `hopeless` one will not start unless the job is changed.
    """

    instance: InstanceId
    reason: str
    hopeless: bool = False


class Platform(Protocol):
    """Starts, ends and watches the instances of one job."""

    async def start(self, instance: InstanceId, command: Sequence[str], envs: dict[str, str]) -> None:
        """Start an instance; a failure to do so shows as an exit."""
        ...

    async def adopt(self) -> list[InstanceId]:
        """Take over the instances that an earlier master of the job has started and that still live; return them."""
        ...

    async def kill(self, instance: InstanceId) -> None:
        """End an instance and everything it has started, at once. Not an error if it is gone."""
        ...

    def events(self) -> AsyncIterator[Exited | Stuck]:
        """Every instance's end, and what keeps it from starting, as it happens; never ends by itself."""
        ...

    async def close(self) -> None:
        """End whatever is left."""
        ...
