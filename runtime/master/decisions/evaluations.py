"""When to evaluate during training, and how the results of an evaluation's tasks are combined.

Plain objects. An evaluation starts when the training tasks handed out so far pass its step (or end its epoch): its
tasks then go before any further training task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elasticdl_nb.runtime.master.decisions.task import Span, Task, pieces_message, pieces_of
from elasticdl_nb.runtime.master.decisions.taskqueue import TaskQueue
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states, state_messages

States = dict[str, list[np.ndarray]]
"""Additive state of each metric: name to arrays (float64)."""


@dataclass
class EvaluationSchedule:
    """Decides when an evaluation is due: every `steps` training steps, or after each epoch if 0, and at the end."""

    steps: int = 0
    enabled: bool = True
    _handed_out: int = 0
    _evaluated_at: int = -1

    def task_handed_out(self, steps: int, ends_epoch: bool) -> bool:
        """Count a training task; return whether an evaluation is due after it."""
        before = self._handed_out
        self._handed_out += steps
        if not self.enabled:
            return False
        due = before // self.steps != self._handed_out // self.steps if self.steps else ends_epoch
        return due and self._mark()

    def training_over(self) -> bool:
        """Return whether the final evaluation has yet to be made."""
        return self.enabled and self._mark()

    def model_changed(self) -> None:
        """The model is no longer the one that was evaluated last."""
        self._evaluated_at = -1

    def _mark(self) -> bool:
        if self._evaluated_at == self._handed_out:
            return False
        self._evaluated_at = self._handed_out
        return True

    def snapshot(self) -> list[int]:
        """State as JSON values."""
        return [self._handed_out, self._evaluated_at]

    def restore(self, snapshot: list[int] | None) -> None:
        """Go back to a snapshot, or to the beginning."""
        self._handed_out, self._evaluated_at = snapshot or [0, -1]


@dataclass
class EvaluationRound:
    """One evaluation: its tasks' states summed, each task counted once."""

    number: int
    tasks_left: int
    step: int = 0
    records: int = 0
    states: States = field(default_factory=dict)

    def task_done(self, states: States, records: int, step: int) -> bool:
        """Add the result of one task; return whether it was the last."""
        for name, arrays in states.items():
            have = self.states.get(name)
            self.states[name] = arrays if have is None else [a + b for a, b in zip(have, arrays, strict=True)]
        self.records += records
        self.step = max(self.step, step)
        self.tasks_left -= 1
        return self.tasks_left == 0

    def to_message(self) -> journal.EvaluationRound:
        """Return the round in the journal's form."""
        return journal.EvaluationRound(
            number=self.number, tasks_left=self.tasks_left, step=self.step, records=self.records,
            states=state_messages(self.states),
        )  # fmt: skip

    @classmethod
    def from_message(cls, message: journal.EvaluationRound) -> EvaluationRound:
        """Return the round from a message made by `to_message`."""
        states = read_states(message.states)
        return cls(message.number, message.tasks_left, message.step, message.records, states)


class Evaluations:
    """All evaluations of a job: those that are due, and those in progress."""

    def __init__(self, steps: int, *, enabled: bool) -> None:
        self.schedule = EvaluationSchedule(steps, enabled=enabled)
        self.pieces: Sequence[Sequence[Span]] = []
        self.metrics: dict[str, float] = {}
        self._rounds: dict[int, EvaluationRound] = {}
        self._started = 0

    def __bool__(self) -> bool:
        """Whether one is in progress."""
        return bool(self._rounds)

    def start(self, queue: TaskQueue) -> None:
        """Put the tasks of another evaluation into the queue."""
        self._started += 1
        self._rounds[self._started] = EvaluationRound(self._started, len(self.pieces))
        for index, spans in enumerate(self.pieces):
            queue.add("evaluate", spans, index=index, evaluation=self._started)

    def states(self, task: Task) -> States | None:
        """What a task that combines an evaluation's results needs; None for any other task."""
        return self._rounds[task.evaluation].states if task.summarize else None

    def task_done(self, task: Task, done: pb.TaskDone, queue: TaskQueue, date: float) -> pb.Evaluation | None:
        """Take the result of a task; return the evaluation's result, if the task was the one that combines it."""
        if task.summarize:
            evaluation = self._rounds.pop(task.evaluation)
            self.metrics = dict(done.metrics)
            return pb.Evaluation(step=evaluation.step, time=date, metrics=done.metrics, records=evaluation.records)
        if self._rounds[task.evaluation].task_done(read_states(done.states), done.records, done.step):
            queue.add("evaluate", evaluation=task.evaluation, summarize=True)
        return None

    def snapshot(self) -> dict[str, Any]:
        """State as JSON values."""
        return {"schedule": self.schedule.snapshot(), "evaluating": bool(self._rounds)}

    def restore(self, snapshot: dict[str, Any], queue: TaskQueue) -> None:
        """Go back to a snapshot, or, if that is empty, to the beginning; an evaluation under way begins again."""
        self.schedule.restore(snapshot.get("schedule"))
        self._rounds.clear()
        if snapshot.get("evaluating"):
            self.start(queue)

    # ------------------------------------------------------------ the journal

    def to_message(self) -> journal.Evaluations:
        """Return everything that does not follow from the job's options, in the journal's form."""
        handed_out, evaluated_at = self.schedule.snapshot()
        return journal.Evaluations(
            pieces=pieces_message(self.pieces), enabled=self.schedule.enabled, handed_out=handed_out,
            evaluated_at=evaluated_at, started=self._started, metrics=self.metrics,
            rounds=[one.to_message() for one in self._rounds.values()],
        )  # fmt: skip

    def load(self, message: journal.Evaluations) -> None:
        """Restore the state from a message made by `to_message`."""
        self.pieces, self.metrics = pieces_of(message.pieces), dict(message.metrics)
        self.schedule.enabled = message.enabled
        self.schedule.restore([message.handed_out, message.evaluated_at])
        self._rounds = {one.number: EvaluationRound.from_message(one) for one in message.rounds}
        self._started = message.started


def steps_between(*, task_steps: int, marks: Sequence[int]) -> int:
    """Batches that a task may have without delaying evaluations and checkpoints, which happen between tasks.

    `task_steps` is the requested number; each mark is a number of steps after which something is due (0: nothing).
    """
    return min([task_steps, *(mark for mark in marks if mark)])
