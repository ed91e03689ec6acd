"""What happens between epochs: evaluations, and the callbacks of a model that has any.

A plain object, between `BlamingCrew` and `Coordinator`.
"""

from __future__ import annotations

from elasticdl_nb.runtime.master.decisions.blame import BlamingCrew
from elasticdl_nb.runtime.master.decisions.borders import Borders
from elasticdl_nb.runtime.master.decisions.epochs import KEPT, Epochs
from elasticdl_nb.runtime.master.decisions.evaluations import Evaluations
from elasticdl_nb.runtime.master.decisions.membership import Member
from elasticdl_nb.runtime.master.decisions.task import Task
from elasticdl_nb.runtime.master.decisions.windows import Windows
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec


class BorderingCrew(BlamingCrew):
    """Processes that train epoch by epoch."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.evaluations = Evaluations(spec.evaluation_steps, enabled=bool(spec.validation_data))
        self.windows = Windows(spec.prequential_window if spec.prequential else 0, spec.alarm)
        self.borders = Borders()
        self.epochs = Epochs()
        self.step = 0
        self.rollbacks = 0

    def _everyone_may_be_hungry(self) -> None:
        """Any worker may be able to take another task."""
        raise NotImplementedError

    def _evaluate_if_due(self, task: Task) -> None:
        """A task is used for the first time: check whether an evaluation comes after it."""
        if task.kind != "train" or task.attempt > 1 or self.queue.plan is None:
            return
        if self.evaluations.schedule.task_handed_out(self._steps_of(task), task.ends_epoch):
            if self.borders.exist and task.ends_epoch:  # it waits for all of the epoch
                self.borders.evaluates = True
            elif self.worker_holds_model or not self.queue.plan_is_exhausted:
                self.evaluations.start(self.queue)
            else:  # others are still training: the final evaluation waits for them
                self.evaluations.schedule.model_changed()

    def _steps_of(self, task: Task) -> int:
        return self.queue.plan.steps(task.spans) if self.queue.plan else 0

    # ------------------------------------------------------------ what is said of epochs

    def _process(self, worker: Member) -> str:
        return f"{self.rollbacks}/{worker.incarnation}"

    def _heard_of_epoch(self, worker: Member, so_far: pb.EpochEnded) -> None:
        """A worker says what its part of an epoch is by now: show the epoch if it is over."""
        self.epochs.heard(self._process(worker), so_far)
        if self.borders.exist:
            return  # the callbacks have the last word
        over = self.queue.epoch + (self.queue.plan_is_exhausted and not self.queue.has_training)
        # The end of an epoch is often the beginning of another's task, and later epochs may have ended before this one.
        for epoch in range(max(so_far.epoch - 1, over - KEPT), over):
            if whole := self.epochs.whole(epoch):
                self.picture.set_epoch(whole)

    # ------------------------------------------------------------ borders

    def _border(self, task: Task, worker: Member) -> pb.Border | None:
        if not self.borders.exist:
            return None
        return self.borders.message(
            task, worker.index, rollbacks=self.rollbacks, needed=self.saved.states_of_callbacks,
            steps=self._steps_per_epoch, last=self.queue.plan_is_exhausted,
            others=self.epochs.whole(self.borders.number - 1, without=self._process(worker)),
        )  # fmt: skip

    @property
    def _steps_per_epoch(self) -> int:
        return sum(map(self.queue.plan.steps, self.queue.plan.pieces)) if self.queue.plan else 0

    def _go_on_at_border(self) -> None:
        """If a border comes next, evaluate if an evaluation belongs there, and then let callbacks decide."""
        plan, borders = self.queue.plan, self.borders
        if plan is None or self.evaluations or not borders.is_reached(self.queue):
            return
        due = borders.evaluates or (borders.number and self.queue.plan_is_exhausted)
        if due and (borders.evaluates or self.evaluations.schedule.training_over()):
            borders.evaluates = False
            self.evaluations.start(self.queue)
        else:
            path, start, end = plan.pieces[0][0]
            borders.ask(self.queue, [(path, start, min(end, start + plan.minibatch_size))])
        self._everyone_may_be_hungry()

    def _decided(self, decision: pb.Decision, worker: Member) -> None:
        """The callbacks were called at a border."""
        if ended := self.borders.decided(decision, self.step, self.rollbacks):
            self.picture.set_epoch(ended)
        if decision.stop and not self.queue.is_stopped:
            self._note("info", f"training stops: {decision.stop}", worker)
        if decision.over:
            self.queue.stop_training()
        if decision.changed:
            self.evaluations.schedule.model_changed()
        self._everyone_may_be_hungry()
