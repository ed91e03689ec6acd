"""What a server writes next: everything, or what has changed since a file that it has written before.

The files of earlier checkpoints get another name in the new one's folder (a hard link), where the file system can do
that; otherwise everything is written. Nothing depends on whether an earlier checkpoint was completed, kept, or removed:
its files are linked if they are still there and are those that were written.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.checkpoints.chain import file_id, names, own_names
from elasticdl_nb.runtime.parameters.checkpoints.compacting import Beside, Compactions, Written
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import Change
from elasticdl_nb.runtime.storage.checkpoints import verify, whereabouts

_REMEMBERED = 2
"""Files on which the next may build: if the latest was part of a checkpoint that failed, it is the one before."""


_TRIES = 2
"""Deltas that build on the same file, because checkpoints failed, before everything is written."""

SHARE = 0.5
"""A chain ends when its deltas add up to more than this share of the rows."""

EARLY = 2 / 3
"""The part of the way to its end at which a chain is compacted."""

PATIENCE = 2
"""A chain may become so many times as long while it is compacted."""


@dataclass(frozen=True)
class Deltas:
    """How many deltas may follow a whole file, and from how many bytes of rows on there are any."""

    most: int = 0
    from_bytes: int = 0


NO_DELTAS = Deltas()
NO_CHANGES: Mapping[str, Change] = {}


@dataclass(frozen=True)
class Capture:
    """A server's state at an instant, to be written to `path`; call `written` once it is there."""

    path: Path
    frames: Iterator[Frame]
    written: Callable[[], None]


class Chains:
    """Captures a server's state, again and again. Calls come from one thread, except for `Capture.written`.

    `beside` runs work beside those calls: with it, a long chain becomes one file there. Without it, everything is
    written once a chain is as long as it may be.
    """

    def __init__(self, deltas: Deltas, server: int = 0, servers: int = 1, beside: Beside | None = None) -> None:
        self._deltas, self._place = deltas, (server, servers)
        self._written: deque[Written] = deque(maxlen=_REMEMBERED)
        self._tries: Counter[str] = Counter()
        self._compactions = Compactions(server, servers, beside)

    def capture(self, store: ParameterStore, folder: Path) -> Capture:
        """Capture a store's state, to be written into the folder of a checkpoint. Raises OSError."""
        whole, compacted = _bytes(store), self._compactions.result
        grows, patience = self._grows(whole), PATIENCE if self._compactions.under_way else 1
        for before in self._bases(compacted) if grows else ():
            changes = None if len(before.ids) > patience * self._deltas.most else store.changed(before.marks)
            size = before.size + _bytes(store, changes or {})
            if changes is None or size > patience * SHARE * whole:
                if before is compacted:
                    continue
                break
            if (origin := self._linked(before, folder)) is not None:
                self._tries[before.ids[-1]] += 1
                if compacted not in (None, before):
                    self._compactions.used()
                if self._is_long(before, whole):
                    count = len(before.ids)
                    files = [folder / name for name in names(*self._place, count + 1)[:count]]
                    self._compactions.begin(before, origin, files)
                return self._captured(store, folder, changes, before.ids, size)
        self._compactions.forget()
        return self._captured(store, folder, None, (), 0, follow=grows)

    def continue_from(self, store: ParameterStore, folder: Path) -> None:
        """The store was just restored from this checkpoint of the same job: what comes next may build on it."""
        count = len(own_names(folder, *self._place))
        if count and self._grows(_bytes(store)):
            files = [folder / name for name in names(*self._place, count)]
            ids = tuple(map(file_id, files))
            if all(ids):  # else it is of a version without them
                size = sum(file.stat().st_size for file in files[1:])
                self._written.append(Written(folder, ids, store.mark(), size))

    def stop(self) -> None:
        """Nothing is captured any more."""
        self._compactions.forget()

    def _grows(self, whole: int) -> bool:
        return self._deltas.most > 0 and whole >= max(1, self._deltas.from_bytes)

    def _is_long(self, chain: Written, whole: int) -> bool:
        """Whether to compact a chain, early enough that this is done before the chain ends."""
        deltas = len(chain.ids) - 1
        return deltas >= max(1, int(EARLY * self._deltas.most)) or chain.size > EARLY * SHARE * whole

    def _bases(self, compacted: Written | None) -> list[Written]:
        """What the next file may build on, the best first; another thread may add to what was written."""
        bases = list(self._written)[::-1]
        if compacted is not None:  # before what it takes the place of
            bases.append(compacted)
            bases.sort(key=lambda one: 0 if one.ids[0] == compacted.ids[0] else 1)
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
        written = Written(folder, ids, store.mark(), size) if follow else None
        path = folder / names(*self._place, len(ids))[-1]
        return Capture(path, frames, lambda: self._written.append(written) if written else None)

    def _linked(self, before: Written, folder: Path) -> Path | None:
        """Give the files of a chain their names in another folder; return where all were, or None.

        What is known to be damaged is not built on. Contents are not read: see `seal`.
        """
        count = len(before.ids)
        there, here = names(*self._place, count), names(*self._place, count + 1)[:count]
        for origin in whereabouts(before.folder):
            try:
                verify(origin, contents_of=())
                for old, new in zip(there, here, strict=True):
                    os.link(origin / old, folder / new)
                if tuple(file_id(folder / new) for new in here) == before.ids:
                    return origin
            except (OSError, DataError):
                pass
            for new in here:
                durable.remove(folder / new)
        return None


def _bytes(store: ParameterStore, changes: Mapping[str, Change] = NO_CHANGES) -> int:
    """Bytes that tables take in a checkpoint: of those in `changes`, only that, and of all others everything."""
    return sum(
        table.change_bytes(changes[name]) if name in changes else table.saved_bytes
        for name, table in store.tables.items()
    )
