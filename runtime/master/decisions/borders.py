"""The borders between epochs of a job whose model has callbacks: one set of them decides for the whole job.

A plain object. A border is before the first epoch, between two, or after the last. Training waits there until one
worker, the host, has called the callbacks and reported what they decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.runtime.master.decisions.task import Span, Task
from elasticdl_nb.runtime.master.decisions.taskqueue import TaskQueue
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb

NOBODY = -1


@dataclass
class Borders:
    """How many borders (`number`) are behind the job, and what was decided at the last of them.

    `state` names the file that holds the callbacks' state since then, `host` is the worker that has them, `evaluates`
    says that an evaluation belongs before the next border.
    """

    exist: bool = False
    number: int = 0
    state: str = ""
    learning_rate: float | None = None
    host: int = NOBODY
    asked: bool = False
    over: bool = False
    evaluates: bool = False
    evaluation: dict[str, float] = field(default_factory=dict)

    # ------------------------------------------------------------ waiting

    def holds_back(self, queue: TaskQueue) -> bool:
        """Whether the next training task of the plan lies behind a border that has not been decided."""
        return self.exist and queue.next_epoch >= self.number

    def is_reached(self, queue: TaskQueue) -> bool:
        """Whether all training tasks before the next border are done, and nobody has been asked to decide there."""
        if not self.exist or self.asked or self.over:
            return False
        return (queue.plan_is_exhausted or self.holds_back(queue)) and not queue.has_training

    def ask(self, queue: TaskQueue, first: Sequence[Span]) -> None:
        """Put the border's task into the queue; a new host builds the model by the records `first`."""
        self.asked = True
        queue.add("callbacks", first if self.host == NOBODY or not self.number else (), index=self.number)

    def takes(self, task: Task, worker: int) -> bool:
        """Whether a worker may have a task: some are for the host."""
        return not self.exist or self.host in (NOBODY, worker) or not (task.kind == "callbacks" or task.summarize)

    def gone(self, worker: int) -> None:
        """A worker has left."""
        if self.host == worker:
            self.host = NOBODY

    # ------------------------------------------------------------ what processes are told, and say

    def message(
        self,
        task: Task,
        worker: int,
        *,
        rollbacks: int,
        needed: Sequence[str],
        steps: int,
        last: bool,
        others: pb.EpochEnded | None,
    ) -> pb.Border:
        """Return what a worker must know of borders for a task; it becomes the host if there is none."""
        if self.host == NOBODY and task.kind in ("train", "callbacks"):
            self.host = worker
        border = pb.Border(
            number=self.number, state=self.state, here=worker == self.host and not self.over,
            learning_rate=self.learning_rate, steps=steps,
        )  # fmt: skip
        if task.kind == "callbacks":
            border.next, border.last = self._next(rollbacks), last
            border.needed.extend([*needed, self.state])
            border.evaluation.update(self.evaluation)
            if others is not None:
                border.others.CopyFrom(others)
        return border

    def _next(self, rollbacks: int) -> str:
        # Decisions of a history that the job has gone back from must not be mistaken for new ones.
        return f"{rollbacks}-{self.number}"

    def decided(self, decision: pb.Decision, step: int, rollbacks: int) -> pb.EpochEnded | None:
        """The callbacks were called; return the epoch that has ended there, if any."""
        ended = None
        if decision.records:
            ended = pb.EpochEnded(epoch=self.number - 1, step=step, records=decision.records, logs=decision.logs)
        self.asked, self.over, self.state = False, decision.over, self._next(rollbacks)
        self.learning_rate = decision.learning_rate if decision.HasField("learning_rate") else None
        self.number += 1
        self.evaluation = {}
        return ended

    # ------------------------------------------------------------ checkpoints

    def snapshot(self) -> dict[str, Any]:
        """State as JSON values."""
        return {
            "number": self.number, "state": self.state, "learning_rate": self.learning_rate, "over": self.over,
            "evaluates": self.evaluates, "evaluation": self.evaluation,
        }  # fmt: skip

    def restore(self, snapshot: dict[str, Any] | None) -> None:
        """Go back to a snapshot, or to the beginning."""
        for name, value in {**Borders().snapshot(), **(snapshot or {})}.items():
            setattr(self, name, value)
        self.evaluation, self.asked = dict(self.evaluation), False

    # ------------------------------------------------------------ the journal

    def to_message(self) -> journal.Borders:
        """Return everything in the journal's form."""
        return journal.Borders(
            exist=self.exist, number=self.number, state=self.state, learning_rate=self.learning_rate, host=self.host,
            asked=self.asked, over=self.over, evaluates=self.evaluates, evaluation=self.evaluation,
        )  # fmt: skip

    @classmethod
    def from_message(cls, message: journal.Borders) -> Borders:
        """Return the borders from a message made by `to_message`."""
        rate = message.learning_rate if message.HasField("learning_rate") else None
        return cls(
            message.exist, message.number, message.state, rate, message.host, message.asked,
            message.over, message.evaluates, dict(message.evaluation),
        )  # fmt: skip
