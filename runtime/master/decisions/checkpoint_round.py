"""One round of taking a checkpoint of model and task queue at the same instant, while many workers train.

A plain object. Workers stop between two tasks, the servers capture their contents, workers continue, and the servers
write what they captured. If anything dies in between, the round fails and the previous checkpoint still counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from elasticdl_nb.runtime.protocol import journal_pb2 as journal

Stage = Literal["pausing", "beginning", "capturing", "writing", "committing"]

INTERVAL = 30.0
"""Seconds between checkpoints, if the job does not set a number of steps."""

PAUSE_LIMIT = 120.0
"""Seconds that workers may take to finish their current tasks; after that the round is abandoned."""


@dataclass
class Round:
    """One checkpoint in the making.

    `pausing`: waits for `workers` to stop. `beginning`: waits for the folder. `capturing`: waits for `servers` to
    capture. `writing`: waits for `servers` to write. `committing`: waits for the folder to get its final name.
    """

    number: int
    begun_at: float
    workers: set[int]
    stage: Stage = "pausing"
    servers: set[int] = field(default_factory=set)
    step: int = 0
    path: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    _unwritten: set[int] = field(default_factory=set)

    @property
    def stops_work(self) -> bool:
        """Whether workers may not begin a task now."""
        return self.stage in ("pausing", "beginning", "capturing")

    def waits_for(self, worker: int) -> bool:
        """Whether this worker has yet to stop."""
        return self.stage == "pausing" and worker in self.workers

    def captures(self, server: int) -> bool:
        """Whether this server has yet to capture its contents."""
        return self.stage == "capturing" and server in self.servers

    def worker_paused(self, worker: int) -> bool:
        """A worker has stopped or is gone; return whether all have now."""
        self.workers.discard(worker)
        return self.stage == "pausing" and not self.workers

    def all_paused(self, step: int, state: dict[str, Any]) -> None:
        """Nothing changes any more: keep this state of the queue."""
        self.stage, self.step, self.state = "beginning", step, state

    def begun(self, path: str, servers: Iterable[int]) -> None:
        """The folder exists; these servers must capture their contents and write into it."""
        self.stage, self.path = "capturing", path
        self.servers = set(servers)
        self._unwritten = set(self.servers)

    def captured(self, server: int) -> bool:
        """A server has captured its contents; return whether all have now, so that work can continue."""
        self.servers.discard(server)
        if self.stage != "capturing" or self.servers:
            return False
        self.stage = "writing"
        return True

    def written(self, server: int) -> bool:
        """A server has written its file; return whether all have now."""
        self._unwritten.discard(server)
        if self.stage != "writing" or self._unwritten:
            return False
        self.stage = "committing"
        return True

    def to_message(self) -> journal.Round:
        """Return the round as the journal keeps it."""
        return journal.Round(
            number=self.number, begun_at=self.begun_at, workers=self.workers, stage=self.stage, servers=self.servers,
            step=self.step, path=self.path, state=json.dumps(self.state), unwritten=self._unwritten,
        )  # fmt: skip

    @classmethod
    def from_message(cls, message: journal.Round) -> Round:
        """Return the round from a message made by `to_message`."""
        return cls(
            message.number, message.begun_at, set(message.workers), cast(Stage, message.stage), set(message.servers),
            message.step, message.path, json.loads(message.state), set(message.unwritten),
        )  # fmt: skip
