"""The processes of a job: which exist, say hello, die and are replaced, and how they end together.

A plain object, the base of `coordinator.Coordinator`, which decides what they do.
"""

from __future__ import annotations

from collections.abc import Collection

from elasticdl_nb.runtime.exits import how_it_ended, is_own_doing, likely_cause
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import Action, Kill, Send, Start
from elasticdl_nb.runtime.master.decisions.membership import Key, Member, Membership
from elasticdl_nb.runtime.master.decisions.picture import Picture
from elasticdl_nb.runtime.master.decisions.story import IllegalTransitionError
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

LEAVE_LIMIT = 15.0
"""Seconds that processes have to leave by themselves when a job is over."""


class Crew:
    """A job's processes and its life, from its start to its end.

    `now` is always a time of the job's clock; `date`, the time of day of the last event, is only for display.
    """

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.actions: list[Action] = []
        self.date = 0.0
        self.phase: pb.JobPhase = pb.STARTING
        self.started_at = self.finished_at = 0.0
        self.failure: pb.Failure | None = None
        self.picture = Picture()
        # The model lives in the one worker of a Local training: its death takes the job back to the last checkpoint.
        self.worker_holds_model = spec.trains_alone
        self.workers = Membership("worker", 1 if self.worker_holds_model else spec.num_workers)
        self._groups = [self.workers]
        self._ending: tuple[pb.JobPhase, float] | None = None

    # ------------------------------------------------------------ what the job's strategy decides

    def _welcome(self, member: Member, hello: pb.Hello, now: float) -> bool:
        """A process says hello: send it what it must know; return whether it belongs to the job."""
        raise NotImplementedError

    def _send_missing(self, worker: Member, held: Collection[tuple[int, int]]) -> None:
        """A worker has come back with these tasks (number and attempt): send it its other tasks."""
        raise NotImplementedError

    def _said(self, member: Member, message: pb.WorkerMessage, now: float) -> None:
        """A process sends a message for the first time, and the job is not over."""
        raise NotImplementedError

    def _after_death(self, member: Member) -> str:
        """A process has died, and another will take its place; return the consequence, to be shown to users."""
        raise NotImplementedError

    def _cannot_restore(self, member: Member, failure: pb.Failure, now: float) -> None:
        """A process cannot use the checkpoint that the failure names."""
        raise NotImplementedError

    def _worker_gone(self, worker: Member) -> None:
        """A worker's process is gone."""
        raise NotImplementedError

    def _go_on(self, now: float) -> None:
        """Something has happened: do whatever can be done next."""
        raise NotImplementedError

    def _after_workers(self) -> None:
        """The job is over, and all workers are gone."""

    # ------------------------------------------------------------ processes come

    def _begin(self, problem: str, now: float) -> None:
        """Ask for the processes, or end the job because of a problem."""
        if self.started_at:
            raise IllegalTransitionError("the job has already started")
        self.started_at = self.date
        if problem:
            for member in self.members():
                self._group(member).ended(member, "stopped")
            self._fail(pb.Failure(message=problem), now)
            return
        for group in self._groups:
            for member in group:
                self._start(member)
        processes = f"{len(self.workers.live())} worker process(es)"
        if self.spec.uses_servers:
            processes += f" and {self.spec.num_ps} parameter server(s)"
        self._note("info", f"{self.spec.kind} job started with {processes}")

    def member(self, key: Key) -> Member | None:
        """The member that this process acts for, if any."""
        role, index, incarnation = key
        for group in self._groups:
            if group.role == role:
                return group.current(index, incarnation)
        return None

    def belongs(self, hello: pb.Hello) -> bool:
        """Whether the process that sent this acts for a member."""
        member = self.member(events.Greeted(hello).key)
        return member is not None and member.state == "running" and member.pid == hello.pid

    def _greet(self, event: events.Greeted, now: float) -> None:
        hello = event.hello
        member = self.member(event.key)
        if member is None or not self._welcome(member, hello, now):
            return
        if self._ending and (member.role == "worker" or member.leave_by):
            self._dismiss(member, "the job is over")
        elif member.leave_by:
            self._dismiss(member, "the job continues with fewer workers")
        elif member.role == "worker" and not self._ending:
            self._send_missing(member, {(task.id, task.attempt) for task in hello.held})
            self._advance(now)

    def _hear(self, key: Key, message: pb.WorkerMessage, now: float) -> None:
        """A process sends a message; ignored if the process has been replaced, or sent the message before."""
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

    # ------------------------------------------------------------ processes die

    def _exited(self, key: Key, code: int, log_tail: str, now: float) -> None:
        self._gone(key, how_it_ended(code), now, own=is_own_doing(code), log_tail=log_tail, code=code)

    def _stuck(self, key: Key, reason: str) -> None:
        member = self.member(key)
        if member is None:
            return
        if reason and reason != member.obstacle:
            self._note("warning", f"{member.name} {reason}")
        member.obstacle = reason

    def _runs(self, key: Key, now: float) -> None:
        member = self.member(key)
        if member is not None and member.state == "starting":
            member.last_heard, member.obstacle = now, ""

    def _gone(
        self, key: Key, cause: str, now: float, *, own: bool, log_tail: str, counts: bool = True,
        code: int | None = None,
    ) -> None:  # fmt: skip
        member = self.member(key)
        if member is None:
            return
        group = self._group(member)
        if self._ending:
            # The exit code of a process that an earlier master started is unknown.
            group.ended(member, "finished" if self._ending[0] == pb.SUCCEEDED else "stopped")
        elif member.leave_by:
            group.ended(member, "stopped")
            self._worker_gone(member)
        else:
            self._replace(member, cause, now, own=own, counts=counts, log_tail=log_tail, code=code)
        self._advance(now)

    def _group(self, member: Member) -> Membership:
        return self._groups[member.role == "ps"]

    def _replace(
        self, member: Member, cause: str, now: float, *, own: bool, counts: bool = True, log_tail: str = "",
        code: int | None = None,
    ) -> None:  # fmt: skip
        """A process has ended, by its `own` doing or not: start another, unless too many of them ended like that."""
        if not self._group(member).died(member, own=own, counts=counts):
            message = f"{member.name} {cause}, like the processes before it; none finished a task"
            if own:
                message += f"; likely cause: {likely_cause(code, cause + log_tail)}"
            self._fail(pb.Failure(message=message, traceback=log_tail), now)
            return
        back = self._after_death(member)
        mark = "rollback" if back else "left" if member.role == "worker" else ""
        self._note("warning", f"{member.name} {cause}; a new process is started{back}", mark=mark)
        self._start(member)

    def _member_failed(self, member: Member, failure: pb.Failure, now: float) -> None:
        if failure.checkpoint:
            self._cannot_restore(member, failure, now)
        elif failure.transient:
            self._kill(member)
            self._replace(member, failure.message, now, own=True)
        else:
            self._fail(failure, now)

    def _tick(self, now: float) -> bool:
        """Time passes: look for processes that hang or do not leave; return whether anything changed."""
        if self._ending:
            late = self._live() if now > self._ending[1] else []
        else:
            late = [worker for worker in self.workers if worker.leave_by and now > worker.leave_by]
        for member in late:
            self._kill(member)
        hung = [] if self._ending else [member for group in self._groups for member in group.hung(now)]
        for member in hung:
            self._kill(member)
            self._replace(member, _silence(member), now, own=False)
        if hung:
            self._advance(now)
        return bool(late or hung)

    # ------------------------------------------------------------ a master is restarted

    def _recover(self, living: Collection[Key], now: float) -> None:
        """The master was restarted, and these processes are alive; they will report what they did meanwhile."""
        self._note("warning", "the master was restarted")
        wanted = {member.key for member in self._live()}
        self.actions += [Kill(key) for key in living if key not in wanted]
        for member in self._live():
            if member.last_heard:
                member.last_heard = now
            if member.key not in living:
                self._exited(member.key, -9, "", now)
            elif self._ending and self._ending[0] != pb.SUCCEEDED:
                self._kill(member)
        self._advance(now)

    # ------------------------------------------------------------ the job ends

    def _advance(self, now: float) -> None:
        if not self._ending:
            self._go_on(now)
        if self._ending:
            if not self.workers.live():
                self._after_workers()
            if not self._live():
                self.phase, self.finished_at = self._ending[0], self.date

    def _cancel(self, reason: str, now: float) -> None:
        if not self._ending:
            self._note("warning", f"cancelled: {reason}")
            self._end(pb.CANCELLED, now)

    def _fail(self, failure: pb.Failure, now: float) -> None:
        if not self._ending:
            self.failure = failure
            self._note("error", failure.message)
            self._end(pb.FAILED, now)

    def _end(self, phase: pb.JobPhase, now: float) -> None:
        self._ending = (phase, now + (LEAVE_LIMIT if phase == pb.SUCCEEDED else 0.0))
        for member in self._live():
            if phase != pb.SUCCEEDED or member.state == "starting":
                # One that has not joined has nothing to lose; waiting for it would be pointless.
                self._kill(member)
            elif member.role == "worker":
                self._dismiss(member, "the job is over")
        self._advance(now)

    @property
    def is_over(self) -> bool:
        """Whether the job has ended and its processes are gone."""
        return self.finished_at > 0

    # ------------------------------------------------------------ the journal

    def _save(self, state: journal.State) -> None:
        """Add this object's state to a message, except what follows from the job's options."""
        state.date, state.phase = self.date, self.phase
        state.started_at, state.finished_at = self.started_at, self.finished_at
        if self.failure:
            state.failure.CopyFrom(self.failure)
        if self._ending:
            state.ending.phase, state.ending.deadline = self._ending
            state.ending.SetInParent()
        state.picture.CopyFrom(self.picture.to_message())
        state.workers.extend(self.workers.to_messages())

    def load(self, state: journal.State) -> None:
        """Restore what `_save` has added to a message."""
        self.date, self.phase = state.date, state.phase
        self.started_at, self.finished_at = state.started_at, state.finished_at
        self.failure = state.failure if state.HasField("failure") else None
        self._ending = (state.ending.phase, state.ending.deadline) if state.HasField("ending") else None
        self.picture = Picture.from_message(state.picture)
        self.workers.load(state.workers)

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

    def _note(self, level: str, text: str, member: Member | None = None, mark: str = "") -> None:
        self.picture.add_event(self.date, level, member.name if member else "master", text, mark)


def _silence(member: Member) -> str:
    return "has been silent for too long" if member.state == "running" else "was started, but has not said hello"
