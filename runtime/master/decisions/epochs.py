"""What the processes of a job say of its epochs, put together. A plain object."""

from __future__ import annotations

from typing import Any

from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.epochs import together

KEPT = 8
"""Epochs that workers may still be on, or have just left."""


class Epochs:
    """Each process's part of the latest epochs, which it reports again whenever it has more of it."""

    def __init__(self) -> None:
        self._parts: dict[str, pb.EpochEnded] = {}

    def heard(self, process: str, so_far: pb.EpochEnded) -> None:
        """A process says what its part of an epoch is by now; after a roll back, it counts as another process."""
        if so_far.records:
            self._parts[f"{so_far.epoch}/{process}"] = so_far
            latest = max(one.epoch for one in self._parts.values())
            self._parts = {key: one for key, one in self._parts.items() if one.epoch > latest - KEPT}

    def whole(self, epoch: int, without: str = "") -> pb.EpochEnded | None:
        """Return what is known of an epoch, apart from one process's part; None if that is nothing."""
        whole = None
        for key, part in self._parts.items():
            if part.epoch == epoch and key != f"{epoch}/{without}":
                whole = part if whole is None else together(whole, part)
        return whole

    def snapshot(self) -> list[Any]:
        """State as JSON values."""
        return [[key, one.epoch, one.step, one.records, dict(one.logs)] for key, one in self._parts.items()]

    def restore(self, snapshot: list[Any] | None) -> None:
        """Go back to a snapshot, or to the beginning."""
        self._parts = {
            key: pb.EpochEnded(epoch=epoch, step=step, records=records, logs=logs)
            for key, epoch, step, records, logs in snapshot or ()
        }  # fmt: skip

    def save(self, state: journal.State) -> None:
        """Add this to a message."""
        state.epoch_parts.extend(journal.EpochPart(process=key, so_far=one) for key, one in self._parts.items())

    def load(self, state: journal.State) -> None:
        """Restore what `save` has added to a message."""
        self._parts = {part.process: part.so_far for part in state.epoch_parts}
