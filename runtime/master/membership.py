"""The workers of a job: which exist, in what state, since when unheard of, and when one has died too often.

A plain object; times are passed in. A worker is a number; the processes that play its part one after another differ in
their incarnation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

WorkerState = Literal["starting", "running", "finished", "failed", "stopped"]

HEARTBEAT_LIMIT = 30.0
"""Seconds without a word after which a worker that had joined counts as hung."""

MAX_CRASHES = 3
"""Deaths in a row by a process's own doing, without a task finished in between, before the job gives up."""

MAX_KILLS = 20
"""The same for deaths by a signal from outside."""


@dataclass
class Worker:
    """One worker's state."""

    index: int
    state: WorkerState = "starting"
    incarnation: str = "0"
    activity: str = "starting"
    pid: int = 0
    restarts: int = 0
    last_heard: float = 0.0
    capacity: int = 0
    tasks_done: int = 0
    records_before: int = 0
    records_now: int = 0
    deaths_in_a_row: int = 0
    kills_in_a_row: int = 0
    rate: Rate = field(default_factory=lambda: Rate())

    @property
    def records(self) -> int:
        """Records worked on by all its processes."""
        return self.records_before + self.records_now

    @property
    def is_live(self) -> bool:
        """Whether a process plays its part, or is about to."""
        return self.state in ("starting", "running")


@dataclass
class Rate:
    """Events per second over about the last `window` seconds."""

    window: float = 5.0
    _samples: list[tuple[float, float]] = field(default_factory=list)

    def add(self, now: float, total: float) -> None:
        """Note the running total at this time."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, total))
        while len(self._samples) > 2 and self._samples[1][0] < now - self.window:
            self._samples.pop(0)

    def per_second(self, now: float) -> float:
        """The rate now; 0 before two samples, or when nothing came for three windows."""
        if len(self._samples) < 2 or now - self._samples[-1][0] > 3 * self.window:
            return 0.0
        (t0, n0), (t1, n1) = self._samples[0], self._samples[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0


class Membership:
    """All workers of a job."""

    def __init__(self, count: int) -> None:
        self.workers = {index: Worker(index) for index in range(count)}

    def joined(self, index: int, incarnation: str, pid: int, now: float) -> Worker | None:
        """A process says hello as this worker; None if it is not the process that was last started as such."""
        worker = self.current(index, incarnation)
        if worker is None or worker.state != "starting":
            return None
        worker.pid, worker.last_heard, worker.state = pid, now, "running"
        return worker

    def current(self, index: int, incarnation: str) -> Worker | None:
        """The worker, if this process still plays its part."""
        worker = self.workers.get(index)
        return worker if worker is not None and worker.incarnation == incarnation and worker.is_live else None

    def heard(self, worker: Worker, now: float) -> None:
        """Note a sign of life."""
        worker.last_heard = now

    def task_done(self, worker: Worker) -> None:
        """Note a finished task: whatever killed earlier processes did not repeat itself."""
        worker.tasks_done += 1
        worker.deaths_in_a_row = worker.kills_in_a_row = 0

    def died(self, worker: Worker, *, by_signal: bool) -> bool:
        """A worker's process is gone; return whether another one may be started."""
        worker.records_before, worker.records_now = worker.records, 0
        worker.pid, worker.capacity = 0, 0
        worker.deaths_in_a_row += not by_signal
        worker.kills_in_a_row += by_signal
        if worker.deaths_in_a_row >= MAX_CRASHES or worker.kills_in_a_row >= MAX_KILLS:
            worker.state, worker.activity = "failed", ""
            return False
        worker.state, worker.activity, worker.restarts = "starting", "restarting", worker.restarts + 1
        worker.incarnation = str(worker.restarts)
        return True

    def hung(self, now: float) -> list[Worker]:
        """Workers that have been silent for too long."""
        return [
            worker
            for worker in self.workers.values()
            if worker.state == "running" and now - worker.last_heard > HEARTBEAT_LIMIT
        ]

    def live(self) -> list[Worker]:
        """Workers whose part is played, or about to be."""
        return [worker for worker in self.workers.values() if worker.is_live]
