"""Which tasks are to blame for crashes, and what becomes of them.

A plain object, between `SavingCrew` and `Coordinator`.
"""

from __future__ import annotations

from collections.abc import Sequence

from elasticdl_nb.runtime.exits import likely_cause
from elasticdl_nb.runtime.master.decisions.membership import Member
from elasticdl_nb.runtime.master.decisions.saving import SavingCrew
from elasticdl_nb.runtime.master.decisions.suspects import described
from elasticdl_nb.runtime.master.decisions.task import Task
from elasticdl_nb.runtime.master.decisions.taskqueue import TaskQueue
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

_KINDS = {
    "train": "training", "evaluate": "evaluation", "predict": "prediction", "finish": "final", "callbacks": "callback",
}  # fmt: skip


class BlamingCrew(SavingCrew):
    """Processes that hold tasks, which may be what kills them."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.queue = TaskQueue()

    def _known_to(self, worker: Member) -> Sequence[Task]:
        """The tasks that a worker holds and has been told of."""
        return self.queue.held(worker.index)

    def _replace(
        self, member: Member, cause: str, now: float, *, own: bool, counts: bool = True, log_tail: str = "",
        code: int | None = None,
    ) -> None:  # fmt: skip
        """See `Crew`. A worker's own crash counts for the tasks that it had, if any, rather than for the worker."""
        if own and counts and member.role == "worker" and (tasks := self._known_to(member)):
            counts = False
            self.queue.suspects.crashed(tasks)
            if (culprit := self._culprit(tasks)) is not None:
                why = self._accusation(culprit, f"{member.name} {cause}", likely_cause(code, f"{cause}\n{log_tail}"))
                if not self._goes_on_without(culprit, why):
                    self._group(member).ended(member, "failed")
                    self._fail(pb.Failure(message=why, traceback=log_tail), now)
                    return
        super()._replace(member, cause, now, own=own, counts=counts, log_tail=log_tail)

    def _culprit(self, tasks: Sequence[Task]) -> Task | None:
        """The task that has crashed too many workers; of several at once, none can be convicted."""
        alone = tasks[0] if len(tasks) == 1 else None
        return alone if alone and self.queue.suspects.crashes(alone) > self.spec.max_task_retries else None

    def _accusation(self, task: Task, what: str, cause: str) -> str:
        times = self.queue.suspects.crashes(task)
        often = f"like the {times - 1} process(es) before it, " if times > 1 else ""
        return f"{what} during a {_KINDS[task.kind]} task, {often}with {described(task.spans)}; likely cause: {cause}"

    def _goes_on_without(self, task: Task, why: str) -> bool:
        """Set a task aside if the job's options allow that; return whether they do."""
        suspects = self.queue.suspects
        if not self.spec.skip_failed_tasks or task.kind != "train" or not suspects.may_set_aside:
            return False
        self.queue.set_aside(task, why)
        self._note("warning", f"a task is set aside: {why}")
        return True

    # ------------------------------------------------------------ handing out

    def _must_be_alone(self, worker: Member, upcoming: Task | None) -> bool:
        """Whether a worker that holds tasks must finish them before it gets another: suspects are handed out alone."""
        suspects, held = self.queue.suspects, self._known_to(worker)
        return any(suspects.crashes(task) for task in held) or bool(
            held and upcoming is not None and suspects.crashes(upcoming)
        )

    # ------------------------------------------------------------ the journal

    def _save(self, state: journal.State) -> None:
        super()._save(state)
        state.queue.CopyFrom(self.queue.to_message())
