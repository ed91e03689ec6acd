"""What a coordinator asks its shell to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.protocol import master_pb2 as pb


@dataclass(frozen=True)
class Start:
    """Start a process that plays this member's part."""

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
    """Make a folder for a checkpoint of this step, and report `checkpoint_begun`, or `checkpoint_failed`."""

    number: int
    step: int


@dataclass(frozen=True)
class CommitCheckpoint:
    """Add the queue's state to a checkpoint and make it the latest; report `checkpoint_committed` or `…_failed`.

    `sealed` says that its writer has made the manifest already.
    """

    path: str
    step: int
    state: dict[str, Any]
    sealed: bool
    number: int = 0


@dataclass(frozen=True)
class DiscardCheckpoint:
    """Remove a checkpoint that is incomplete, damaged or outdated."""

    path: str


Action = Start | Kill | Send | BeginCheckpoint | CommitCheckpoint | DiscardCheckpoint
