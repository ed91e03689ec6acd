"""Which records are still to be used, which are in whose hands, and which are done.

A plain object: no clock, no threads, no I/O. Its invariant, whatever workers do: every record of every epoch is
accounted for exactly once.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from elasticdl_nb.runtime.errors import ElasticDLError

Span = tuple[str, int, int]
"""Records [start, end) of one file."""

TaskKind = Literal["train", "evaluate", "predict", "finish"]
MAX_RETRIES = 3


class IllegalTransitionError(ElasticDLError):
    """The queue was told something that cannot have happened; the message carries the task's story."""


class Task(NamedTuple):
    """A piece of work for one worker; `index` is its place among the tasks cut from the same data.

    `skip` of its records, in the order in which workers read it, are in the model already.
    """

    id: int
    kind: TaskKind
    spans: tuple[Span, ...] = ()
    epoch: int = 0
    index: int = 0  # type: ignore[assignment]  # rather than tuple's method
    evaluation: int = 0
    summarize: bool = False
    ends_epoch: bool = False
    attempt: int = 0
    failures: int = 0
    skip: int = 0

    @property
    def records(self) -> int:
        """How many records it holds."""
        return sum(end - start for _, start, end in self.spans)


@dataclass(frozen=True)
class TrainingPlan:
    """What there is to train on, and how often."""

    pieces: Sequence[Sequence[Span]]
    num_epochs: int = 1
    minibatch_size: int = 64
    max_step: int = 0
    shuffle: bool = True
    seed: int = 0

    def order(self, epoch: int) -> list[int]:
        """Indices of the pieces in the order in which this epoch hands them out."""
        indices = list(range(len(self.pieces)))
        if self.shuffle:
            random.Random(f"{self.seed}/{epoch}").shuffle(indices)
        return indices

    def steps(self, spans: Sequence[Span]) -> int:
        """Batches that these records make."""
        return math.ceil(sum(end - start for _, start, end in spans) / self.minibatch_size)

    def totals(self) -> tuple[int, int, int]:
        """(tasks, records, steps) of the whole training, `max_step` taken into account."""
        records = sum(end - start for spans in self.pieces for _, start, end in spans)
        steps = sum(map(self.steps, self.pieces))
        whole = self.num_epochs
        if self.max_step and steps:
            whole = min(whole, self.max_step // steps)
        tasks, records, steps = whole * len(self.pieces), whole * records, whole * steps
        if whole < self.num_epochs:  # the epoch in which max_step is reached
            for index in self.order(whole):
                spans = self.trim(self.pieces[index], steps)
                if not spans:
                    break
                tasks += 1
                records += sum(end - start for _, start, end in spans)
                steps += self.steps(spans)
        return tasks, records, steps

    def trim(self, spans: Sequence[Span], steps_before: int) -> tuple[Span, ...]:
        """Cut a piece short where it would exceed `max_step`."""
        if not self.max_step or steps_before + self.steps(spans) <= self.max_step:
            return tuple(spans)
        left = (self.max_step - steps_before) * self.minibatch_size
        kept: list[Span] = []
        for path, start, end in spans:
            if left > 0:
                kept.append((path, start, min(end, start + left)))
                left -= end - start
        return tuple(kept)


@dataclass
class _Cursor:
    """How far the training plan has been turned into tasks."""

    epoch: int = 0
    position: int = 0
    steps: int = 0


@dataclass
class TaskQueue:
    """Tasks waiting, tasks in workers' hands, and counts of those done.

    Urgent tasks (returned by dead workers, evaluations) come before further training tasks.
    """

    plan: TrainingPlan | None = None
    records_done: Counter[str] = field(default_factory=Counter)
    tasks_done: Counter[str] = field(default_factory=Counter)
    tasks_retried: int = 0
    _next_id: int = 1
    _urgent: deque[Task] = field(default_factory=deque)
    _doing: dict[int, tuple[Task, list[int]]] = field(default_factory=dict)
    # The same by worker: the tasks in its hands, in the order in which it got them.
    _hands: defaultdict[int, dict[int, Task]] = field(default_factory=lambda: defaultdict(dict))
    _cursor: _Cursor = field(default_factory=_Cursor)
    _order: list[int] = field(default_factory=list)
    _stopped: bool = False

    # ------------------------------------------------------------ putting in

    def add(self, kind: TaskKind, spans: Sequence[Span] = (), **details: Any) -> Task:
        """Put a task at the end of the urgent ones."""
        task = Task(id=self._new_id(), kind=kind, spans=tuple(spans), **details)
        self._urgent.append(task)
        return task

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def stop_training(self) -> None:
        """Hand out no further training task; those in workers' hands may still be finished."""
        self._urgent = deque(task for task in self._urgent if task.kind != "train")
        self._stopped = True

    # ------------------------------------------------------------ handing out

    def next(
        self, worker: int, *, new_training: bool = True, accept: Callable[[Task], bool] = lambda task: True
    ) -> Task | None:
        """Hand the next task to this worker, or None while there is none to hand out.

        Without `new_training`, only tasks that have been put in or given back are handed out; of these, those that
        `accept` likes.
        """
        task = next((task for task in self._urgent if accept(task)), None)
        if task is not None:
            self._urgent.remove(task)
        elif self._urgent or not new_training or (task := self._next_of_plan()) is None:
            return None
        task = task._replace(attempt=task.attempt + 1)
        self._doing[task.id] = (task, [worker])
        self._hands[worker][task.id] = task
        return task

    def share(self, task_id: int, worker: int) -> Task | None:
        """Give a task that is in another worker's hands to this one also; None if it is in nobody's, or in its own.

        The first result counts.
        """
        task, holders = self._doing.get(task_id, (None, []))
        if task is None or worker in holders:
            return None
        holders.append(worker)
        self._hands[worker][task.id] = task
        return task

    def _next_of_plan(self) -> Task | None:
        plan, cursor = self.plan, self._cursor
        if plan is None or self._stopped or not plan.pieces or cursor.epoch >= plan.num_epochs:
            return None
        if not self._order:
            self._order = plan.order(cursor.epoch)
        index = self._order[cursor.position]
        spans = plan.trim(plan.pieces[index], cursor.steps)
        if not spans:
            return None
        task = Task(id=self._new_id(), kind="train", spans=spans, epoch=cursor.epoch, index=index)
        cursor.steps += plan.steps(spans)
        cursor.position += 1
        if cursor.position == len(self._order):
            cursor.epoch, cursor.position, self._order = cursor.epoch + 1, 0, []
            task = task._replace(ends_epoch=True)
        return task

    # ------------------------------------------------------------ taking back

    def done(self, task_id: int, attempt: int, records: int) -> Task | None:
        """Count a task as done and return it; None if this attempt is no longer the one that counts."""
        task = self._current(task_id, attempt)
        if task is None:
            return None
        self._take_back(task_id)
        self.tasks_done[task.kind] += 1
        self.records_done[task.kind] += records
        return task

    def failed(self, task_id: int, attempt: int, skip: int = 0) -> Task | None:
        """Put a task back that failed by its own exception; return it with its failures counted, None if outdated.

        The caller looks at `failures`: more than MAX_RETRIES means that the job has failed.
        """
        task = self._current(task_id, attempt)
        if task is None:
            return None
        self._take_back(task_id)
        task = task._replace(failures=task.failures + 1, skip=max(skip, task.skip))
        self._urgent.appendleft(task)
        self.tasks_retried += 1
        return task

    def lost(self, worker: int, skips: Mapping[int, int] | None = None) -> list[Task]:
        """Put back what a dead worker alone had in hand. That does not count against the tasks.

        `skips` says of how many records of a task, by its number, are in the model already.
        """
        skips = skips or {}
        back = []
        for task in self._hands.pop(worker, {}).values():
            _, holders = self._doing[task.id]
            holders.remove(worker)
            back += [] if holders else [task]
        for task in reversed(back):
            del self._doing[task.id]
            self._urgent.appendleft(task._replace(skip=max(task.skip, skips.get(task.id, 0))))
        self.tasks_retried += len(back)
        return back

    def _take_back(self, task_id: int) -> None:
        _, holders = self._doing.pop(task_id)
        for worker in holders:
            del self._hands[worker][task_id]

    def pass_on(self, worker: int, holder: int) -> None:
        """Let what is in a worker's hands be in another's, who may be nobody, in particular."""
        self._hands[holder] = self._hands.pop(worker, {})
        for task_id in self._hands[holder]:
            _, holders = self._doing[task_id]
            holders[:] = [holder if one == worker else one for one in holders]

    def _current(self, task_id: int, attempt: int) -> Task | None:
        if task_id >= self._next_id or attempt < 1:
            raise IllegalTransitionError(f"task {task_id}, attempt {attempt}: was never handed out")
        task, _ = self._doing.get(task_id, (None, []))
        return task if task is not None and task.attempt == attempt else None

    def give(self, task_id: int, worker: int) -> None:
        """Let a task that is in anyone's hands be in this worker's instead."""
        task, _ = self._doing[task_id]
        self._take_back(task_id)
        self._doing[task_id] = (task, [worker])
        self._hands[worker][task_id] = task

    # ------------------------------------------------------------ looking

    def held(self, worker: int) -> list[Task]:
        """The tasks in a worker's hands, in the order in which it got them."""
        return list(self._hands.get(worker, {}).values())

    def count_held(self, worker: int) -> int:
        """How many tasks are in a worker's hands."""
        return len(self._hands.get(worker, ()))

    def in_hand(self, kind: TaskKind) -> bool:
        """Whether any task of this kind is in anyone's hands."""
        return any(task.kind == kind for task, _ in self._doing.values())

    def shared(self, task_id: int) -> bool:
        """Whether a task is in the hands of more than one worker."""
        return len(self._doing.get(task_id, (None, []))[1]) > 1

    @property
    def next_number(self) -> int:
        """The number of the next task that is made; earlier ones have lower numbers."""
        return self._next_id

    @property
    def idle(self) -> bool:
        """Whether nothing is in anyone's hands and nothing waits."""
        return not self._doing and not self._urgent and self.plan_is_exhausted

    @property
    def plan_is_exhausted(self) -> bool:
        """Whether no further training task will come from the plan."""
        plan, cursor = self.plan, self._cursor
        if plan is None or self._stopped or not plan.pieces or cursor.epoch >= plan.num_epochs:
            return True
        return bool(plan.max_step) and cursor.steps >= plan.max_step

    @property
    def is_stopped(self) -> bool:
        """Whether no further training task is wanted."""
        return self._stopped

    @property
    def epoch(self) -> int:
        """The epoch being handed out, from 0; the last one once all are."""
        doing = [task.epoch for task, _ in self._doing.values() if task.kind == "train"]
        last = self.plan.num_epochs - 1 if self.plan else self._cursor.epoch
        return min([*doing, self._cursor.epoch, last])

    @property
    def oldest_epoch(self) -> int:
        """The earliest epoch of which a training task is not done; looks at all tasks."""
        waiting = [task.epoch for task in self._urgent if task.kind == "train"]
        doing = [task.epoch for task, _ in self._doing.values() if task.kind == "train"]
        return min([*waiting, *doing, self._cursor.epoch])

    # ------------------------------------------------------------ checkpoints

    def snapshot(self, skips: Mapping[int, int] | None = None) -> dict[str, Any]:
        """The training tasks' state as JSON values; tasks in workers' hands count as waiting.

        `skips` says how many records of a task, by its number, are in the model already.
        """
        skips = skips or {}
        waiting = [task for task, _ in self._doing.values()] + list(self._urgent)
        return {
            "records_done": self.records_done["train"],
            "tasks_done": self.tasks_done["train"],
            "cursor": [self._cursor.epoch, self._cursor.position, self._cursor.steps],
            "stopped": self._stopped,
            "waiting": [
                _as_json(task._replace(skip=max(task.skip, skips.get(task.id, 0))))
                for task in waiting
                if task.kind == "train"
            ],
        }

    def restore(self, snapshot: dict[str, Any] | None) -> None:
        """Go back to a snapshot, or to the beginning; task numbers go on, so that older results are outdated."""
        failures = {(task.epoch, task.index): task.failures for task, _ in self._doing.values()}
        failures |= {(task.epoch, task.index): task.failures for task in self._urgent}
        state = snapshot or {"records_done": 0, "tasks_done": 0, "cursor": [0, 0, 0], "waiting": []}
        self.records_done["train"], self.tasks_done["train"] = state["records_done"], state["tasks_done"]
        self._cursor = _Cursor(*state["cursor"])
        self._stopped = state.get("stopped", False)
        self._order = self.plan.order(self._cursor.epoch) if self.plan and self._cursor.position else []
        self._doing.clear()
        self._hands.clear()
        self._urgent = deque(
            Task(
                id=self._new_id(), kind="train", spans=tuple((path, start, end) for path, start, end in spans),
                epoch=epoch, index=index, ends_epoch=ends_epoch, failures=max(count, failures.get((epoch, index), 0)),
                attempt=1, skip=sum(skip),
            )
            for spans, epoch, index, ends_epoch, count, *skip in state["waiting"]
        )  # fmt: skip


def _as_json(task: Task) -> list[Any]:
    return [list(map(list, task.spans)), task.epoch, task.index, task.ends_epoch, task.failures, task.skip]
