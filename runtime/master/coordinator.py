"""What the master does about everything that happens: events in, actions out.

A plain object without clock, threads, sockets or files, so that any sequence of joins, deaths and results can be tried
in a test, and so that a master that is started again can be told everything again. `process.py` feeds it what happens
and carries out the actions it collects. `served.py` adds parameter servers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from elasticdl_nb.runtime.data.tasks import cut
from elasticdl_nb.runtime.master.actions import Action, CommitCheckpoint, Kill, Send, Start
from elasticdl_nb.runtime.master.evaluations import Evaluations, steps_between
from elasticdl_nb.runtime.master.membership import Key, Member, Membership
from elasticdl_nb.runtime.master.messages import task_message
from elasticdl_nb.runtime.master.picture import Picture
from elasticdl_nb.runtime.master.stragglers import Stragglers
from elasticdl_nb.runtime.master.taskqueue import MAX_RETRIES, Task, TaskQueue, TrainingPlan
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

LEAVE_LIMIT = 15.0
"""Seconds that processes get to leave by themselves when a job is over."""

SCALE_LIMIT = 60.0
"""Seconds that a worker that is no longer wanted gets to finish the tasks in its hands."""

_KEPT_CHECKPOINTS = 3


class Coordinator:
    """One job's decisions. Every event is a method; the actions it asks for are added to `actions`."""

    def __init__(self, spec: JobSpec, now: float) -> None:
        self.spec = spec
        self.actions: list[Action] = []
        self.phase: pb.JobPhase = pb.STARTING
        self.started_at, self.finished_at = now, 0.0
        self.running_since = 0.0
        self.failure: pb.Failure | None = None
        self.outputs: list[str] = []
        self.picture = Picture()
        self.queue = TaskQueue()
        self.step = 0
        self.rollbacks = 0
        self.tasks_total = self.records_total = self.steps_total = 0
        self.evaluations = Evaluations(spec.evaluation_steps, enabled=bool(spec.validation_data))
        self.checkpoints: list[CommitCheckpoint] = []
        self.data_is_counted = False
        # The model lives in the one worker of a Local training: its death takes the job back to the last checkpoint.
        self.worker_holds_model = spec.kind == "train" and not spec.uses_servers
        self.workers = Membership("worker", 1 if self.worker_holds_model else spec.num_workers)
        self._groups = [self.workers]
        self._stragglers = Stragglers()
        self._finish_added = False
        self._parts = 0
        self._committing: CommitCheckpoint | None = None
        self._ending: tuple[pb.JobPhase, float] | None = None

    # ------------------------------------------------------------ the job begins

    def start(self, now: float) -> None:
        """Ask for the processes."""
        for group in self._groups:
            for member in group:
                self._start(member)
        processes = f"{len(self.workers.live())} worker process(es)"
        if self.spec.uses_servers:
            processes += f" and {self.spec.num_ps} parameter server(s)"
        self._event(now, "info", f"{self.spec.kind} job started with {processes}")

    def data_counted(self, data: Sequence[Any], validation: Sequence[Any], now: float) -> None:
        """The files' numbers of records are known (sequences of FileRecords): cut them into tasks."""
        if self.data_is_counted:
            return
        spec = self.spec
        self.data_is_counted = True
        marks = (spec.evaluation_steps, spec.checkpoint_steps) if spec.kind == "train" else ()
        steps = steps_between(task_steps=spec.num_minibatches_per_task, marks=marks)
        pieces = cut(data, steps * spec.minibatch_size)
        if not pieces:
            self.fail(pb.Failure(message="data: the files hold no records"), now)
            return
        if spec.kind == "train":
            self.queue.plan = TrainingPlan(
                pieces, spec.num_epochs, spec.minibatch_size, spec.max_step, spec.shuffle, spec.seed
            )
            self.tasks_total, self.records_total, self.steps_total = self.queue.plan.totals()
            self.evaluations.pieces = cut(validation, spec.num_minibatches_per_task * spec.minibatch_size)
            self.evaluations.schedule.enabled = bool(self.evaluations.pieces)
        else:
            self.tasks_total = self._parts = len(pieces)
            self.records_total = sum(file.records for file in data)
            if spec.kind == "evaluate":
                self.evaluations.pieces = pieces
                self.evaluations.start(self.queue)
            else:
                for index, spans in enumerate(pieces):
                    self.queue.add("predict", spans, index=index)
        self._advance(now)

    # ------------------------------------------------------------ processes say something

    def member(self, key: Key) -> Member | None:
        """The member whose part this process plays, if it does."""
        role, index, incarnation = key
        return next(
            (m for group in self._groups if group.role == role and (m := group.current(index, incarnation))), None
        )

    def hello(self, hello: pb.Hello, now: float) -> bool:
        """A process says hello, perhaps not for the first time; return whether it belongs to the job."""
        key = (hello.role or "worker", hello.worker, hello.incarnation)
        member = self.member(key)
        if member is None or not self._joined(member, hello, now):
            return False
        if self._ending and (member.role == "worker" or member.leave_by):
            self._dismiss(member, "the job is over")
        elif member.leave_by:
            self._dismiss(member, "the job goes on with fewer workers")
        elif member.role == "worker" and not self._ending:
            held = {(task.id, task.attempt) for task in hello.held}
            for task in self.queue.held(member.index):
                if (task.id, task.attempt) not in held:
                    self._send_task(member, task)
            self._advance(now)
        return True

    def _joined(self, member: Member, hello: pb.Hello, now: float) -> bool:
        if self.workers.joined(member.index, member.incarnation, hello.pid, now) is None:
            return False
        newest = self.checkpoints[-1].path if self.checkpoints and self.worker_holds_model and not hello.again else ""
        welcome = pb.Welcome(restore_from=newest, acknowledged=member.acknowledged)
        self._send(member, pb.MasterMessage(welcome=welcome))
        return True

    def message(self, key: Key, message: pb.WorkerMessage, now: float) -> None:
        """A process says something; ignored if it no longer plays its part, or has said it before."""
        member = self.member(key)
        if member is None:
            return
        member.last_heard = now
        if message.sequence:
            if message.sequence <= member.acknowledged:
                return
            member.acknowledged = message.sequence
        if not self._ending:
            self._said(member, message, now)
            self._advance(now)

    def _said(self, member: Member, message: pb.WorkerMessage, now: float) -> None:
        match message.WhichOneof("body"):
            case "want":
                member.room = message.want.tasks
            case "progress":
                self._progress(member, message.progress, now)
            case "task_done":
                self._task_done(member, message.task_done, now)
            case "task_failed":
                self._task_failed(member, message.task_failed, now)
            case "worker_failed":
                self._member_failed(member, message.worker_failed.failure, now)
            case "checkpoint_ready":
                self._commit(message.checkpoint_ready.path, message.checkpoint_ready.step, self._state(), sealed=True)
            case "stop_training":
                self._event(now, "info", f"training stops: {message.stop_training.reason}", member)
                self.queue.stop_training()
                if not self.evaluations:
                    # Callbacks may have put back the best weights, which are not the ones evaluated last.
                    self.evaluations.schedule.model_changed()
            case "note":
                self._event(now, message.note.level, message.note.text, member)

    def _progress(self, worker: Member, progress: pb.Progress, now: float) -> None:
        worker.activity, worker.records_now = progress.activity, progress.records
        worker.rate.add(now, worker.records)
        if progress.generation == self._generation():  # rather than from before the job went back
            self.step = max(self.step, progress.step)
            self.picture.add_losses(progress.losses)

    def _task_done(self, worker: Member, done: pb.TaskDone, now: float) -> None:
        self._stragglers.done(done.id, worker.index, now)
        task = self.queue.done(done.id, done.attempt, done.records)
        if task is None:
            return
        self.workers.task_done(worker)
        self.step = max(self.step, done.step)
        if task.kind == "evaluate":
            if evaluation := self.evaluations.task_done(task, done, self.queue, now):
                self._evaluated(evaluation, now)
        elif task.kind == "finish":
            self.outputs = list(done.outputs)
            self._end(pb.SUCCEEDED, now)

    def _evaluated(self, evaluation: pb.Evaluation, now: float) -> None:
        self.picture.evaluations.append(evaluation)
        values = ", ".join(f"{name} {value:.4g}" for name, value in sorted(evaluation.metrics.items()))
        where = f" at step {evaluation.step}" if self.spec.kind == "train" else ""
        self._event(now, "info", f"evaluation{where}: {values}")

    def _task_failed(self, worker: Member, failed: pb.TaskFailed, now: float) -> None:
        task = self.queue.failed(failed.id, failed.attempt)
        if task is None:
            return
        if not failed.failure.transient or task.failures > MAX_RETRIES:
            self.fail(failed.failure, now)
            return
        self._event(now, "warning", f"try {task.failures} of a task failed: {failed.failure.message}", worker)
        if failed.steps_applied and self.worker_holds_model:
            self._kill(worker)
            self._replace(worker, "is started again", now, by_signal=True)

    def _member_failed(self, member: Member, failure: pb.Failure, now: float) -> None:
        if failure.transient:
            self._kill(member)
            self._replace(member, failure.message, now, by_signal=False)
        else:
            self.fail(failure, now)

    # ------------------------------------------------------------ checkpoints

    def _state(self) -> dict[str, Any]:
        return {"queue": self.queue.snapshot(), **self.evaluations.snapshot()}

    def _commit(self, path: str, step: int, state: dict[str, Any], *, sealed: bool, number: int = 0) -> None:
        self._committing = CommitCheckpoint(path, step, state, sealed, number)
        self.actions.append(self._committing)

    def checkpoint_committed(self, path: str, final: str, now: float) -> None:
        """The checkpoint that was written at `path` is complete, and has its final name."""
        commit, self._committing = self._committing, None
        if commit is None or commit.path != path:
            return
        self.checkpoints.append(CommitCheckpoint(final, commit.step, commit.state, sealed=True))
        del self.checkpoints[: -(self.spec.keep_checkpoint_max or _KEPT_CHECKPOINTS)]

    def checkpoint_failed(self, path: str, problem: str, now: float) -> None:
        """A checkpoint could not be completed; the one before it still counts."""
        if self._committing and self._committing.path == path:
            self._committing = None
        self._event(now, "warning", f"a checkpoint could not be written: {problem}")

    def _roll_back(self) -> str:
        last = self.checkpoints[-1] if self.checkpoints else None
        saved = last.state if last else {}
        self.rollbacks += 1
        self.step = last.step if last else 0
        self.queue.restore(saved.get("queue"))
        self.evaluations.restore(saved, self.queue)
        self._stragglers.clear()
        self._finish_added = False
        self.picture.roll_back(self.step if last else -1)
        return f"the checkpoint of step {self.step}" if last else "the beginning (no checkpoint yet)"

    # ------------------------------------------------------------ processes die

    def exited(self, key: Key, code: int, log_tail: str, now: float) -> None:
        """A process has ended; a negative code is the signal that ended it."""
        member = self.member(key)
        if member is None:
            return
        group = self._group(member)
        if self._ending:
            # The exit code of a process that an earlier master has started cannot be known.
            group.ended(member, "finished" if self._ending[0] == pb.SUCCEEDED else "stopped")
        elif member.leave_by:
            group.ended(member, "stopped")
            self._worker_gone(member)
        else:
            cause = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._replace(member, cause, now, by_signal=code < 0, log_tail=log_tail)
        self._advance(now)

    def _group(self, member: Member) -> Membership:
        return self._groups[member.role == "ps"]

    def _replace(self, member: Member, cause: str, now: float, *, by_signal: bool, log_tail: str = "") -> None:
        if not self._group(member).died(member, by_signal=by_signal):
            message = f"{member.name} {cause}, and so did the processes before it without finishing a task; giving up"
            self.fail(pb.Failure(message=message, traceback=log_tail), now)
            return
        back = self._after_death(member)
        self._event(now, "warning", f"{member.name} {cause}; a new process is started{back}")
        self._start(member)

    def _after_death(self, member: Member) -> str:
        self._worker_gone(member)
        return f"; training goes on from {self._roll_back()}" if self.worker_holds_model else ""

    def _worker_gone(self, worker: Member) -> None:
        self.queue.lost(worker.index)
        self._stragglers.gone(worker.index)

    def tick(self, now: float) -> bool:
        """Time passes: look for what hangs, what is late, and what does not leave; return whether anything changed."""
        if self._ending:
            late = self._live() if now > self._ending[1] else []
            for member in late:
                self._kill(member)
            return bool(late)
        hung = [member for group in self._groups for member in group.hung(now)]
        for member in hung:
            self._kill(member)
            self._replace(member, "has been silent for too long", now, by_signal=True)
        lingering = [worker for worker in self.workers if worker.leave_by and now > worker.leave_by]
        for worker in lingering:
            self._kill(worker)
        shared = self._share_late_tasks(now)
        if hung or shared:
            self._advance(now)
        return bool(hung or lingering or shared)

    def _share_late_tasks(self, now: float) -> bool:
        if sum(worker.state == "running" and not worker.leave_by for worker in self.workers) < 2:
            return False
        in_use = [(held[0], worker.index) for worker in self.workers if (held := self.queue.held(worker.index))]
        return self._stragglers.look([(task, worker) for task, worker in in_use if not self.queue.shared(task.id)], now)

    # ------------------------------------------------------------ a master is started again

    def recovered(self, living: Collection[Key], now: float) -> None:
        """The master was started again, and these processes live; what they did meanwhile, they will say."""
        self._event(now, "warning", "the master was started again")
        wanted = {member.key for member in self._live()}
        self.actions += [Kill(key) for key in living if key not in wanted]
        if self._committing:
            self.actions.append(self._committing)
        for member in self._live():
            member.last_heard = now
            if member.key not in living:
                self.exited(member.key, -9, "", now)
            elif self._ending and self._ending[0] != pb.SUCCEEDED:
                self._kill(member)
        self._advance(now)

    # ------------------------------------------------------------ more or fewer workers

    def scale(self, workers: int, now: float) -> str:
        """Go on with this many workers; return why that cannot be, or an empty string."""
        if self.worker_holds_model:
            return "a Local training has one worker; ParameterServerStrategy takes any number"
        if workers < 1:
            return f"{workers} workers cannot do the job; one at least is needed"
        if self._ending:
            return "the job is over"
        wanted = [worker for worker in self.workers if worker.is_wanted]
        self._event(now, "info", f"the job goes on with {workers} worker(s) instead of {len(wanted)}")
        for worker in wanted[workers:]:
            if worker.state == "starting":
                self._kill(worker)
            else:
                self._dismiss(worker, "the job goes on with fewer workers")
            worker.leave_by = now + SCALE_LIMIT
        for _ in range(workers - len(wanted)):
            self._start(self.workers.add())
        return ""

    # ------------------------------------------------------------ the job goes on, and ends

    def _advance(self, now: float) -> None:
        if self._ending:
            if not self.workers.live():
                self._after_workers()
            if not self._live():
                self.phase, self.finished_at = self._ending[0], now
            return
        if self.data_is_counted and self.queue.idle and not self.evaluations:
            self._next_stage(now)
        self._hand_out_tasks(now)

    def _may_work(self) -> bool:
        """Whether tasks may be handed out now."""
        return True

    def _hand_out_tasks(self, now: float) -> None:
        """Give every worker with room a task, then another, so that all get their share."""
        hungry = [worker for worker in self.workers.running() if not worker.leave_by and self._room(worker)]
        while hungry and not self._ending and self._may_work():
            for worker in list(hungry):
                # The one model of a Local training is evaluated as it is, before it is trained further.
                held_up = self.worker_holds_model and bool(self.evaluations)
                task = self._stragglers.share(self.queue, worker.index) or self.queue.next(
                    worker.index, new_training=not held_up
                )
                if task is None:
                    hungry.remove(worker)
                    continue
                self._hand_out(worker, task, now)
                if not self._room(worker):
                    hungry.remove(worker)

    def _room(self, worker: Member) -> bool:
        return worker.room > len(self.queue.held(worker.index))

    def _hand_out(self, worker: Member, task: Task, now: float) -> None:
        if self.phase == pb.STARTING:
            self.phase, self.running_since = pb.RUNNING, now
        if task.kind == "finish":
            self.phase = pb.FINISHING
        shared = self.queue.shared(task.id)
        self._stragglers.handed_out(task, worker.index, now)
        self._send_task(worker, task)
        if shared:
            self._event(now, "info", f"a task that takes long elsewhere was given to {worker.name} too")
        elif task.kind == "train" and task.attempt == 1 and self.queue.plan is not None:
            steps = self.queue.plan.steps(task.spans)
            if self.evaluations.schedule.task_handed_out(steps, task.ends_epoch):
                self.evaluations.start(self.queue)

    def _send_task(self, worker: Member, task: Task) -> None:
        states = self.evaluations.states(task)
        message = task_message(task, states=states, parts=self._parts, generation=self._generation())
        self._send(worker, pb.MasterMessage(task=message))

    def _generation(self) -> int:
        return 0

    def _next_stage(self, now: float) -> None:
        if self.spec.kind == "train" and self.evaluations.schedule.training_over():
            self.evaluations.start(self.queue)
        elif self.spec.kind == "evaluate":
            self._end(pb.SUCCEEDED, now)
        elif not self._finish_added:
            self._finish_added = True
            self.queue.add("finish")

    def cancel(self, reason: str, now: float) -> None:
        """Somebody wants the job to end."""
        if not self._ending:
            self._event(now, "warning", f"cancelled: {reason}")
            self._end(pb.CANCELLED, now)

    def fail(self, failure: pb.Failure, now: float) -> None:
        """The job cannot go on."""
        if not self._ending:
            self.failure = failure
            self._event(now, "error", failure.message)
            self._end(pb.FAILED, now)

    def _end(self, phase: pb.JobPhase, now: float) -> None:
        self._ending = (phase, now + (LEAVE_LIMIT if phase == pb.SUCCEEDED else 0.0))
        for member in self._live():
            if phase != pb.SUCCEEDED or member.state == "starting":
                # One that has not joined has nothing to lose, and would only be waited for.
                self._kill(member)
            elif member.role == "worker":
                self._dismiss(member, "the job is over")
        self._advance(now)

    def _after_workers(self) -> None:
        """The job is over, and all workers are gone."""

    @property
    def is_over(self) -> bool:
        """Whether the job has ended and its processes are gone."""
        return self.finished_at > 0

    # ------------------------------------------------------------ small things

    def members(self) -> list[Member]:
        """Every worker and server, live or not."""
        return [member for group in self._groups for member in group]

    def _live(self) -> list[Member]:
        return [member for member in self.members() if member.is_live]

    def _start(self, member: Member) -> None:
        self.actions.append(Start(member.key))

    def _kill(self, member: Member) -> None:
        self.actions.append(Kill(member.key))

    def _send(self, member: Member, message: pb.MasterMessage) -> None:
        self.actions.append(Send(member.key, message))

    def _dismiss(self, member: Member, reason: str) -> None:
        self._send(member, pb.MasterMessage(leave=pb.Leave(reason=reason)))

    def _event(self, now: float, level: str, text: str, member: Member | None = None) -> None:
        self.picture.add_event(now, level, member.name if member else "master", text)
