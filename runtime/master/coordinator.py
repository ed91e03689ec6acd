"""What the master does about everything that happens: events in, actions out.

A plain object without clock, threads, sockets or files, so that any sequence of joins, deaths and results can be tried
in a test. `process.py` feeds it what happens and carries out the actions it collects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.data.tasks import cut
from elasticdl_nb.runtime.master.evaluations import EvaluationRound, EvaluationSchedule, steps_between
from elasticdl_nb.runtime.master.membership import Membership, Worker
from elasticdl_nb.runtime.master.messages import task_message
from elasticdl_nb.runtime.master.picture import Picture
from elasticdl_nb.runtime.master.taskqueue import MAX_RETRIES, Span, Task, TaskQueue, TrainingPlan
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states
from elasticdl_nb.runtime.spec import JobSpec

LEAVE_LIMIT = 15.0
"""Seconds that workers get to leave by themselves when a job is over."""


@dataclass(frozen=True)
class StartWorker:
    """Start a process that plays this worker's part."""

    index: int
    incarnation: str


@dataclass(frozen=True)
class KillWorker:
    """End the process that plays this worker's part, at once."""

    index: int
    incarnation: str


@dataclass(frozen=True)
class Send:
    """Send a message to a worker."""

    index: int
    incarnation: str
    message: pb.MasterMessage


@dataclass(frozen=True)
class CommitCheckpoint:
    """Add the queue's state to a checkpoint that a worker has written, and make it the latest."""

    path: str
    step: int
    queue: dict[str, Any]


