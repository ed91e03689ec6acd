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
    """An instance has ended; a negative code is the signal that ended it. `log_tail` is the end of what it printed."""

    instance: InstanceId
    code: int
    log_tail: str = ""


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

    def exits(self) -> AsyncIterator[Exited]:
        """Every instance's end, as it happens; never ends by itself."""
        ...

    async def close(self) -> None:
        """End whatever is left."""
        ...
