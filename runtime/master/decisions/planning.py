"""What there is to train on: counted once when the job begins, or growing while it runs.

A plain object, between `BorderingCrew` and `Coordinator`. Of data that grows, a `DataGrew` event brings the new files;
they are used in the order in which they come, once each. Tasks before the oldest checkpoint that is kept are forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.tasks import cut
from elasticdl_nb.runtime.data.topics.names import any_topic, is_topic
from elasticdl_nb.runtime.master.decisions.bordering import BorderingCrew
from elasticdl_nb.runtime.master.decisions.evaluations import steps_between
from elasticdl_nb.runtime.master.decisions.task import Span, Task, pieces_of
from elasticdl_nb.runtime.master.decisions.taskqueue import COUNTED, TaskQueue
from elasticdl_nb.runtime.master.decisions.training_plan import TrainingPlan
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec


class PlanningCrew(BorderingCrew):
    """Processes that train on the job's plan."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.now = 0.0
        self.tasks_total = self.records_total = self.steps_total = 0
        # Of a training that follows its data: files that have appeared since it began, and whether it is to end.
        self.files_found = 0
        self.stopping = False
        # Of a topic: the offset up to which each partition's records are in the plan.
        self.reached: dict[str, int] = {}

    # ------------------------------------------------------------ the plan

    def _pieces(self, data: Sequence[FileRecords]) -> list[list[Span]]:
        """Cut files into tasks."""
        spec = self.spec
        marks = [spec.evaluation_steps, spec.steps_between_checkpoints] if spec.kind == "train" else []
        if spec.prequential and (spec.follow or not spec.shuffle):  # other tasks would be shuffled into another order
            marks.append(max(1, spec.prequential_window // spec.minibatch_size))
        return cut(data, steps_between(task_steps=spec.num_minibatches_per_task, marks=marks) * spec.minibatch_size)

    def _plan(self, pieces: Sequence[Sequence[Span]]) -> None:
        self.queue.plan = plan = self._plan_of(pieces)
        self.queue.growing = plan.grows
        self.tasks_total, self.records_total, self.steps_total = plan.totals()

    def _plan_of(self, pieces: Sequence[Sequence[Span]]) -> TrainingPlan:
        spec = self.spec
        return TrainingPlan(
            pieces, spec.num_epochs, spec.minibatch_size, spec.max_step, spec.shuffle, spec.seed, grows=spec.follow
        )

    def _note_reached(self, data: Sequence[FileRecords]) -> None:
        for one in data:
            if is_topic(one.path):
                self.reached[one.path] = max(self.reached.get(one.path, 0), one.start + one.records)

    def _account(self, task: Task, done: pb.TaskDone) -> None:
        """Count what a task of a topic had that could not be used or came late; tell users, more and more rarely."""
        if not any(is_topic(path) for path, _, _ in task.spans) or task.kind != "train":
            return
        counts = self.queue.records_done
        before = {name: counts[name] for name in COUNTED}
        self.queue.account(task, done)
        passed = "passed over" if counts["late_passed"] else "trained on"
        for name, text in (
            ("malformed", f"record(s) could not be used so far; {done.example}"),
            ("expired", f"offset(s) so far were deleted before they were used, as in {task.spans[0][0]}"),
            ("late", f"record(s) so far came late and were {passed}; {done.late_example}"),
        ):
            if len(str(counts[name])) > len(str(before[name] or "")):
                self._note("warning", f"{counts[name]} {text}")

    @property
    def _what_comes(self) -> str:
        return "new records" if any_topic(self.spec.data) else "new files"

    @property
    def tasks_ahead(self) -> int:
        """How many of the tasks that were cut are not done."""
        return self.tasks_total - self.queue.tasks_done["train"] - len(self.queue.suspects.aside)

    # ------------------------------------------------------------ the data grows

    def _grow(self, data: Sequence[FileRecords], last: bool, now: float) -> None:
        """Files have appeared in data that the job follows."""
        if self._ending:
            return
        pieces = self._pieces(data)
        self._note_reached(data)
        self.queue.grow(pieces, last=last)
        self.files_found += len(data)
        tasks, records, steps = TrainingPlan(pieces, minibatch_size=self.spec.minibatch_size).totals()
        self.tasks_total += tasks
        self.records_total += records
        self.steps_total += steps
        if last and not self.records_total:
            self._fail(pb.Failure(message="the job was stopped before there was any record to train on"), now)
            return
        self._everyone_may_be_hungry()
        self._advance(now)

    def _checkpoint_committed(self, path: str, final: str, kept: Collection[str], now: float) -> None:
        """Also forget the tasks that were done by the oldest checkpoint that the job can go back to."""
        super()._checkpoint_committed(path, final, kept, now)
        if self.spec.follow and self.saved.complete:
            self.queue.forget(min(one.state["queue"]["cursor"][1] for one in self.saved.complete))

    def _followed(self) -> dict[str, Any]:
        """How far the job's state is in data that it follows, as JSON values; see `storage.usedfiles`."""
        followed: dict[str, Any] = {"found": self.files_found, "next": self.queue.next_of_plan}
        if any_topic(self.spec.data):
            followed |= {"offsets": dict(self.reached), "ahead": self.queue.rest_of_plan}
        return followed

    def _has_forgotten(self, now: float) -> bool:
        """Whether the job has gone back further than what is known of its data, and therefore fails."""
        if self.queue.has_forgotten:
            text = "no checkpoint is left that can be read, and the job has forgotten which data came before the last"
            self._fail(pb.Failure(message=text), now)
        return self.queue.has_forgotten

    def _check_borders(self, now: float) -> None:
        if self.spec.follow and self.borders.exist:
            text = "follow: the model has callbacks, which are called between epochs; this training has no epochs"
            self._fail(pb.Failure(message=text), now)

    def _fail_instead_of_stopping(self, reason: str, now: float) -> None:
        """A callback wants the training to stop, which would leave files that were found, but not used."""
        text = f"follow: {reason}; a training that follows its data ends only by `elasticdl stop`, or job.stop()"
        self._fail(pb.Failure(message=text), now)

    # ------------------------------------------------------------ it is to end

    def stop_problem(self) -> str:
        """Why the job cannot be stopped with a trained model, to be shown to users; empty if it can."""
        if not self.spec.follow:
            return "only a training with follow can be stopped; others end by themselves, or are cancelled"
        return "it is over" if self._ending else ""

    def _stop(self, reason: str) -> None:
        if not self._ending and not self.stopping:
            self.stopping = True
            self._note(
                "info",
                f"{reason}: the job trains on the {self._what_comes[4:]} that are there by now, and writes its model",
            )

    # ------------------------------------------------------------ the journal

    def save_plan(self, state: journal.State) -> None:
        """Add this object's state to a message, except the queue's."""
        state.tasks_total, state.records_total, state.steps_total = (
            self.tasks_total, self.records_total, self.steps_total,
        )  # fmt: skip
        state.files_found, state.stopping = self.files_found, self.stopping
        state.reached.update(self.reached)

    def load_plan(self, state: journal.State) -> None:
        """Restore what `save_plan` has added to a message, and the queue."""
        plan = self._plan_of(pieces_of(state.queue.pieces)) if state.queue.HasField("pieces") else None
        plan = replace(plan, forgotten=state.queue.forgotten) if plan else None
        self.queue = TaskQueue.from_message(state.queue, plan)
        self.tasks_total, self.records_total = state.tasks_total, state.records_total
        self.steps_total = state.steps_total
        self.files_found, self.stopping = state.files_found, state.stopping
        self.reached = dict(sorted(state.reached.items()))