Action = StartWorker | KillWorker | Send | CommitCheckpoint


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
        self.tasks_total = self.records_total = self.steps_total = 0
        self.metrics: dict[str, float] = {}
        # The model lives in the one worker of a Local training: its death takes the job back to the last checkpoint.
        self._worker_holds_model = spec.kind == "train"
        self.members = Membership(1 if self._worker_holds_model else spec.num_workers)
        self._hungry: dict[int, Worker] = {}
        self._counted = False
        self._schedule = EvaluationSchedule(spec.evaluation_steps, enabled=bool(spec.validation_data))
        self._evaluation_pieces: Sequence[Sequence[Span]] = ()
        self._rounds: dict[int, EvaluationRound] = {}
        self._rounds_started = 0
        self._finish_added = False
        self._parts = 0
        self._checkpoint: CommitCheckpoint | None = None
        self._checkpoint_before: CommitCheckpoint | None = None
        self._ending: tuple[pb.JobPhase, float] | None = None

    # ------------------------------------------------------------ the job begins

    def start(self, now: float) -> None:
        """Ask for the workers."""
        for worker in self.members.workers.values():
            self._start(worker)
        self._event(now, "info", f"{self.spec.kind} job started with {len(self.members.workers)} worker process(es)")

    def data_counted(self, data: Sequence[Any], validation: Sequence[Any], now: float) -> None:
        """The files' numbers of records are known (sequences of FileRecords): cut them into tasks."""
        if self._counted:
            return
        spec = self.spec
        self._counted = True
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
            self._evaluation_pieces = cut(validation, spec.num_minibatches_per_task * spec.minibatch_size)
            self._schedule.enabled = bool(self._evaluation_pieces)
        else:
            self.tasks_total = self._parts = len(pieces)
            self.records_total = sum(file.records for file in data)
            if spec.kind == "evaluate":
                self._evaluation_pieces = pieces
                self._start_evaluation()
            else:
                for index, spans in enumerate(pieces):
                    self.queue.add("predict", spans, index=index)
        self._advance(now)

    # ------------------------------------------------------------ workers say something

    def worker_joined(self, index: int, incarnation: str, pid: int, now: float) -> bool:
        """A worker's process says hello; return whether it belongs to the job."""
        worker = self.members.joined(index, incarnation, pid, now)
        if worker is None:
            return False
        if self._ending:
            self._send(worker, pb.MasterMessage(leave=pb.Leave(reason="the job is over")))
            return True
        restore = self._checkpoint.path if self._checkpoint and self._worker_holds_model else ""
        self._send(worker, pb.MasterMessage(welcome=pb.Welcome(restore_from=restore)))
        return True

    def message(self, index: int, incarnation: str, message: pb.WorkerMessage, now: float) -> None:
        """A worker's process says something; ignored if it no longer plays the worker's part."""
        worker = self.members.current(index, incarnation)
        if worker is None or self._ending:
            return
        self.members.heard(worker, now)
        match message.WhichOneof("body"):
            case "want":
                self._has_room(worker, message.want.tasks)
            case "progress":
                self._progress(worker, message.progress, now)
            case "task_done":
                self._task_done(worker, message.task_done, now)
            case "task_failed":
                self._task_failed(worker, message.task_failed, now)
            case "worker_failed":
                self._worker_failed(worker, message.worker_failed.failure, now)
            case "data_counted":
                self.data_counted(message.data_counted.data, message.data_counted.validation, now)
            case "checkpoint_ready":
                self._checkpoint_ready(message.checkpoint_ready)
            case "stop_training":
                self._event(now, "info", f"training stops: {message.stop_training.reason}", worker)
                self.queue.stop_training()
                if not self._rounds:
                    # Callbacks may have put back the best weights, which are not the ones evaluated last.
                    self._schedule.model_changed()
            case "note":
                self._event(now, message.note.level, message.note.text, worker)
        self._advance(now)

    def _progress(self, worker: Worker, progress: pb.Progress, now: float) -> None:
        worker.activity, worker.records_now = progress.activity, progress.records
        worker.rate.add(now, worker.records)
        self.step = max(self.step, progress.step)
        self.picture.add_losses(progress.losses)

    def _has_room(self, worker: Worker, tasks: int) -> None:
        worker.capacity += tasks
        self._hungry[worker.index] = worker

    def _task_done(self, worker: Worker, done: pb.TaskDone, now: float) -> None:
        self._has_room(worker, 1)
        task = self.queue.done(done.id, done.attempt, done.records)
        if task is None:
            return
        self.members.task_done(worker)
        self.step = max(self.step, done.step)
        match task.kind:
            case "evaluate" if task.summarize:
                self._evaluated(task, done, now)
            case "evaluate":
                evaluation = self._rounds[task.evaluation]
                if evaluation.task_done(read_states(done.states), done.records, done.step):
                    self.queue.add("evaluate", evaluation=task.evaluation, summarize=True)
            case "finish":
                self.outputs = list(done.outputs)
                self._end(pb.SUCCEEDED, now)

    def _evaluated(self, task: Task, done: pb.TaskDone, now: float) -> None:
        evaluation = self._rounds.pop(task.evaluation)
        self.metrics = dict(done.metrics)
        self.picture.evaluations.append(
            pb.Evaluation(step=evaluation.step, time=now, metrics=done.metrics, records=evaluation.records)
        )
        values = ", ".join(f"{name} {value:.4g}" for name, value in sorted(self.metrics.items()))
        where = f" at step {evaluation.step}" if self.spec.kind == "train" else ""
        self._event(now, "info", f"evaluation{where}: {values}")

    def _task_failed(self, worker: Worker, failed: pb.TaskFailed, now: float) -> None:
        self._has_room(worker, 1)
        task = self.queue.failed(failed.id, failed.attempt)
        if task is None:
            return
        if not failed.failure.transient or task.failures > MAX_RETRIES:
            self.fail(failed.failure, now)
            return
        self._event(now, "warning", f"try {task.failures} of a task failed: {failed.failure.message}", worker)
        if failed.steps_applied and self._worker_holds_model:
            self._kill(worker)
            self._replace(worker, "is started again", now, by_signal=True)

    def _worker_failed(self, worker: Worker, failure: pb.Failure, now: float) -> None:
        if failure.transient:
            self._kill(worker)
            self._replace(worker, failure.message, now, by_signal=False)
        else:
            self.fail(failure, now)

    def _checkpoint_ready(self, ready: pb.CheckpointReady) -> None:
        state = {
            "queue": self.queue.snapshot(),
            "schedule": self._schedule.snapshot(),
            "evaluating": bool(self._rounds),
        }
        self._checkpoint_before = self._checkpoint
        self._checkpoint = CommitCheckpoint(ready.path, ready.step, state)
        self.actions.append(self._checkpoint)

    def checkpoint_committed(self, path: str) -> None:
        """The last checkpoint is complete and has its final name."""
        if self._checkpoint:
            self._checkpoint = CommitCheckpoint(path, self._checkpoint.step, self._checkpoint.queue)

    def checkpoint_failed(self, problem: str, now: float) -> None:
        """The last checkpoint could not be completed; the one before it still counts."""
        self._checkpoint = self._checkpoint_before
        self._event(now, "warning", problem)

    # ------------------------------------------------------------ workers die

    def worker_exited(self, index: int, incarnation: str, code: int, now: float, log_tail: str = "") -> None:
        """A worker's process has ended; a negative code is the signal that ended it."""
        worker = self.members.current(index, incarnation)
        if worker is None:
            return
        if self._ending:
            worker.state, worker.activity = ("finished" if code == 0 else "stopped"), ""
            self._advance(now)
            return
        cause = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._replace(worker, cause, now, by_signal=code < 0, log_tail=log_tail)
        self._advance(now)

    def _replace(self, worker: Worker, cause: str, now: float, *, by_signal: bool, log_tail: str = "") -> None:
        name = f"worker-{worker.index}"
        may_restart = self.members.died(worker, by_signal=by_signal)
        if not may_restart:
            message = f"{name} {cause}, and so did the processes before it without finishing a task; giving up"
            self.fail(pb.Failure(message=message, traceback=log_tail), now)
            return
        self.queue.lost(worker.index)
        back = ""
        if self._worker_holds_model:
            back = f"; training goes on from {self._roll_back()}"
        self._event(now, "warning", f"{name} {cause}; a new process is started{back}")
        self._start(worker)

    def _roll_back(self) -> str:
        saved = self._checkpoint.queue if self._checkpoint else {}
        self.step = self._checkpoint.step if self._checkpoint else 0
        if self.queue.plan is not None or saved:
            self.queue.restore(saved.get("queue"))
        self._schedule.restore(saved.get("schedule"))
        self._rounds.clear()
        self._finish_added = False
        self.picture.roll_back(self.step if self._checkpoint else -1)
        if saved.get("evaluating"):
            self._start_evaluation()
        return f"the checkpoint of step {self.step}" if self._checkpoint else "the beginning (no checkpoint yet)"

    def tick(self, now: float) -> None:
        """Time passes: look for workers that hang, and for those that do not leave."""
        if self._ending:
            if now > self._ending[1]:
                for worker in self.members.live():
                    self._kill(worker)
            return
        for worker in self.members.hung(now):
            self._kill(worker)
            self._replace(worker, "has been silent for too long", now, by_signal=True)
        self._advance(now)

    # ------------------------------------------------------------ the job goes on, and ends

    def _advance(self, now: float) -> None:
        if self._ending:
            if not self.members.live():
                self.phase, self.finished_at = self._ending[0], now
            return
        if self._counted and self.queue.idle and not self._rounds:
            self._next_stage(now)
        # The one model of a Local training is evaluated as it is, before it is trained further.
        held = self._worker_holds_model
        while self._hungry and not self._ending:
            worker = next(iter(self._hungry.values()))
            if not worker.capacity or not worker.is_live:
                del self._hungry[worker.index]
                continue
            task = self.queue.next(worker.index, new_training=not (held and self._rounds))
            if task is None:
                return
            worker.capacity -= 1
            # To the end of the line, so that all get their share.
            self._hungry[worker.index] = self._hungry.pop(worker.index)
            self._hand_out(worker, task, now)

    def _hand_out(self, worker: Worker, task: Task, now: float) -> None:
        if self.phase == pb.STARTING:
            self.phase, self.running_since = pb.RUNNING, now
        if task.kind == "finish":
            self.phase = pb.FINISHING
        states = self._rounds[task.evaluation].states if task.summarize else None
        self._send(worker, pb.MasterMessage(task=task_message(task, states=states, parts=self._parts)))
        if task.kind == "train" and task.attempt == 1 and self.queue.plan is not None:
            steps = self.queue.plan.steps(task.spans)
            if self._schedule.task_handed_out(steps, task.ends_epoch):
                self._start_evaluation()

    def _start_evaluation(self) -> None:
        self._rounds_started += 1
        self._rounds[self._rounds_started] = EvaluationRound(self._rounds_started, len(self._evaluation_pieces))
        for index, spans in enumerate(self._evaluation_pieces):
            self.queue.add("evaluate", spans, index=index, evaluation=self._rounds_started)

    def _next_stage(self, now: float) -> None:
        if self.spec.kind == "train" and self._schedule.training_over():
            self._start_evaluation()
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
        for worker in self.members.live():
            if phase != pb.SUCCEEDED or worker.state == "starting":
                # One that has not joined has nothing to lose, and would only be waited for.
                self._kill(worker)
            else:
                self._send(worker, pb.MasterMessage(leave=pb.Leave(reason="the job is over")))
        self._advance(now)

    @property
    def is_over(self) -> bool:
        """Whether the job has ended and its workers are gone."""
        return self.finished_at > 0

    # ------------------------------------------------------------ small things

    def _start(self, worker: Worker) -> None:
        self.actions.append(StartWorker(worker.index, worker.incarnation))

    def _kill(self, worker: Worker) -> None:
        self.actions.append(KillWorker(worker.index, worker.incarnation))

    def _send(self, worker: Worker, message: pb.MasterMessage) -> None:
        self.actions.append(Send(worker.index, worker.incarnation, message))

    def _event(self, now: float, level: str, text: str, worker: Worker | None = None) -> None:
        self.picture.add_event(now, level, f"worker-{worker.index}" if worker else "master", text)
