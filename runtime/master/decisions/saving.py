"""What becomes of a job's checkpoints: completed, not written, damaged.

A plain object, between `Crew` and `Coordinator`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from elasticdl_nb.runtime.master.decisions.actions import DiscardCheckpoint, PruneCheckpoints, SetCheckpointAside
from elasticdl_nb.runtime.master.decisions.crew import Crew
from elasticdl_nb.runtime.master.decisions.membership import Member
from elasticdl_nb.runtime.master.decisions.saved import Saved
from elasticdl_nb.runtime.master.decisions.story import IllegalTransitionError
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec


class SavingCrew(Crew):
    """The processes of a job that has checkpoints."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.saved = Saved(spec.keep_checkpoint_max, spec.checkpoint_dir_for_init)

    def _commit(self, path: str, step: int, state: dict[str, Any], *, sealed: bool, number: int = 0) -> None:
        self.actions.append(self.saved.commit(path, step, state, sealed=sealed, number=number))

    def _checkpoint_begun(self, number: int, path: str) -> None:
        raise IllegalTransitionError(f"no one has asked for the folder of a checkpoint at {path}")

    def _checkpoint_committed(self, path: str, final: str, kept: Collection[str], now: float) -> None:
        if not self.saved.committed(path, final, kept):
            # The job has gone back since then: what comes next has a different history.
            self.actions.append(DiscardCheckpoint(final))
            return
        # Only now, so that the job always has one to go back to.
        self.actions.append(PruneCheckpoints(final))
        if self.saved.written_again():
            self._note("info", "checkpoints can be written again")

    def _checkpoint_failed(self, path: str, problem: str, now: float) -> None:
        """The checkpoint before it still counts, and training continues; the next one is tried after a pause."""
        pause = self.saved.failed(path, now)
        self._note("warning", f"a checkpoint could not be written: {problem}; next try in {pause:.0f} seconds or more")

    def _cannot_restore(self, member: Member, failure: pb.Failure, now: float) -> None:
        """See `Crew`. The process may have loaded a part: another one begins again, with the one before."""
        if self._pass_over(failure, member, now):
            self._kill(member)
            self._replace(member, "could not restore a checkpoint", now, own=False, counts=False)

    def _pass_over(self, failure: pb.Failure, member: Member, now: float) -> bool:
        """Never use a damaged checkpoint again; return whether the job can continue without it."""
        path = failure.checkpoint
        if own := self.saved.pass_over(path):
            self.actions.append(SetCheckpointAside(path))
            self._note(
                "warning", f"the checkpoint of step {own.step} is damaged, and set aside: {failure.message}", member
            )
        elif not self.saved.begin_with_another(path):
            self._fail(pb.Failure(message=f"checkpoint_dir_for_init: {failure.message}"), now)
            return False
        else:
            self._note("warning", f"the job begins with an earlier checkpoint: {failure.message}", member)
        return True

    def _worker_cannot_write(self, worker: Member, problem: str, now: float) -> None:
        self._checkpoint_failed("", problem, now)
        wait = pb.WaitWithCheckpoints(seconds=self.saved.next_at - now)
        self._send(worker, pb.MasterMessage(wait_with_checkpoints=wait))

    # ------------------------------------------------------------ the journal

    def _save(self, state: journal.State) -> None:
        super()._save(state)
        self.saved.save(state)

    def load(self, state: journal.State) -> None:
        """See `Crew`."""
        super().load(state)
        self.saved.load(state)
