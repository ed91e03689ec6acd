"""How often ids without a row have been seen: a few bytes an id, for a bounded number of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.arrays import Counts, Ids
from elasticdl_nb.runtime.parameters.rows.index import KERNELS, RowIndex
from elasticdl_nb.runtime.parameters.rows.memory import GrowableArray

_BLOCK = 1 << 18

BYTES = 12
"""Bytes of one counter in a checkpoint: its id and its count."""

FIRST = 1
"""The number of the current half to begin with."""


class CountBlock(NamedTuple):
    """Some counters: ids int64 [n], counts int32 [n], and the number of the half; `late` if it is the current one."""

    late: bool
    ids: Ids
    counts: Counts
    half: int


class _Half:
    def __init__(self, use: ModuleType, dtype: Any) -> None:
        self.index = RowIndex(use)
        self.counts = GrowableArray((), dtype)
        self.changed_at = GrowableArray((), np.int32)

    @property
    def nbytes(self) -> int:
        return self.index.nbytes + self.counts.nbytes + self.changed_at.nbytes


class Counters:
    """Counts ids up to `enough`.

    Ids are counted in the current half. Once that has `capacity` of them, it becomes the earlier half, whose ids are
    forgotten unless they are seen again before the current half is full. So counts are exact for ids that come again
    before `capacity` others do; an id that takes longer may begin from the start, and is never counted twice.

    Halves are numbered in their order: `half` is the current one, and no other than it ever changes.
    """

    def __init__(self, enough: int, capacity: int, use: ModuleType = KERNELS) -> None:
        self._enough, self._capacity, self._kernels = enough, capacity, use
        self._dtype = np.min_scalar_type(enough)
        self._early, self._late = self._half(), self._half()
        self.half = FIRST
        self._marks = 0  # as long as there are none, nothing is noted

    def _half(self) -> _Half:
        return _Half(self._kernels, self._dtype)

    def __len__(self) -> int:
        return len(self._early.index) + len(self._late.index)

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._early.nbytes + self._late.nbytes

    def add(self, ids: Ids, times: Counts) -> NDArray[np.bool_]:
        """Count ids, int64 [n] and distinct, that were seen so many times; return which have been seen enough."""
        if len(self._late.index) >= self._capacity:
            self._early, self._late = self._late, self._half()
            self.half += 1
        late = self._late
        before = len(late.index)
        rows = late.index.find_or_insert(ids)
        late.counts.grow(len(late.index))
        new = late.index.ids[before:]
        if new.size and len(self._early.index):
            known = self._early.index.find(new)
            found = np.flatnonzero(known >= 0)
            late.counts.data[before + found] = self._early.counts.data[known[found]]
        total = np.minimum(late.counts.data[rows].astype(np.int64) + times, self._enough)
        late.counts.data[rows] = total
        if self._marks:
            late.changed_at.grow(len(late.index))
            late.changed_at.data[rows] = self._marks
        enough: NDArray[np.bool_] = total >= self._enough
        return enough

    def reset(self, ids: Ids) -> None:
        """Begin from the start for ids that were counted just now, so that they have changed: they have rows."""
        self._late.counts.data[self._late.index.find(ids)] = 0

    # ------------------------------------------------------------ checkpoints

    def mark(self) -> int:
        """Return a mark of this instant, for `export`."""
        self._marks += 1
        for half in (self._early, self._late):
            half.changed_at.grow(len(half.index))
        return self._marks

    def export(self, mark: int = 0) -> Iterator[CountBlock]:
        """Return copies of all counters, as of this call; or of those that have changed since a mark."""
        blocks = []
        for late, half in ((False, self._early), (True, self._late)):
            changed = np.flatnonzero(half.changed_at.view >= mark) if mark else None
            for start in range(0, len(half.index) if changed is None else changed.size, _BLOCK):
                part = slice(start, start + _BLOCK)
                rows = part if changed is None else changed[part]
                counts = half.counts.view[rows].astype(np.int32)
                blocks.append(CountBlock(late, half.index.ids[rows].copy(), counts, self.half - (not late)))
        return iter(blocks)

    def restore(self, block: CountBlock) -> None:
        """Add exported counters."""
        half = self._late if block.late else self._early
        rows = half.index.find_or_insert(np.ascontiguousarray(block.ids, np.int64))
        half.counts.grow(len(half.index))
        half.counts.data[rows] = np.minimum(block.counts, self._enough)
