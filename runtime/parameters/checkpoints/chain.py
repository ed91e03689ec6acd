"""A server's part of a checkpoint: one file with everything, or a base and the files of what has changed since.

In a chain, each delta has a server's whole state, except for the rows of tables: of these it has those that changed
since the file before, and the ids whose rows left. Its state has an `id`, and names the file before, which it
`follows`. All files of a chain are in the checkpoint's own folder, so that it is complete by itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from elasticdl_nb.runtime.errors import DamagedCheckpoint
from elasticdl_nb.runtime.parameters.arrays import Ids
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import FILE, Frame, file_name, load
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
    """Yield the frames of a server's files as if they were one: each row as the latest file has it.

    With the id of the file that they come `after`, they have what has changed since then, and frames of the kind
    "removed". Each frame is checked before it is yielded. Raises DamagedCheckpoint, naming the file, for one that is
    damaged or does not belong to the chain.
    """
    newer: dict[str, RowIndex] = {}
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
    frames: Iterator[Frame], newer: dict[str, RowIndex], *, latest: bool, earliest: bool, with_removed: bool
) -> Iterator[Frame]:
    """Yield what newer files do not replace; note which ids this one has, unless it is the earliest."""
    here: dict[str, list[Ids]] = {}
    for frame in frames:
        kind = frame.meta["kind"]
        if kind not in ("rows", "uses", "removed"):
            if latest:
                yield frame
            continue
        if not earliest:
            here.setdefault(frame.meta["table"], []).append(frame.arrays[0])
        if with_removed or kind != "removed":
            yield from _without(frame, newer)
    for table, ids in here.items():
        newer.setdefault(table, RowIndex()).find_or_insert(np.concatenate(ids))


def _without(frame: Frame, newer: Mapping[str, RowIndex]) -> Iterator[Frame]:
    index = newer.get(frame.meta["table"])
    if index is None:
        yield frame
        return
    kept = np.flatnonzero(index.find(np.ascontiguousarray(frame.arrays[0], np.int64)) < 0)
    if kept.size:
        yield Frame(frame.meta, [array[kept] for array in frame.arrays])
