"""The checkpoint of any number of servers, read as if it came from one server of a group of another size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame
from elasticdl_nb.runtime.parameters.partition import Slice, owners, slices_of

BY_ID = ("rows", "uses", "counters")
"""Frames whose arrays have a row for each id of the first of them."""


def repartition(files: Iterable[Iterable[Frame]], server: int, servers: int, slots: Sequence[str]) -> Iterator[Frame]:
    """Yield what belongs to server number `server` of `servers`, from the frames of all files of a checkpoint.

    Rows come as they are read; dense slices and the state, with the highest version of all servers, come at the end.
    The progress of tasks is specific to each server. `slots` names what the optimizer keeps: raises DataError if the
    checkpoint's optimizer kept something else, or if the checkpoint lacks a server's file or part of a variable.
    """
    seen: list[int] = []
    expected = 0
    state: dict[str, Any] = {}
    dense: dict[str, _Assembly] = {}
    for frames in files:
        for frame in frames:
            kind = frame.meta["kind"]
            if kind == "state":
                _check_slots(frame.meta, slots)
                seen.append(frame.meta["server"])
                expected = frame.meta["servers"]
                state = max(state, frame.meta, key=lambda meta: int(meta.get("version", -1)))
            elif kind == "dense":
                _collect(dense, frame, server, servers)
            elif kind in BY_ID:
                mine = owners(frame.arrays[0], servers) == server
                if mine.all():
                    yield frame
                elif mine.any():
                    yield Frame(frame.meta, [array[mine] for array in frame.arrays])
            elif kind != "effects" or frame.meta["server"] == server:
                yield frame
    if not expected or sorted(seen) != list(range(expected)):
        raise DataError(f"a checkpoint of {expected} parameter servers was read from the files of servers {seen}")
    for key, assembly in dense.items():
        yield assembly.frame(key)
    yield Frame({**state, "server": server, "servers": servers})


def _check_slots(state: dict[str, Any], slots: Sequence[str]) -> None:
    if list(state["slots"]) != list(slots):
        raise DataError(
            f"the checkpoint was written with the optimizer {state['optimizer']}, which keeps "
            f"{', '.join(state['slots']) or 'nothing'} for every weight; this job's keeps "
            f"{', '.join(slots) or 'nothing'}. Use the checkpoint's optimizer, or start without the checkpoint"
        )


@dataclass
class _Assembly:
    """A slice being assembled from those of the checkpoint; a slice that was never trained has no slots."""

    piece: Slice
    arrays: list[NDArray[Any]]
    filled: int = 0

    def take(self, other: Slice, arrays: Sequence[NDArray[Any]]) -> None:
        shared = self.piece.overlap(other)
        if shared is None:
            return
        if len(arrays) != len(self.arrays):
            raise DataError(f"the checkpoint has slots for some elements of variable {other.name} and not for others")
        start, stop = shared
        for mine, array in zip(self.arrays, arrays, strict=True):
            mine[start - self.piece.start : stop - self.piece.start] = array[start - other.start : stop - other.start]
        self.filled += stop - start

    def frame(self, key: str) -> Frame:
        if self.filled != self.piece.stop - self.piece.start:
            raise DataError(f"the checkpoint lacks a part of variable {self.piece.name}")
        return Frame({"kind": "dense", "key": key}, self.arrays)


def _collect(dense: dict[str, _Assembly], frame: Frame, server: int, servers: int) -> None:
    other = Slice.parse(frame.meta["key"])
    for owner, piece in slices_of(other.name, other.size, servers):
        if owner == server:
            if piece.key not in dense:
                length = piece.stop - piece.start
                dense[piece.key] = _Assembly(piece, [np.empty(length, array.dtype) for array in frame.arrays])
            dense[piece.key].take(other, frame.arrays)
