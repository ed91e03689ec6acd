"""What a server writes next: everything, or what has changed since a file that it has written before.

The files of earlier checkpoints get another name in the new one's folder (a hard link), where the file system can do
that; otherwise everything is written. Nothing depends on whether an earlier checkpoint was completed, kept, or removed:
its files are linked if they are still there and are those that were written.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.checkpoints.chain import names
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame, load
from elasticdl_nb.runtime.parameters.store import Change, Marks, ParameterStore
from elasticdl_nb.runtime.storage.checkpoints import verify, whereabouts

_REMEMBERED = 2
"""Files on which the next may build: if the latest was part of a checkpoint that failed, it is the one before."""


_TRIES = 2
"""Deltas that build on the same file, because checkpoints failed, before everything is written."""

SHARE = 0.5
"""A chain ends when its deltas add up to more than this share of the rows."""


@dataclass(frozen=True)
class Deltas:
    """How many deltas may follow a whole file, and from how many bytes of rows on there are any."""

    most: int = 0
    from_bytes: int = 0


NO_DELTAS = Deltas()


@dataclass(frozen=True)
class Capture:
    """A server's state at an instant, to be written to `path`; call `written` once it is there."""

    path: Path
    frames: Iterator[Frame]
    written: Callable[[], None]


@dataclass(frozen=True)
class _Written:
    """A chain that was written into a folder: the id of each file, the instant, and bytes of rows in its deltas."""

    folder: Path
    ids: tuple[str, ...]
    marks: Marks
    size: int = 0


class Chains:
    """Captures a server's state, again and again. Calls come from one thread, except for `Capture.written`."""

    def __init__(self, deltas: Deltas, server: int = 0, servers: int = 1) -> None:
        self._deltas, self._place = deltas, (server, servers)
        self._written: deque[_Written] = deque(maxlen=_REMEMBERED)
        self._tries: Counter[str] = Counter()

    def capture(self, store: ParameterStore, folder: Path) -> Capture:
        """Capture a store's state, to be written into the folder of a checkpoint. Raises OSError."""
        whole = sum(len(table) * table.row_bytes for table in store.tables.values())
        grows = self._deltas.most > 0 and whole >= max(1, self._deltas.from_bytes)
        for before in self._bases() if grows else ():
            if len(before.ids) > self._deltas.most or (changes := store.changed(before.marks)) is None:
                break
            size = before.size + _bytes(store, changes)
            if size > SHARE * whole:
                break
            if self._linked(before, folder):
                self._tries[before.ids[-1]] += 1
                return self._captured(store, folder, changes, before.ids, size)
        return self._captured(store, folder, None, (), 0, follow=grows)

    def _bases(self) -> list[_Written]:
        """What the next file may build on, the latest first; another thread may add to what was written."""
        bases = tuple(self._written)[::-1]
        self._tries = Counter({one.ids[-1]: self._tries[one.ids[-1]] for one in bases})
        return [one for one in bases if self._tries[one.ids[-1]] < _TRIES]

    def _captured(
        self, store: ParameterStore, folder: Path, changes: dict[str, Change] | None, earlier: tuple[str, ...],
        size: int, *, follow: bool = True,
    ) -> Capture:  # fmt: skip
        ids = (*earlier, secrets.token_hex(8))
        link = {"id": ids[-1], "follows": earlier[-1] if earlier else ""}
        frames = store.snapshot(changes, link)
        # Where no delta will follow, changes need not be noted.
        written = _Written(folder, ids, store.mark(), size) if follow else None
        path = folder / names(*self._place, len(ids))[-1]
        return Capture(path, frames, lambda: self._written.append(written) if written else None)

    def _linked(self, before: _Written, folder: Path) -> bool:
        """Give the files of a chain their names in another folder; return whether all were there.

        What is known to be damaged is not built on. Contents are not read: see `seal`.
        """
        count = len(before.ids)
        there, here = names(*self._place, count), names(*self._place, count + 1)[:count]
        for origin in whereabouts(before.folder):
            try:
                verify(origin, contents_of=())
                for old, new in zip(there, here, strict=True):
                    os.link(origin / old, folder / new)
                if tuple(_id(folder / new) for new in here) == before.ids:
                    return True
            except (OSError, DataError):
                pass
            for new in here:
                durable.remove(folder / new)
        return False


def _id(file: Path) -> str:
    state = next(load(file), None)
    return "" if state is None else str(state.meta.get("id", ""))


def _bytes(store: ParameterStore, changes: dict[str, Change]) -> int:
    """Bytes of the rows in a delta."""
    total = 0
    for name, table in store.tables.items():
        change = changes.get(name)
        if change is None:
            total += len(table) * table.row_bytes
        else:
            total += len(change.rows) * table.row_bytes + change.removed.nbytes
    return total
