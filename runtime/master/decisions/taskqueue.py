"""Which records have yet to be used, which workers hold which, and which are done.

A plain object: no clock, no threads, no I/O. Its invariant, whatever workers do: every record of every epoch is
accounted for exactly once.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from elasticdl_nb.runtime.master.decisions.learnt import Learnt
from elasticdl_nb.runtime.master.decisions.story import IllegalTransitionError
from elasticdl_nb.runtime.master.decisions.suspects import Suspects
from elasticdl_nb.runtime.master.decisions.task import (
    Span,
    Task,
    TaskKind,
    pieces_message,
    tasks_message,
    tasks_of,
)
from elasticdl_nb.runtime.master.decisions.training_plan import TrainingPlan
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb

UNUSABLE = ("malformed", "expired", "gaps", "late_passed")
"""Of a topic, what `records_done` counts beside records: what was not used, and offsets without a record."""

COUNTED = (*UNUSABLE, "late")
"""Also records that came late, used or not."""


@dataclass
class _Cursor:
    """How far the training plan has been turned into tasks."""

    epoch: int = 0
    position: int = 0
    steps: int = 0


@dataclass
class TaskQueue:
    """Waiting tasks, tasks held by workers, and counts of those done.

    Urgent tasks (returned by dead workers, evaluations) come before further training tasks.
    """

    plan: TrainingPlan | None = None
    records_done: Counter[str] = field(default_factory=Counter)
    tasks_done: Counter[str] = field(default_factory=Counter)
    tasks_retried: int = 0
    suspects: Suspects = field(default_factory=Suspects)
    learnt: Learnt = field(default_factory=Learnt)
    growing: bool = False
    _next_id: int = 1
    _urgent: deque[Task] = field(default_factory=deque)
    _doing: dict[int, tuple[Task, list[int]]] = field(default_factory=dict)
    # The same by worker: the tasks it holds, in the order in which it got them.
    _hands: defaultdict[int, dict[int, Task]] = field(default_factory=lambda: defaultdict(dict))
    # Those of them that a worker held, too, that is dead now.
    _begun_by_dead: set[int] = field(default_factory=set)
    _cursor: _Cursor = field(default_factory=_Cursor)
    _order: list[int] = field(default_factory=list)
    _stopped: bool = False

    # ------------------------------------------------------------ putting in

    def add(self, kind: TaskKind, spans: Sequence[Span] = (), **details: Any) -> Task:
        """Put a task at the end of the urgent ones."""
        task = Task(id=self._new_id(), kind=kind, spans=tuple(spans), **details)
        self._urgent.append(task)
        return task

    def grow(self, pieces: Sequence[Sequence[Span]], *, last: bool) -> None:
        """Add pieces to the end of a plan that grows; after the `last` call, it grows no more."""
        if self.plan is None or not self.plan.grows or not self.growing:
            raise IllegalTransitionError("the data does not grow any more")
        self.plan, self.growing = self.plan.grown(pieces), not last

    def forget(self, before: int) -> None:
        """Forget pieces of a plan that grows: the job never goes back to a position before this one."""
        if self.plan is not None and self.plan.grows:
            self.plan = self.plan.without(before)

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def stop_training(self) -> None:
        """Hand out no further training task; those that workers hold may still be finished."""
        self._urgent = deque(task for task in self._urgent if task.kind != "train")
        self._stopped = True

    # ------------------------------------------------------------ handing out

    def next(
        self, worker: int, *, new_training: bool = True, accept: Callable[[Task], bool] = lambda task: True
    ) -> Task | None:
        """Hand the next task to this worker, or None while there is none to hand out.

        Without `new_training`, only tasks that were put in or given back are handed out; of these, those that `accept`
        accepts.
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
        """Give a task that another worker holds to this one too; None if no other holds it, or this one already does.

        The first result counts.
        """
        task, holders = self._doing.get(task_id, (None, []))
        if task is None or worker in holders:
            return None
        holders.append(worker)
        self._hands[worker][task.id] = task
        return task

    def upcoming(self) -> Task | None:
        """The task that would be handed out next, if any, though perhaps without its number."""
        plan, cursor = self.plan, self._cursor
        if self._urgent:
            return self._urgent[0]
        if plan is None or self.plan_is_exhausted:
            return None
        if plan.grows:
            return Task(id=0, kind="train", index=cursor.position) if cursor.position < plan.end else None
        order = self._order or plan.order(cursor.epoch)
        return Task(id=0, kind="train", epoch=cursor.epoch, index=order[cursor.position])

    def _next_of_plan(self) -> Task | None:
        """The plan's next task that was not set aside; this happens when the job has gone back since it was."""
        while (task := self._cut_from_plan()) is not None and self.suspects.drops(task):
            pass
        return task

    def _cut_from_plan(self) -> Task | None:
        plan, cursor = self.plan, self._cursor
        if plan is not None and plan.grows:
            return self._cut_from_growing(plan)
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

    def _cut_from_growing(self, plan: TrainingPlan) -> Task | None:
        """The next piece in the order in which they came; there are no epochs."""
        cursor = self._cursor
        if self._stopped or cursor.position >= plan.end:
            return None
        spans = tuple(plan.pieces[cursor.position - plan.forgotten])
        task = Task(id=self._new_id(), kind="train", spans=spans, index=cursor.position)
        cursor.steps += plan.steps(spans)
        cursor.position += 1
        return task

    # ------------------------------------------------------------ taking back

    def done(self, task_id: int, attempt: int, records: int) -> Task | None:
        """Count a task as done and return it; None if this attempt no longer counts."""
        task = self._current(task_id, attempt)
        if task is None:
            return None
        self._take_back(task_id)
        self.suspects.done(task)
        self.tasks_done[task.kind] += 1
        self.records_done[task.kind] += records
        return task

    def account(self, task: Task, done: pb.TaskDone) -> None:
        """Count what was not used of a topic's task that is done, or came late, and keep what its last record was."""
        gaps = task.records - done.records - done.malformed - done.expired - done.late_passed
        counts = done.malformed, done.expired, gaps, done.late_passed, done.late
        self.records_done.update({name: count for name, count in zip(COUNTED, counts, strict=True) if count})
        if done.HasField("last"):
            self.learnt.done(done.last)

    def failed(self, task_id: int, attempt: int, skip: int = 0) -> Task | None:
        """Put back a task that failed with an exception; return it with its failures counted, None if outdated.

        The caller checks `failures`, and whether the task is to be tried again.
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
        """Put back the tasks that only a dead worker held. This does not count as a failure of the tasks.

        `skips` says how many records of a task, by its number, are already in the model.
        """
        skips = skips or {}
        back = []
        for task in self._hands.pop(worker, {}).values():
            _, holders = self._doing[task.id]
            holders.remove(worker)
            back += [] if holders else [task]
            self._begun_by_dead.add(task.id)
        for task in reversed(back):
            del self._doing[task.id]
            task = task._replace(skip=max(task.skip, skips.get(task.id, 0)))
            if not self.suspects.drops(task):
                self._urgent.appendleft(task)
        self._begun_by_dead &= self._doing.keys()
        self.tasks_retried += len(back)
        return back

    def set_aside(self, task: Task, reason: str) -> None:
        """Never hand out a task again; if a worker still holds it, it is dropped when it comes back."""
        self.suspects.set_aside(task, reason)
        self._urgent = deque(one for one in self._urgent if not self.suspects.drops(one))

    def _take_back(self, task_id: int) -> None:
        _, holders = self._doing.pop(task_id)
        for worker in holders:
            del self._hands[worker][task_id]

    def pass_on(self, worker: int, holder: int) -> None:
        """Move a worker's tasks to another holder, which need not be a real worker."""
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
        """Move a task from its holders to this worker."""
        task, _ = self._doing[task_id]
        self._take_back(task_id)
        self._doing[task_id] = (task, [worker])
        self._hands[worker][task_id] = task

    # ------------------------------------------------------------ looking

    def held(self, worker: int) -> list[Task]:
        """The tasks that a worker holds, in the order in which it got them."""
        return list(self._hands.get(worker, {}).values())

    def count_held(self, worker: int) -> int:
        """How many tasks a worker holds."""
        return len(self._hands.get(worker, ()))

    def in_hand(self, kind: TaskKind) -> bool:
        """Whether any worker holds a task of this kind."""
        return any(task.kind == kind for task, _ in self._doing.values())

    def shared(self, task_id: int) -> bool:
        """Whether more than one worker holds a task."""
        return len(self._doing.get(task_id, (None, []))[1]) > 1

    @property
    def next_number(self) -> int:
        """The number that the next new task gets; earlier ones have lower numbers."""
        return self._next_id

    @property
    def idle(self) -> bool:
        """Whether no task is held and none waits."""
        return not self._doing and not self._urgent and self.plan_is_exhausted

    @property
    def plan_is_exhausted(self) -> bool:
        """Whether no further training task will come from the plan."""
        plan, cursor = self.plan, self._cursor
        if plan is not None and plan.grows:
            return self._stopped or not (self.growing or cursor.position < plan.end)
        if plan is None or self._stopped or not plan.pieces or cursor.epoch >= plan.num_epochs:
            return True
        return bool(plan.max_step) and cursor.steps >= plan.max_step

    @property
    def has_retries(self) -> bool:
        """Whether a training task that was handed out before is not done yet: a part of it may be in the model."""
        again = [task for task in self._urgent if task.attempt]
        again += [task for task, _ in self._doing.values() if task.attempt > 1 or task.id in self._begun_by_dead]
        return any(task.kind == "train" for task in again)

    @property
    def waits_for_data(self) -> bool:
        """Whether all that was found of growing data is done, and more may come."""
        plan = self.plan
        if plan is None or not self.growing or self._doing or self._urgent:
            return False
        return self._cursor.position >= plan.end

    @property
    def next_of_plan(self) -> list[Any] | None:
        """Of a plan that grows: path and record at which the next piece begins; None if all were handed out."""
        plan, position = self.plan, self._cursor.position
        if plan is None or position >= plan.end:
            return None
        path, start, _ = plan.pieces[position - plan.forgotten][0]
        return [path, start]

    @property
    def unfinished(self) -> str:
        """Of a plan that grows: the first path with records that are not done; empty if all are. Scans all tasks."""
        tasks = [*self._urgent, *(task for task, _ in self._doing.values())]
        if waiting := [task for task in tasks if task.kind == "train"]:
            return min(waiting, key=lambda task: task.index).spans[0][0]
        return self.next_of_plan[0] if self.next_of_plan else ""

    @property
    def rest_of_plan(self) -> list[list[Any]]:
        """Of a plan that grows: the ranges [path, start, end) of the pieces that were not handed out yet."""
        plan, ranges = self.plan, dict[str, list[Any]]()
        rest = plan.pieces[self._cursor.position - plan.forgotten :] if plan else ()
        found: list[list[Any]] = []
        for path, start, end in (span for spans in rest for span in spans):
            last = ranges.get(path)
            if last is not None and last[2] == start:
                last[2] = end
            else:
                ranges[path] = [path, start, end]
                found.append(ranges[path])
        return found

    @property
    def has_forgotten(self) -> bool:
        """Whether the queue has gone back to a position whose pieces were forgotten."""
        return self.plan is not None and self._cursor.position < self.plan.forgotten

    @property
    def next_epoch(self) -> int:
        """The epoch of the next training task that comes from the plan."""
        return self._cursor.epoch

    @property
    def has_training(self) -> bool:
        """Whether a training task waits to be handed out again, or is held; scans all tasks."""
        return any(task.kind == "train" for task in self._urgent) or self.in_hand("train")

    @property
    def is_stopped(self) -> bool:
        """Whether no further training task is wanted."""
        return self._stopped

    @property
    def epoch(self) -> int:
        """The epoch being handed out, from 0; the last one once all are handed out."""
        doing = [task.epoch for task, _ in self._doing.values() if task.kind == "train"]
        last = self.plan.num_epochs - 1 if self.plan else self._cursor.epoch
        return min([*doing, self._cursor.epoch, last])

    @property
    def oldest_epoch(self) -> int:
        """The earliest epoch with an unfinished training task; scans all tasks."""
        waiting = [task.epoch for task in self._urgent if task.kind == "train"]
        doing = [task.epoch for task, _ in self._doing.values() if task.kind == "train"]
        return min([*waiting, *doing, self._cursor.epoch])

    # ------------------------------------------------------------ checkpoints

    def snapshot(self, skips: Mapping[int, int] | None = None) -> dict[str, Any]:
        """The training tasks' state as JSON values; tasks held by workers count as waiting.

        `skips` says how many records of a task, by its number, are already in the model.
        """
        skips = skips or {}
        waiting = [task for task, _ in self._doing.values()] + list(self._urgent)
        return {
            "records_done": self.records_done["train"],
            "tasks_done": self.tasks_done["train"],
            **({"unusable": counts} if any(counts := [self.records_done[name] for name in COUNTED]) else {}),
            **({"learnt": learnt} if (learnt := self.learnt.snapshot()) else {}),
            "cursor": [self._cursor.epoch, self._cursor.position, self._cursor.steps],
            "stopped": self._stopped,
            "waiting": [
                _as_json(task._replace(skip=max(task.skip, skips.get(task.id, 0))))
                for task in waiting
                if task.kind == "train"
            ],
        }

    def restore(self, snapshot: dict[str, Any] | None) -> None:
        """Go back to a snapshot, or to the beginning; task numbers continue, so that older results are outdated."""
        failures = {(task.epoch, task.index): task.failures for task, _ in self._doing.values()}
        failures |= {(task.epoch, task.index): task.failures for task in self._urgent}
        state = snapshot or {"records_done": 0, "tasks_done": 0, "cursor": [0, 0, 0], "waiting": []}
        self.records_done["train"], self.tasks_done["train"] = state["records_done"], state["tasks_done"]
        for name, count in zip_longest(COUNTED, state.get("unusable", ()), fillvalue=0):  # older states have fewer
            self.records_done[name] = count  # type: ignore[index]
        self.learnt = Learnt.of_snapshot(state.get("learnt", {}))
        self._cursor = _Cursor(*state["cursor"])
        self._stopped = state.get("stopped", False)
        in_order = self.plan is None or self.plan.grows or not self._cursor.position
        self._order = [] if in_order or self.plan is None else self.plan.order(self._cursor.epoch)
        self._doing.clear()
        self._hands.clear()
        waiting = [
            Task(
                id=self._new_id(), kind="train", spans=tuple((path, start, end) for path, start, end in spans),
                epoch=epoch, index=index, ends_epoch=ends_epoch, failures=max(count, failures.get((epoch, index), 0)),
                attempt=1, skip=sum(skip),
            )
            for spans, epoch, index, ends_epoch, count, *skip in state["waiting"]
        ]  # fmt: skip
        self._urgent = deque(task for task in waiting if not self.suspects.drops(task))

    # ------------------------------------------------------------ the journal

    def to_message(self) -> journal.Queue:
        """Return everything but the plan's options, in the journal's form."""
        cursor = self._cursor
        return journal.Queue(
            pieces=pieces_message(self.plan.pieces) if self.plan else None,
            epoch=cursor.epoch,
            position=cursor.position,
            steps=cursor.steps,
            order=self._order,
            stopped=self._stopped,
            records_done=self.records_done,
            tasks_done=self.tasks_done,
            tasks_retried=self.tasks_retried,
            next_id=self._next_id,
            urgent=tasks_message(self._urgent),
            doing=tasks_message([task for task, _ in self._doing.values()]),
            holders=[journal.Holders(workers=workers) for _, workers in self._doing.values()],
            hands=[journal.Hand(worker=worker, tasks=tasks) for worker, tasks in self._hands.items()],
            suspects=self.suspects.to_message(),
            growing=self.growing,
            forgotten=self.plan.forgotten if self.plan else 0,
            begun_by_dead=sorted(self._begun_by_dead),
            learnt=self.learnt.messages(),
        )

    @classmethod
    def from_message(cls, message: journal.Queue, plan: TrainingPlan | None) -> TaskQueue:
        """Return the queue from a message made by `to_message`; its plan has the same pieces."""
        queue = cls(
            plan=plan,
            records_done=Counter(message.records_done),
            tasks_done=Counter(message.tasks_done),
            tasks_retried=message.tasks_retried,
            suspects=Suspects.from_message(message.suspects),
            learnt=Learnt(message.learnt),
            growing=message.growing,
            _next_id=message.next_id,
            _urgent=deque(tasks_of(message.urgent)),
            _cursor=_Cursor(message.epoch, message.position, message.steps),
            _order=list(message.order),
            _begun_by_dead=set(message.begun_by_dead),
            _stopped=message.stopped,
        )
        for task, holders in zip(tasks_of(message.doing), message.holders, strict=True):
            queue._doing[task.id] = task, list(holders.workers)
        for hand in message.hands:
            queue._hands[hand.worker] = {number: queue._doing[number][0] for number in hand.tasks}
        return queue


def _as_json(task: Task) -> list[Any]:
    return [list(map(list, task.spans)), task.epoch, task.index, task.ends_epoch, task.failures, task.skip]
