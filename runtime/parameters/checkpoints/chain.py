"""A server's part of a checkpoint: one file with everything, or a base and the files of what has changed since.

In a chain, each delta has a server's whole state, except for the rows and counters of tables: of these it has those
that changed since the file before, and the ids whose rows left. Its state has an `id`, and names the file before, which
it `follows`. All files of a chain are in the checkpoint's own folder, so that it is complete by itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elasticdl_nb.runtime.errors import DamagedCheckpoint
from elasticdl_nb.runtime.parameters.arrays import Ids
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import FILE, Frame, file_name, load
from elasticdl_nb.runtime.parameters.rows.counters import FIRST
from elasticdl_nb.runtime.parameters.rows.index import RowIndex

Files = tuple[Path, ...]
"""The files of one server, the earliest first."""


def names(server: int, servers: int, count: int) -> list[str]:
    """Return how the files of a chain of this length are called, the earliest first."""
    whole = file_name(server, servers)
    if count == 1:
        return [whole]
    stem = whole.removesuffix(".ps")
    return [f"{stem}.base.ps", *(f"{stem}.delta-{number}.ps" for number in range(1, count))]


def own_names(directory: Path, server: int, servers: int) -> list[str]:
    """Return the names of this server's files in a checkpoint of as many servers; empty if there are none."""
    found = (FILE.fullmatch(path.name) for path in sorted(directory.iterdir()))
    return [match[0] for match in found if match and (int(match[1]), int(match[2])) == (server, servers)]


def inherited(directory: Path) -> set[str]:
    """Return the names of the files that came from earlier checkpoints: those of each chain except for the newest.

    Raises DamagedCheckpoint if not all files are there.
    """
    if not any(FILE.fullmatch(path.name) for path in directory.iterdir()):
        return set()
    return {file.name for files in checkpoint_files(directory) for file in files[:-1]}


def checkpoint_files(directory: str | os.PathLike[str]) -> list[Files]:
    """Return the files of each server of a checkpoint, in order; raises DamagedCheckpoint if not all are there."""
    found: dict[int, dict[str, Path]] = {}
    totals = set()
    for path in Path(directory).iterdir() if Path(directory).is_dir() else ():
        if match := FILE.fullmatch(path.name):
            found.setdefault(int(match[1]), {})[path.name] = path
            totals.add(int(match[2]))
    if not found:
        raise DamagedCheckpoint(f"{os.fspath(directory)} holds no checkpoint of parameter servers", directory)
    total = max(totals)
    wanted = {server: names(server, total, len(found.get(server, ())) or 1) for server in range(total)}
    missing = [name for server, files in wanted.items() for name in files if name not in found.get(server, ())]
    if len(totals) > 1 or missing:
        raise DamagedCheckpoint(
            f"{os.fspath(directory)} is not one complete checkpoint: "
            + ("files of different numbers of servers" if len(totals) > 1 else f"{', '.join(missing)} missing"),
            directory,
        )
    return [tuple(found[server][name] for name in files) for server, files in wanted.items()]


def file_id(file: Path) -> str:
    """Return the id of a server's file; empty if it has none. Raises DamagedCheckpoint."""
    state = next(load(file), None)
    return "" if state is None else str(state.meta.get("id", ""))


def since(files: Sequence[Path], known: Collection[str]) -> tuple[str, Files] | None:
    """Return the id of the latest of a server's files that is known, and the files after it; None if none is known."""
    ids = [file_id(file) for file in files]
    latest = max((place for place, id in enumerate(ids) if id and id in known), default=None)
    return None if latest is None else (ids[latest], tuple(files[latest + 1 :]))


def read(files: Sequence[Path], after: str = "") -> Iterator[Frame]:
    """Yield the frames of a server's files as if they were one: each row and counter as the latest file has it.

    With the id of the file that they come `after`, they have what has changed since then, and frames of the kind
    "removed". Each frame is checked before it is yielded. Raises DamagedCheckpoint, naming the file, for one that is
    damaged or does not belong to the chain.
    """
    newer = _Newer()
    follows = None
    for path in reversed(files):
        frames = load(path)
        state = next(frames, Frame({"kind": ""}))
        if follows is not None and (state.meta["kind"] != "state" or state.meta.get("id") != follows):
            raise DamagedCheckpoint(f"{path} is not the file that the next one builds on", path.parent)
        follows = state.meta.get("follows", "")
        if path == files[-1] and state.meta["kind"]:
            yield state
        last = path == files[0] and not after
        yield from _of_file(frames, newer, latest=path == files[-1], earliest=last, with_removed=bool(after))
    if (follows or "") != after:
        raise DamagedCheckpoint(f"{files[0]} builds on a file that is missing", files[0].parent)


def _of_file(
    frames: Iterator[Frame], newer: _Newer, *, latest: bool, earliest: bool, with_removed: bool
) -> Iterator[Frame]:
    """Yield what newer files do not replace; note which ids this one has, unless it is the earliest."""
    here: dict[_Place, list[Ids]] = {}
    for frame in frames:
        kind = frame.meta["kind"]
        if kind == "bounds":
            newer.begin(frame.meta)
        if kind not in ("rows", "uses", "removed", "counters"):
            if latest:
                yield frame
            continue
        if (place := newer.place(frame.meta)) is None:
            continue
        if not earliest:
            here.setdefault(place, []).append(frame.arrays[0])
        if with_removed or kind != "removed":
            yield from newer.without(frame, place)
    newer.add(here)


_Place = tuple[str, int | None]
"""What an id belongs to: the rows of a table, or a half of its counters."""


class _Newer:
    """Which rows and counters are in the files that were read already, the latest first."""

    def __init__(self) -> None:
        self._ids: dict[_Place, RowIndex] = {}
        self._late: dict[str, int] = {}
        self._whole: set[str] = set()
        self._counted: set[str] = set()

    def begin(self, bounds: Mapping[str, Any]) -> None:
        """A table's counters come next; the latest file says which half is the current one.

        Files of earlier versions have all counters, in halves without numbers.
        """
        table = bounds["table"]
        self._late.setdefault(table, int(bounds.get("half", FIRST)))
        if table in self._whole:
            self._counted.add(table)
        if "half" not in bounds:
            self._whole.add(table)

    def place(self, meta: Mapping[str, Any]) -> _Place | None:
        """Return what the ids of a frame belong to; None for counters that are not needed any more."""
        table = meta["table"]
        if meta["kind"] != "counters":
            return table, None
        half = int(meta.get("half", FIRST - (not meta["late"])))
        return None if table in self._counted or half < self._late[table] - 1 else (table, half)

    def without(self, frame: Frame, place: _Place) -> Iterator[Frame]:
        """Yield what newer files do not have of a frame."""
        index, meta, arrays = self._ids.get(place), frame.meta, frame.arrays
        if meta["kind"] == "counters":
            meta = {**meta, "half": place[1], "late": place[1] == self._late[place[0]]}
        if index is not None:
            kept = np.flatnonzero(index.find(np.ascontiguousarray(arrays[0], np.int64)) < 0)
            if not kept.size:
                return
            arrays = [array[kept] for array in arrays]
        yield Frame(meta, arrays)

    def add(self, ids: Mapping[_Place, Sequence[Ids]]) -> None:
        """The ids of a file were read."""
        for place, arrays in ids.items():
            self._ids.setdefault(place, RowIndex()).find_or_insert(np.concatenate(arrays))
