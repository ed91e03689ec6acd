"""The coordinator of a job whose model lives in parameter servers.

A worker's death puts its tasks back, and no one waits. A server's death takes the whole job back to its last
checkpoint, in a new generation; the workers and the other servers keep running. `checkpoint_round.Round` describes how
checkpoints are taken.
"""

from __future__ import annotations

from collections.abc import Collection

from elasticdl_nb.runtime.master.decisions import checkpoint_round as checkpointing
from elasticdl_nb.runtime.master.decisions.actions import BeginCheckpoint, DiscardCheckpoint
from elasticdl_nb.runtime.master.decisions.checkpoint_round import Round
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.membership import Key, Member
from elasticdl_nb.runtime.master.decisions.server_group import ServerGroup
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec


class ServedCoordinator(Coordinator):
    """See the module's docstring."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.servers = ServerGroup(spec.num_ps, self.saved.beginning)
        self._groups = [self.workers, self.servers.members]
        self._round: Round | None = None
        self._rounds_of_checkpoints = 0
        self._saved_step, self._saved_at = 0, 0.0

    # ------------------------------------------------------------ processes say something

    def _begin(self, problem: str, now: float) -> None:
        self.servers.restore_from = self.saved.beginning
        super()._begin(problem, now)

    def _welcome(self, member: Member, hello: pb.Hello, now: float) -> bool:
        if member.role == "worker":
            if not super()._welcome(member, hello, now):
                return False
            if not self._ending:
                self._send(member, self.servers.servers_message())
            if self._round is None or not self._round.stops_work:
                self._send(member, pb.MasterMessage(resume=pb.Resume()))
            elif self._round.waits_for(member.index):  # it may have been told before it was connected
                self._send(member, pb.MasterMessage(pause=pb.Pause(number=self._round.number)))
            return True
        if self.servers.members.joined(member.index, member.incarnation, hello.pid, now) is None:
            return False
        member.address = hello.data_address
        self._send(member, pb.MasterMessage(welcome=pb.Welcome(acknowledged=member.acknowledged)))
        if member.generation != self.servers.generation and not self._ending:
            self._send(member, self.servers.restore_message())
        if self._round and self._round.captures(member.index):  # nobody knows whether it was told
            self._give_up_round()
            self._advance(now)
        return True

    def _said(self, member: Member, message: pb.WorkerMessage, now: float) -> None:
        body = message.WhichOneof("body")
        if body == "paused":
            if self._round and self._round.number == message.paused.number and self._round.worker_paused(member.index):
                self._all_paused()
        elif member.role == "worker":
            super()._said(member, message, now)
            if body == "task_done":
                for server in self.servers.members:
                    server.deaths_in_a_row = server.kills_in_a_row = 0
                self._checkpoint_if_due(now)
        else:
            self._server_said(member, message, now)

    def _server_said(self, server: Member, message: pb.WorkerMessage, now: float) -> None:
        match message.WhichOneof("body"):
            case "progress":
                server.activity = message.progress.activity
                server.holds(message.progress)
            case "restore_done":
                self._restored(server, message.restore_done, now)
            case "snapshot_captured":
                if self._round and self._round.number == message.snapshot_captured.number:
                    self._captured(server)
            case "snapshot_written":
                if self._round and self._round.number == message.snapshot_written.number:
                    self._written(server, message.snapshot_written, now)
            case "worker_failed":
                self._member_failed(server, message.worker_failed.failure, now)
            case "note":
                self._note(message.note.level, message.note.text, server)

    # ------------------------------------------------------------ generations

    def _may_work(self) -> bool:
        return self.servers.are_up and not self._pauses()

    def _generation(self) -> int:
        return self.servers.generation

    def _restored(self, server: Member, done: pb.RestoreDone, now: float) -> None:
        if done.generation != self.servers.generation:
            return
        if done.HasField("failure"):
            self._not_restored(server, done.failure, now)
        elif self.servers.restored(server, done.generation):
            self._saved_at = now
            self._tell_workers(self.servers.servers_message())

    def _not_restored(self, server: Member, failure: pb.Failure, now: float) -> None:
        if self.saved.path:  # whatever is wrong, it was this job's own servers that wrote it
            failure.checkpoint = self.saved.path
        if not failure.checkpoint:
            self._fail(failure, now)
        elif self._pass_over(failure, server, now):
            self._note("warning", f"training continues from {self._begin_generation()}", mark="rollback")

    def _begin_generation(self) -> str:
        self._give_up_round()
        where = self._roll_back()
        self.servers.begin_generation(self.saved.path, initial=self.saved.beginning)
        self._saved_step = self.step
        for server in self.servers.members.running():
            self._send(server, self.servers.restore_message())
        self._tell_workers(self.servers.servers_message())
        return where

    def _after_death(self, member: Member) -> str:
        if member.role == "ps":
            return f"; training continues from {self._begin_generation()}"
        return super()._after_death(member)

    def _worker_gone(self, worker: Member) -> None:
        super()._worker_gone(worker)
        if self._round and self._round.worker_paused(worker.index):
            self._all_paused()

    def _tell_workers(self, message: pb.MasterMessage) -> None:
        for worker in self.workers.running():
            self._send(worker, message)

    # ------------------------------------------------------------ checkpoints

    def _pauses(self) -> bool:
        return self._round is not None and self._round.stops_work

    def _checkpoint_if_due(self, now: float) -> bool:
        if self._round or self._ending or self._finish_added or not self.servers.are_up or self.queue.idle:
            return False
        if now < self.saved.next_at or self._is_amid_tasks():
            return False
        every, interval = self.spec.steps_between_checkpoints, self.spec.seconds_between_checkpoints
        aged = now - self._saved_at > interval(checkpointing.INTERVAL) and self.step > self._saved_step
        due = bool(every) and self.step // every > self._saved_step // every
        due |= aged and not self.spec.checkpoint_steps
        if due:
            self._begin_round(now)
        return due

    def _begin_round(self, now: float) -> None:
        self._rounds_of_checkpoints += 1
        workers = self.workers.running()
        self._round = Round(self._rounds_of_checkpoints, now, {worker.index for worker in workers})
        self._tell_workers(pb.MasterMessage(pause=pb.Pause(number=self._round.number)))
        if not workers:  # those that are starting will wait for the end of the round anyway
            self._all_paused()

    def _waits_for_last_checkpoint(self, now: float) -> bool:
        """See `Coordinator`. A job with a directory for checkpoints leaves one of its last step to others."""
        if self.spec.kind != "train" or not self.spec.checkpoint_dir or not self.servers.are_up:
            return False
        if self._round is None and self.step > self._saved_step:
            self._begin_round(now)
        return self._round is not None

    def _is_amid_tasks(self) -> bool:
        """Whether a later job could not tell what has been used: servers know of parts of tasks, it does not."""
        return self.spec.follow and self.queue.has_retries

    def _all_paused(self) -> None:
        if self._is_amid_tasks():
            self._give_up_round()
            return
        if self._round:
            self._round.all_paused(self.step, self._state())
            self.actions.append(BeginCheckpoint(self._round.number, self._round.step))

    def _checkpoint_begun(self, number: int, path: str) -> None:
        if self._round is None or self._round.number != number or self._ending:
            self.actions.append(DiscardCheckpoint(path))
            return
        servers = self.servers.members.running()
        self._round.begun(path, [server.index for server in servers])
        snapshot = pb.Snapshot(number=number, generation=self.servers.generation, path=path)
        for server in servers:
            self._send(server, pb.MasterMessage(snapshot=snapshot))

    def _captured(self, server: Member) -> None:
        if self._round and self._round.captured(server.index):
            self._saved_step = self._round.step
            self._tell_workers(pb.MasterMessage(resume=pb.Resume()))

    def _written(self, server: Member, written: pb.SnapshotWritten, now: float) -> None:
        round = self._round
        if round is None:
            return
        if written.HasField("failure"):
            self._checkpoint_failed(round.path, f"{server.name}: {written.failure.message}", now)
        elif round.written(server.index):
            self._commit(round.path, round.step, round.state, sealed=False, number=round.number)

    def _checkpoint_committed(self, path: str, final: str, kept: Collection[str], now: float) -> None:
        """See `Coordinator`."""
        if self._round is None or self._round.path != path:
            # A server has died since then: what comes next has a different history.
            self.saved.void(path)
            self.actions.append(DiscardCheckpoint(final))
            return
        self._round, self._saved_at = None, now
        super()._checkpoint_committed(path, final, kept, now)
        self._advance(now)  # perhaps the job has waited for its last checkpoint

    def _checkpoint_failed(self, path: str, problem: str, now: float) -> None:
        """See `Coordinator`."""
        if self._round and self._round.path == path:
            self._give_up_round()
            self._saved_at, self._saved_step = now, self.step
            super()._checkpoint_failed(path, problem, now)
            self._advance(now)

    def _give_up_round(self) -> None:
        round, self._round = self._round, None
        if round is None:
            return
        if round.path and round.stage != "committing":
            self.actions.append(DiscardCheckpoint(round.path))
        if round.stops_work:
            self._tell_workers(pb.MasterMessage(resume=pb.Resume()))

    # ------------------------------------------------------------ time, recovery, the end

    def _tick(self, now: float) -> bool:
        """See `Coordinator`."""
        due = super()._tick(now)
        if self._ending:
            return due
        if self._round and self._round.stage == "pausing" and now - self._round.begun_at > checkpointing.PAUSE_LIMIT:
            self._note("warning", "a checkpoint was postponed: a worker takes too long over its task")
            self._give_up_round()
            self._saved_at, self._saved_step = now, self.step
            self._advance(now)
            return True
        return self._checkpoint_if_due(now) or due

    def _end(self, phase: pb.JobPhase, now: float) -> None:
        if self._round and self._round.stage != "committing":  # no one would take care of its folder any more
            self._give_up_round()
        super()._end(phase, now)

    def _after_workers(self) -> None:
        for server in self.servers.members.running():
            if not server.leave_by:
                server.leave_by = server.last_heard
                self._dismiss(server, "the job is over")

    def _recover(self, living: Collection[Key], now: float) -> None:
        """See `Coordinator`."""
        # Messages from its members and to them may be lost.
        if self._round and self._round.stage != "committing":
            self._give_up_round()
            self._saved_step = self.saved.newest.step if self.saved.newest else 0
        super()._recover(living, now)

    # ------------------------------------------------------------ the journal

    def _save(self, state: journal.State) -> None:
        super()._save(state)
        state.servers.CopyFrom(self.servers.to_message())
        if self._round:
            state.servers.round.CopyFrom(self._round.to_message())
        state.servers.rounds = self._rounds_of_checkpoints
        state.servers.saved_step, state.servers.saved_at = self._saved_step, self._saved_at

    def load(self, state: journal.State) -> None:
        """See `Coordinator`."""
        super().load(state)
        servers = state.servers
        self.servers.load(servers)
        self._round = Round.from_message(servers.round) if servers.HasField("round") else None
        self._rounds_of_checkpoints = servers.rounds
        self._saved_step, self._saved_at = servers.saved_step, servers.saved_at
