"""Which tasks take far longer than their peers. A plain object; times are passed in."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from elasticdl_nb.runtime.master.decisions.task import Task
from elasticdl_nb.runtime.master.decisions.taskqueue import TaskQueue
from elasticdl_nb.runtime.protocol import journal_pb2 as journal

FACTOR = 3.0
MIN_SECONDS = 10.0
PEERS = 5
"""Tasks of a kind that must be done before another one can count as late."""

_REMEMBERED = 50


@dataclass
class Stragglers:
    """Watches how long workers take over their tasks; `to_share` are the tasks to give to others too."""

    to_share: list[int] = field(default_factory=list)
    _handed_out: dict[tuple[int, int], tuple[str, float]] = field(default_factory=dict)
    _free_since: dict[int, float] = field(default_factory=dict)
    _durations: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(_recent))

    def handed_out(self, task: Task, worker: int, now: float) -> None:
        """A worker was given a task, and will begin it once it is done with those before."""
        self._handed_out[worker, task.id] = (task.kind, now)

    def done(self, task_id: int, worker: int, now: float) -> None:
        """A worker is done with a task, whether or not its result counts."""
        if (worker, task_id) in self._handed_out:
            begun = self._begun(task_id, worker, now)
            kind, _ = self._handed_out.pop((worker, task_id))
            self._durations[kind].append(now - begun)
            self._free_since[worker] = now

    def gone(self, worker: int) -> None:
        """A worker's process has ended."""
        self._free_since.pop(worker, None)
        for key in [key for key in self._handed_out if key[0] == worker]:
            del self._handed_out[key]

    def clear(self) -> None:
        """None of the tasks handed out count any longer."""
        self._handed_out.clear()
        self.to_share.clear()

    def look(self, in_use: Iterable[tuple[Task, int]], now: float) -> bool:
        """Find which current tasks take far longer than their peers; return whether there are new ones."""
        known = self.to_share
        limits = {kind: self._limit(kind) for kind in self._durations}
        late = [
            task for task, worker in in_use
            if task.kind in limits and now - self._begun(task.id, worker, now) > limits[task.kind]
        ]  # fmt: skip
        self.to_share = [task.id for task in late]
        return self.to_share != known

    def share(self, queue: TaskQueue, worker: int) -> Task | None:
        """Give this worker a task that is late with another worker, if there is one."""
        for task_id in self.to_share:
            if task := queue.share(task_id, worker):
                self.to_share.remove(task_id)
                return task
        return None

    def _begun(self, task_id: int, worker: int, now: float) -> float:
        _, handed_out = self._handed_out.get((worker, task_id), ("", now))
        return max(handed_out, self._free_since.get(worker, 0.0))

    def _limit(self, kind: str) -> float:
        peers = self._durations[kind]
        return max(MIN_SECONDS, FACTOR * median(peers)) if len(peers) >= PEERS else float("inf")

    def to_message(self) -> journal.Stragglers:
        """Return everything in the journal's form."""
        return journal.Stragglers(
            to_share=self.to_share,
            handed_out=[
                journal.HandedOut(worker=worker, task=task, kind=kind, at=at)
                for (worker, task), (kind, at) in self._handed_out.items()
            ],
            free_since=self._free_since,
            durations=[journal.Durations(kind=kind, seconds=seconds) for kind, seconds in self._durations.items()],
        )

    @classmethod
    def from_message(cls, message: journal.Stragglers) -> Stragglers:
        """Return the watcher from a message made by `to_message`."""
        stragglers = cls(list(message.to_share))
        stragglers._handed_out = {(one.worker, one.task): (one.kind, one.at) for one in message.handed_out}
        stragglers._free_since.update(message.free_since)
        for one in message.durations:
            stragglers._durations[one.kind].extend(one.seconds)
        return stragglers


def _recent() -> deque[float]:
    return deque(maxlen=_REMEMBERED)
