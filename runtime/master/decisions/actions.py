"""What a coordinator asks its shell to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb


@dataclass(frozen=True)
class Start:
    """Start a process in this member's role."""

    key: Key


@dataclass(frozen=True)
class Kill:
    """End a process at once."""

    key: Key


@dataclass(frozen=True)
class Send:
    """Send a message to a process."""

    key: Key
    message: pb.MasterMessage


@dataclass(frozen=True)
class BeginCheckpoint:
    """Make a folder for a checkpoint of this step, and report `CheckpointBegun`, or `CheckpointFailed`."""

    number: int
    step: int


@dataclass(frozen=True)
class CommitCheckpoint:
    """Add the queue's state to a checkpoint and make it the latest; report `CheckpointCommitted`, or `…Failed`.

    `sealed` means that its writer has already made the manifest.
    """

    path: str
    step: int
    state: dict[str, Any]
    sealed: bool
    number: int = 0

    def to_message(self) -> journal.Checkpoint:
        """Return the checkpoint as the journal keeps it."""
        return journal.Checkpoint(
            path=self.path, step=self.step, state=json.dumps(self.state), sealed=self.sealed, number=self.number
        )  # fmt: skip

    @classmethod
    def from_message(cls, message: journal.Checkpoint) -> CommitCheckpoint:
        """Return the checkpoint from a message made by `to_message`."""
        return cls(message.path, message.step, json.loads(message.state), message.sealed, message.number)


@dataclass(frozen=True)
class DiscardCheckpoint:
    """Remove a checkpoint that is incomplete or outdated."""

    path: str


@dataclass(frozen=True)
class PruneCheckpoints:
    """Remove the checkpoints for which there is no room beside this one, which counts now."""

    newest: str


@dataclass(frozen=True)
class SetCheckpointAside:
    """Give a checkpoint that is damaged another name."""

    path: str


Deed = Start | Kill | BeginCheckpoint | CommitCheckpoint | DiscardCheckpoint | PruneCheckpoints | SetCheckpointAside
"""What the master does itself."""

Action = Send | Deed
