"""What the master does about everything that happens: events go in, actions come out.

A plain object without clock, threads, sockets or files, so that a test can try any sequence of joins, deaths and
results, and a restarted master can replay the events. `runtime.master` feeds it events and carries out the actions it
collects. `server_coordinator` and `ring_coordinator` are two kinds of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, assert_never

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.tasks import cut
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.borders import Borders
from elasticdl_nb.runtime.master.decisions.membership import Key, Member
from elasticdl_nb.runtime.master.decisions.messages import skips, task_message
from elasticdl_nb.runtime.master.decisions.planning import PlanningCrew
from elasticdl_nb.runtime.master.decisions.story import IllegalTransitionError, Story
from elasticdl_nb.runtime.master.decisions.stragglers import Stragglers
from elasticdl_nb.runtime.master.decisions.suspects import described
from elasticdl_nb.runtime.master.decisions.task import Task
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

SCALE_LIMIT = 60.0
"""Seconds that a worker that is no longer wanted has to finish its tasks."""


class Coordinator(PlanningCrew):
    """One job's decisions: `handle` takes events and adds what must be done to `actions`."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self._story = Story()
        self.running_since = 0.0
        self.outputs: list[str] = []
        self.data_is_counted = False
        self._stragglers = Stragglers()
        self._finish_added = False
        self._parts = self._oldest_epoch = 0
        # Workers that may take another task: checking all of them at every message of one would take too long.
        self._hungry: dict[int, Member] = {}

    # ------------------------------------------------------------ something happens

    def handle(self, event: events.Event, now: float, date: float) -> bool:
        """Take an event; return whether it can have changed anything, which passing time seldom does.

        `now` is the time of the job's clock, which only moves forward, and `date` the time of day (seconds since the
        Unix epoch). Any exception, such as IllegalTransitionError for an event that cannot have happened, carries the
        job's last events as a note.
        """
        self.now, self.date = now, date
        self._story.add(event, now)
        try:
            return self._take(event, now)
        except Exception as error:
            error.add_note(str(self._story))
            raise

    def _take(self, event: events.Event, now: float) -> bool:
        match event:
            case events.Said(key, message):
                self._hear(key, message, now)
            case events.Ticked():
                return self._tick(now)
            case events.Greeted():
                self._greet(event, now)
            case events.Started(initial, problem):
                self.saved.initial = list(initial) or self.saved.initial
                self._begin(problem, now)
            case events.Recovered(living):
                self._recover(living, now)
            case events.DataCounted(data, validation):
                self._cut(data, validation, now)
            case events.DataGrew(data, last):
                self._grow(data, last, now)
            case events.StopAsked(reason):
                self._stop(reason)
            case events.Exited(key, code, log_tail):
                self._exited(key, code, log_tail, now)
            case events.Lost(key, reason, counts, log_tail):
                self._gone(key, reason, now, own=counts, counts=counts, log_tail=log_tail)
            case events.Stuck(key, reason):
                self._stuck(key, reason)
            case events.Runs(key):
                self._runs(key, now)
            case events.Scaled(workers):
                self._scale(workers, now)
            case events.Cancelled(reason):
                self._cancel(reason, now)
            case events.Failed(failure):
                self._fail(failure, now)
            case events.CheckpointBegun(number, path):
                self._checkpoint_begun(number, path)
            case events.CheckpointCommitted(path, final, kept):
                self._checkpoint_committed(path, final, kept, now)
            case events.CheckpointFailed(path, problem):
                self._checkpoint_failed(path, problem, now)
            case events.Noted(level, text):
                self._note(level, text)
            case _:
                assert_never(event)
        return True

    # ------------------------------------------------------------ the job begins

    def _cut(self, data: Sequence[FileRecords], validation: Sequence[FileRecords], now: float) -> None:
        """The number of records in each file is known: cut them into tasks."""
        if self.data_is_counted:
            return
        spec = self.spec
        self.data_is_counted = True
        pieces = self._pieces(data)
        if spec.follow:
            self._note_reached(data)
        if not pieces and not spec.follow:
            self._fail(pb.Failure(message="data: the files hold no records"), now)
            return
        if spec.kind == "train":
            self._plan(pieces)
            self.evaluations.pieces = cut(validation, spec.num_minibatches_per_task * spec.minibatch_size)
            self.evaluations.schedule.enabled = bool(self.evaluations.pieces)
        else:
            self.tasks_total = self._parts = len(pieces)
            self.records_total = sum(file.records for file in data)
            if spec.kind == "evaluate":
                self.tasks_total += 1  # the one that combines the others' results
                self.evaluations.pieces = pieces
                self.evaluations.start(self.queue)
            else:
                for index, spans in enumerate(pieces):
                    self.queue.add("predict", spans, index=index)
        self._advance(now)

    @property
    def waits_for(self) -> str:
        """What the job is waiting for, to be shown to users; empty if it can continue."""
        return self._what_comes if self.queue.waits_for_data else ""

    # ------------------------------------------------------------ processes say something

    def _welcome(self, member: Member, hello: pb.Hello, now: float) -> bool:
        if self.workers.joined(member.index, member.incarnation, hello.pid, now) is None:
            return False
        newest = self.saved.path if self.worker_holds_model and not hello.again else ""
        welcome = pb.Welcome(restore_from=newest, acknowledged=member.acknowledged, initial=self.saved.beginning)
        self._send(member, pb.MasterMessage(welcome=welcome))
        if self.step > 0 and not hello.again and not self._ending:
            self._note("info", "joins the training", member, mark="joined")
        return True

    def _send_missing(self, worker: Member, held: Collection[tuple[int, int]]) -> None:
        for task in self.queue.held(worker.index):
            if (task.id, task.attempt) not in held:
                self._send_task(worker, task)

    def _said(self, member: Member, message: pb.WorkerMessage, now: float) -> None:
        self._hungry[member.index] = member
        match message.WhichOneof("body"):
            case "want":
                member.room = message.want.tasks
                self.borders.exist |= message.want.callbacks
                self._check_borders(now)
            case "progress":
                self._progress(member, message.progress, now)
            case "task_done":
                self._task_done(member, message.task_done, now)
            case "task_failed":
                self._task_failed(member, message.task_failed, now)
            case "worker_failed":
                self._member_failed(member, message.worker_failed.failure, now)
            case "data_counted":
                counted = message.data_counted
                self._cut(_files(counted.data), _files(counted.validation), now)
            case "checkpoint_ready":
                ready = message.checkpoint_ready
                self._commit(ready.path, ready.step, self._state(skips(ready.places)), sealed=True)
            case "checkpoint_failed":
                self._worker_cannot_write(member, message.checkpoint_failed.problem, now)
            case "stop_training" if self.spec.follow:
                self._fail_instead_of_stopping(message.stop_training.reason, now)
            case "stop_training" if not self.queue.is_stopped:
                self._note("info", f"training stops: {message.stop_training.reason}", member)
                self.queue.stop_training()
                if not self.evaluations:
                    # Callbacks may have restored the best weights, which are not the ones evaluated last.
                    self.evaluations.schedule.model_changed()
            case "note":
                self._note(message.note.level, message.note.text, member)

    def _progress(self, worker: Member, progress: pb.Progress, now: float) -> None:
        worker.activity, worker.records_now = progress.activity, progress.records
        worker.holds(progress)
        worker.rate.add(now, worker.records)
        if progress.generation == self._generation():  # rather than from before the job went back
            self.step = max(self.step, progress.step)
            self._check_losses(progress.losses, worker, now)
            self.picture.add_losses(progress.losses)

    def _check_losses(self, losses: Iterable[pb.LossPoint], worker: Member, now: float) -> None:
        bad = next((point for point in losses if not math.isfinite(point.loss)), None)
        if bad is None:
            return
        message = (
            f"the loss is {bad.loss} at step {bad.step}: a smaller learning rate, clipped gradients or cleaner data "
            "are the usual cures"
        )
        if self.spec.on_nan == "stop":
            self._fail(pb.Failure(message=f"{message}; on_nan=warn goes on all the same"), now)
        elif all(math.isfinite(point.loss) for point in self.picture.losses):
            self._note("warning", message, worker)

    def _task_done(self, worker: Member, done: pb.TaskDone, now: float) -> None:
        self._stragglers.done(done.id, worker.index, now)
        if self.queue.shared(done.id):  # then others have room too
            self._everyone_may_be_hungry()
        task = self.queue.done(done.id, done.attempt, done.records)
        if task is None:
            return
        self.workers.task_done(worker)
        self._account(task, done)
        self.step = max(self.step, done.step)
        if task.kind == "train":
            self._heard_of_epoch(worker, done.so_far)
            if self.windows:
                self.windows.trained(done, self.queue)
        elif task.kind == "window":
            self.picture.add_window(window := self.windows.valued(task, done, self.date))
            for level, text in self.windows.alarms.watch(window):
                self._note(level, text)
        elif task.kind == "callbacks":
            self._decided(done.decision, worker)
        elif task.kind == "evaluate":
            if evaluation := self.evaluations.task_done(task, done, self.queue, self.date):
                self._evaluated(evaluation)
        elif task.kind == "finish":
            self.outputs = list(done.outputs)
            self._end(pb.SUCCEEDED, now)

    def _evaluated(self, evaluation: pb.Evaluation) -> None:
        self.picture.add_evaluation(evaluation)
        self.borders.evaluation = dict(evaluation.metrics)
        values = ", ".join(f"{name} {value:.4g}" for name, value in sorted(evaluation.metrics.items()))
        where = f" at step {evaluation.step}" if self.spec.kind == "train" else ""
        self._note("info", f"evaluation{where}: {values}")

    def _task_failed(self, worker: Member, failed: pb.TaskFailed, now: float) -> None:
        if failed.failure.checkpoint:
            self._cannot_restore(worker, failed.failure, now)
            return
        task = self.queue.failed(failed.id, failed.attempt, failed.records)
        if task is None:
            return
        what = f"{described(task.spans)}: {failed.failure.message}" if task.spans else failed.failure.message
        if not failed.failure.transient or task.failures > self.spec.max_task_retries:
            if not self._goes_on_without(task, what):
                self._note("warning", f"a task failed: {what}", worker)
                self._fail(failed.failure, now)
                return
        else:
            self._note("warning", f"try {task.failures} of a task failed: {what}", worker)
        if failed.steps_applied and self.worker_holds_model:
            self._kill(worker)
            self._replace(worker, "is restarted", now, own=False)

    # ------------------------------------------------------------ checkpoints

    def _state(self, skips: Mapping[int, int] | None = None) -> dict[str, Any]:
        return {
            "queue": self.queue.snapshot(skips), "epochs": self.epochs.snapshot(), "rollbacks": self.rollbacks,
            **self.evaluations.snapshot(),
            **({"borders": self.borders.snapshot()} if self.borders.exist else {}),
            **({"windows": self.windows.snapshot()} if self.windows else {}),
            **({"followed": self._followed()} if self.spec.follow else {}),
        }  # fmt: skip

    def _roll_back(self) -> str:
        last = self.saved.newest
        saved = last.state if last else {}
        self.saved.void_all()
        self.rollbacks += 1
        self.step = last.step if last else 0
        self.queue.restore(saved.get("queue"))
        self._oldest_epoch = self.queue.oldest_epoch
        self._everyone_may_be_hungry()
        self.evaluations.restore(saved, self.queue)
        self.borders.restore(saved.get("borders"))
        self.epochs.restore(saved.get("epochs"))
        self._stragglers.clear()
        self._finish_added = False
        windows = self.windows.restore(saved.get("windows"), self.queue) if self.windows else 0
        self.picture.roll_back(self.step if last else -1, windows)
        return f"the checkpoint of step {self.step}" if last else "the beginning (there is no checkpoint)"

    # ------------------------------------------------------------ processes die

    def _after_death(self, member: Member) -> str:
        self._worker_gone(member)
        return f"; training continues from {self._roll_back()}" if self.worker_holds_model else ""

    def _worker_gone(self, worker: Member) -> None:
        self.queue.lost(worker.index)
        self._stragglers.gone(worker.index)
        self.borders.gone(worker.index)

    def _tick(self, now: float) -> bool:
        """See `Crew`; also look for tasks that take too long."""
        changed = super()._tick(now)
        # Not at every task, because the queue is long. An older epoch than the oldest does no harm.
        self._oldest_epoch = self.queue.oldest_epoch
        if self._ending or not self._share_late_tasks(now):
            return changed
        self._advance(now)
        return True

    def _share_late_tasks(self, now: float) -> bool:
        if sum(worker.state == "running" and not worker.leave_by for worker in self.workers) < 2:
            return False
        in_use = [(held[0], worker.index) for worker in self.workers if (held := self.queue.held(worker.index))]
        return self._stragglers.look([(task, worker) for task, worker in in_use if self._may_share(task)], now)

    def _may_share(self, task: Task) -> bool:
        once = self.borders.exist and (task.kind == "callbacks" or task.summarize)
        once = once or (bool(self.windows) and task.kind == "train")  # one would test what the other has learnt
        return not once and not self.queue.shared(task.id) and not self.queue.suspects.crashes(task)

    def _recover(self, living: Collection[Key], now: float) -> None:
        """See `Crew`."""
        self.actions += self.saved.on_the_way
        super()._recover(living, now)

    # ------------------------------------------------------------ more or fewer workers

    def scaling_problem(self, workers: int) -> str:
        """Why the job cannot continue with this many workers, to be shown to users; empty if it can."""
        if self.worker_holds_model:
            return "a Local training has one worker; the other strategies take any number"
        if workers < 1:
            return f"{workers} workers cannot do the job; expected at least 1"
        return "the job is over" if self._ending else ""

    def _scale(self, workers: int, now: float) -> None:
        if problem := self.scaling_problem(workers):
            raise IllegalTransitionError(problem)
        wanted = [worker for worker in self.workers if worker.is_wanted]
        mark = "left" if workers < len(wanted) else ""
        self._note("info", f"the job continues with {workers} worker(s) instead of {len(wanted)}", mark=mark)
        for worker in wanted[workers:]:
            if worker.state == "starting":
                self._kill(worker)
            else:
                self._let_go(worker)
            worker.leave_by = now + SCALE_LIMIT
        for _ in range(workers - len(wanted)):
            self._start(self.workers.add())

    def _let_go(self, worker: Member) -> None:
        self.borders.gone(worker.index)
        self._dismiss(worker, "the job continues with fewer workers")

    # ------------------------------------------------------------ the job continues, and ends

    def _go_on(self, now: float) -> None:
        if self._has_forgotten(now):
            return
        self._go_on_at_border()
        was_idle = self.queue.idle
        if self.data_is_counted and was_idle and not self.evaluations:
            self._next_stage(now)
        self._hand_out_tasks(now)
        if self.queue.idle and not was_idle and not self._ending:  # only tasks that had been set aside were left
            self._go_on(now)

    def _may_work(self) -> bool:
        """Whether tasks may be handed out now."""
        return True

    def _hand_out_tasks(self, now: float) -> None:
        """Give every worker with room one task, then another, so that all get their share."""
        handed_out = True
        while handed_out and not self._ending and self._may_work():
            handed_out = False
            for worker in list(self._hungry.values()):
                if worker.state != "running" or worker.leave_by or worker.room <= self.queue.count_held(worker.index):
                    del self._hungry[worker.index]
                elif self.queue.suspects and self._must_be_alone(worker, self.queue.upcoming()):
                    continue
                elif task := self._next_task(worker):
                    self._hand_out(worker, task, now)
                    handed_out = True
                elif not (self._stragglers.to_share or self.borders.exist):  # nor is there one for any other worker
                    return

    def _next_task(self, worker: Member) -> Task | None:
        # The one model of a Local training is evaluated as it is now, before it is trained further.
        held_up = self.borders.holds_back(self.queue) or (self.worker_holds_model and bool(self.evaluations))
        shared = self._stragglers.share(self.queue, worker.index)
        return shared or self.queue.next(
            worker.index, new_training=not held_up, accept=lambda task: self.borders.takes(task, worker.index)
        )

    def _everyone_may_be_hungry(self) -> None:
        self._hungry = {worker.index: worker for worker in self.workers}

    def _hand_out(self, worker: Member, task: Task, now: float) -> None:
        if self.phase == pb.STARTING:
            self.phase, self.running_since = pb.RUNNING, now
        if task.kind == "finish":
            self.phase = pb.FINISHING
        shared = self.queue.shared(task.id)
        self._stragglers.handed_out(task, worker.index, now)
        self._send_task(worker, task)
        if shared:
            self._note("info", f"a task that another worker is slow with was also given to {worker.name}")
        else:
            self._evaluate_if_due(task)

    def _send_task(self, worker: Member, task: Task) -> None:
        states = self.evaluations.states(task) or self.windows.states(task)
        message = task_message(
            task, states=states, parts=self._parts, generation=self._generation(), oldest_epoch=self._oldest_epoch,
            border=self._border(task, worker), step=self.windows.step(task),
            queue=self.queue,
        )  # fmt: skip
        self._send(worker, pb.MasterMessage(task=message))

    def _generation(self) -> int:
        return 0

    def _next_stage(self, now: float) -> None:
        suspects = self.queue.suspects
        if suspects.aside and not self.queue.tasks_done["train"]:
            self._fail(pb.Failure(message=f"all tasks failed: {next(iter(suspects.aside.values())).reason}"), now)
        elif self.windows.close(self.queue):
            return  # its values come first
        elif self.spec.kind == "train" and self.evaluations.schedule.training_over():
            self.evaluations.start(self.queue)
        elif self.spec.kind == "evaluate":
            self._end(pb.SUCCEEDED, now)
        elif not self._finish_added and not self._waits_for_last_checkpoint(now):
            self._finish_added = True
            self.queue.add("finish")

    def _waits_for_last_checkpoint(self, now: float) -> bool:
        """Whether all training is done, but not yet in a checkpoint that must be made before the job can finish."""
        return False

    # ------------------------------------------------------------ the journal

    def to_message(self) -> journal.State:
        """Return everything that does not follow from the job's options, in the journal's form.

        The actions are left out: they have been carried out, or else later events will show that they were not.
        """
        state = journal.State(
            now=self.now,
            running_since=self.running_since,
            outputs=self.outputs,
            step=self.step,
            rollbacks=self.rollbacks,
            evaluations=self.evaluations.to_message(),
            data_is_counted=self.data_is_counted,
            stragglers=self._stragglers.to_message(),
            oldest_epoch=self._oldest_epoch,
            finish_added=self._finish_added,
            parts=self._parts,
            hungry=self._hungry,
            borders=self.borders.to_message(),
            windows=self.windows.to_message() if self.windows else None,
        )
        self.save_plan(state)
        self.epochs.save(state)
        self._save(state)
        return state

    def load(self, state: journal.State) -> None:
        """Restore a state that `to_message` of another coordinator of this job has returned."""
        super().load(state)
        self.now, self.running_since, self.outputs = state.now, state.running_since, list(state.outputs)
        self.step, self.rollbacks = state.step, state.rollbacks
        self.load_plan(state)
        self.evaluations.load(state.evaluations)
        if self.windows:
            self.windows.load(state.windows)
        self.data_is_counted, self._finish_added = state.data_is_counted, state.finish_added
        self._stragglers = Stragglers.from_message(state.stragglers)
        self._oldest_epoch = state.oldest_epoch
        self._parts = state.parts
        self.epochs.load(state)
        self.borders = Borders.from_message(state.borders) if state.HasField("borders") else Borders()
        self._hungry = {index: self.workers.members[index] for index in state.hungry}


def _files(shards: Iterable[pb.Shard]) -> list[FileRecords]:
    return [FileRecords(shard.path, shard.records, shard.start) for shard in shards]
