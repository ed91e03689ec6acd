"""The checkpoints that a job can go back to, those that are being completed, and what it begins with.

A plain object.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from elasticdl_nb.runtime.master.decisions.actions import CommitCheckpoint
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.storage.pauses import pause_after

_KEPT = 10
"""Checkpoints to which the job can go back, if it keeps all of them."""


class Saved:
    """A job's complete checkpoints, oldest first, of which `keep` count, or the last few if that is 0.

    `initial` are checkpoints of another job that this one may begin with, the best first. After a failure to write, the
    next checkpoint comes no earlier than `next_at`.
    """

    def __init__(self, keep: int, initial: str) -> None:
        self._keep = keep or _KEPT
        self.complete: list[CommitCheckpoint] = []
        self.initial = [initial] if initial else []
        self.next_at = 0.0
        self._on_the_way: dict[str, CommitCheckpoint] = {}
        self._unwritten = 0

    @property
    def newest(self) -> CommitCheckpoint | None:
        """The checkpoint that the job would go back to now; None means its beginning."""
        return self.complete[-1] if self.complete else None

    @property
    def path(self) -> str:
        """Where the newest is; empty if there is none."""
        return self.complete[-1].path if self.complete else ""

    @property
    def beginning(self) -> str:
        """The checkpoint that the job begins with; empty if it begins with nothing."""
        return self.initial[0] if self.initial else ""

    @property
    def states_of_callbacks(self) -> list[str]:
        """The states of callbacks that belong to the checkpoints; see `borders`."""
        states = [one.state.get("borders") for one in (*self.complete, *self._on_the_way.values())]
        return [state["state"] for state in states if state and state["state"]]

    # ------------------------------------------------------------ writing

    def commit(self, path: str, step: int, state: dict[str, Any], *, sealed: bool, number: int = 0) -> CommitCheckpoint:
        """A checkpoint is written; return the action that completes it."""
        self._on_the_way[path] = commit = CommitCheckpoint(path, step, state, sealed, number)
        return commit

    @property
    def on_the_way(self) -> list[CommitCheckpoint]:
        """What is being completed."""
        return list(self._on_the_way.values())

    def committed(self, path: str, final: str, kept: Collection[str] = ()) -> bool:
        """The checkpoint at `path` is complete; return whether it counts, because the job has not gone back since.

        `kept` are those up to it that stay, if that is known: the others make room for it.
        """
        commit = self._on_the_way.pop(path, None)
        if commit is not None:
            self.complete = [one for one in self.complete if not kept or one.path in kept or one.step > commit.step]
            self.complete.append(CommitCheckpoint(final, commit.step, commit.state, sealed=True))
            self.complete.sort(key=lambda one: one.step)  # two may be on their way at the same time
            del self.complete[: -self._keep]
        return commit is not None

    def written_again(self) -> bool:
        """A checkpoint could be written; return whether the one before it could not."""
        before, self._unwritten, self.next_at = self._unwritten, 0, 0.0
        return before > 0

    def failed(self, path: str, now: float) -> float:
        """A checkpoint could not be written or completed; return the seconds to wait before the next try."""
        self._on_the_way.pop(path, None)
        self._unwritten += 1
        pause = pause_after(self._unwritten)
        self.next_at = now + pause
        return pause

    def void(self, path: str) -> None:
        """The checkpoint that is being completed no longer counts."""
        self._on_the_way.pop(path, None)

    def void_all(self) -> None:
        """The same for all that are being completed: the job goes back."""
        self._on_the_way.clear()

    # ------------------------------------------------------------ damage

    def pass_over(self, path: str) -> CommitCheckpoint | None:
        """Never use one of this job's checkpoints again, which is damaged; return it, or None if it is not its own."""
        own = next((one for one in self.complete if one.path == path), None)
        if own is not None:
            self.complete.remove(own)
        return own

    def begin_with_another(self, path: str) -> bool:
        """What the job was to begin with is damaged; return whether there is another that it can begin with."""
        if path in self.initial and len(self.initial) > 1:
            self.initial.remove(path)
        return path not in self.initial

    # ------------------------------------------------------------ the journal

    def save(self, state: journal.State) -> None:
        """Add this to a message."""
        state.checkpoints.extend(one.to_message() for one in self.complete)
        state.committing.extend(one.to_message() for one in self._on_the_way.values())
        state.initial.extend(self.initial)
        state.unwritten_checkpoints, state.next_checkpoint_at = self._unwritten, self.next_at

    def load(self, state: journal.State) -> None:
        """Restore what `save` has added to a message."""
        self.complete = [CommitCheckpoint.from_message(one) for one in state.checkpoints]
        self._on_the_way = {one.path: CommitCheckpoint.from_message(one) for one in state.committing}
        self.initial = list(state.initial) or self.initial  # journals of earlier versions have none
        self._unwritten, self.next_at = state.unwritten_checkpoints, state.next_checkpoint_at
