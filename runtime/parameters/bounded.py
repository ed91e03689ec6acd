"""An embedding table with bounds: an id gets a row once it has been seen often enough, and rows leave or fade.

Everything that is counted or changed is so by gradients, never by lookups: gradients take effect exactly once, and
what they change here is undone with them when a job goes back to a checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array, Counts, Ids, Rows
from elasticdl_nb.runtime.parameters.optimizers.rules import Rule
from elasticdl_nb.runtime.parameters.rows import halves
from elasticdl_nb.runtime.parameters.rows.counters import BYTES, CountBlock, Counters
from elasticdl_nb.runtime.parameters.rows.freeze import FrozenRows
from elasticdl_nb.runtime.parameters.rows.index import KERNELS, ReusedIndex, deduplicate
from elasticdl_nb.runtime.parameters.rows.recency import FREE, Departures, Recency, StepTimes
from elasticdl_nb.runtime.parameters.table import Change, EmbeddingTable, Mark, RowBlock, TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds

_LOOKUPS, _VALUES = 32, 1 << 20
"""A table remembers so many lookups, and the initial values that they found, up to so many: gradients come later."""


class _Lookup(NamedTuple):
    """What a lookup found: the rows of ids or -1, the initial values of the latter, and the index's state then."""

    ids: Ids
    rows: Rows
    initial: Array
    changes: int


def new_table(spec: TableSpec, rule: Rule, server: int = 0, servers: int = 1) -> EmbeddingTable:
    """Return the table, or one server's share of it, that a specification asks for."""
    return EmbeddingTable(spec, rule) if spec.bounds is None else BoundedTable(spec, rule, server, servers)


class BoundedTable(EmbeddingTable):
    """See `EmbeddingTable` and `Bounds`; `server` of `servers` holds this share of the table.

    An id without a row has its initial value in every lookup, and its gradients change nothing. A row that leaves takes
    its slots along. `admitted` and `evicted` count the rows that came and went.
    """

    _bounds: Bounds

    def __init__(
        self, spec: TableSpec, rule: Rule, server: int = 0, servers: int = 1, use: ModuleType = KERNELS
    ) -> None:
        super().__init__(spec, rule, use)
        self._bounds = spec.bounds or Bounds()
        self._most = self._bounds.share(server, servers)
        self._reused = ReusedIndex(use)
        self._recency = Recency()
        self._counters = Counters(self._bounds.min_count, self._bounds.counted(servers), use)
        self.times = StepTimes(self._bounds.ttl_seconds)
        self.admitted = self.evicted = 0
        self._step = 0
        self._left = Departures()
        self._lookups: deque[_Lookup] = deque(maxlen=_LOOKUPS)

    def __len__(self) -> int:
        return len(self._reused)

    @property
    def nbytes(self) -> int:
        """Bytes of rows, slots, index, last uses and counters."""
        arrays = (self._recency.last, self._weights, *self._slots)
        return self._reused.nbytes + self._counters.nbytes + sum(array.nbytes for array in arrays) + self._left.nbytes

    @property
    def row_bytes(self) -> int:
        """See `EmbeddingTable.row_bytes`; the last use comes with its id."""
        return super().row_bytes + 16

    @property
    def saved_bytes(self) -> int:
        """See `EmbeddingTable.saved_bytes`."""
        return super().saved_bytes + BYTES * len(self._counters)

    def lookup(self, ids: Ids, *, create: bool = True, held: bool = False) -> NDArray[Any]:
        """See `EmbeddingTable.lookup`; no row is ever created. With `create`, gradients of these ids may follow."""
        ids = self.checked_ids(ids)
        rows = self._reused.find(ids)
        out = self._read(ids, rows, held)
        if create and ids.size:
            self._lookups.append(_Lookup(ids.copy(), rows, halves.floats(out[rows < 0]), self._reused.changes))
            while sum(one.initial.size for one in self._lookups) > _VALUES:
                self._lookups.popleft()
        return out

    def _looked_up_before(self, ids: Ids) -> _Lookup | None:
        """Return and forget what the lookup of these ids found."""
        for number, one in enumerate(self._lookups):
            if one.ids.size == ids.size and one.ids[0] == ids[0] and np.array_equal(one.ids, ids):
                del self._lookups[number]
                return one
        return None

    def find(self, ids: Ids) -> Rows:
        """Not for a table with bounds, in which an id need not have a row."""
        return self.locate(ids)

    def locate(self, ids: Ids, found: Rows | None = None) -> Rows:
        """See `find`."""
        raise DataError(f"embedding {self.spec.name} has bounds: its rows have no fixed places")

    def apply(
        self,
        ids: Ids,
        gradients: Array,
        learning_rate: np.float32 | float,
        step: int,
        *,
        counts: Counts | None = None,
        now: float = 0.0,
        distinct: bool = False,
    ) -> None:
        """See `EmbeddingTable.apply`. `counts`, int32 [n], is how often each id was seen, once if not given; `now` is
        the time in seconds.

        Each step must be later than the one before. Rows that have gone unused for too long leave first. Then ids that
        have been seen often enough get rows, and those unused longest leave for them; of a step that alone needs more
        rows than there may be, the first ids get them.
        """
        ids, gradients = self.checked_ids(ids), self.checked_gradients(ids, gradients)
        counts = np.ones(ids.size, np.int32) if counts is None else counts
        if not distinct:
            ids, gradients, counts = self._distinct(ids, gradients, counts)
        self._step = step
        self._let_leave(step, now)
        before = self._looked_up_before(ids) if ids.size else None
        unchanged = before is not None and before.changes == self._reused.changes
        rows = before.rows.copy() if before is not None and unchanged else self._reused.find(ids)
        known = rows[rows >= 0]
        self._before_write(known)
        self._fade(known, step)
        self._recency.use(known, step)
        if known.size < ids.size:
            self._let_in(ids, counts, rows, step, before)
            taken = np.flatnonzero(rows >= 0)
            if taken.size < ids.size:
                rows, gradients = rows[taken], gradients[taken]
        if rows.size:
            self._update(rows, gradients, np.float32(learning_rate), step)

    def _ids_by_row(self) -> Ids:
        return self._reused.known.data

    def _let_leave(self, step: int, now: float) -> None:
        bounds = self._bounds
        seconds = 0
        if bounds.ttl_seconds:
            seconds = self.times.before(now)
            self.times.note(step, now)
        if oldest := bounds.oldest(step, seconds):
            self._evict(oldest, len(self), step - 1)

    def _fade(self, rows: Rows, step: int) -> None:
        """Let fade what the optimizer keeps for these rows, by the steps between their last use and this one."""
        half_life = self._bounds.slot_half_life
        if not half_life:
            return
        between = step - 1 - self._recency.last.data[rows]
        away = np.flatnonzero(between > 0)
        if away.size:
            factors = np.exp2(-between[away] / half_life).astype(np.float32)
            for slot in self._slots:
                self._kernels.fade(slot.data, rows[away], factors, np.float32(slot.fill))

    def _distinct(self, ids: Ids, gradients: Array, counts: Counts) -> tuple[Ids, Array, Counts]:
        """Return distinct ids, with the sums of what belongs to equal ones."""
        unique, inverse = deduplicate(ids, self._kernels)
        if unique.size == ids.size:
            return ids, gradients, counts
        total = np.zeros((unique.size, self.spec.dim), np.float32)
        self._kernels.add_rows(total, inverse, gradients)
        return unique, total, np.bincount(inverse, counts, unique.size).astype(np.int32)

    def _let_in(self, ids: Ids, counts: Counts, rows: Rows, step: int, before: _Lookup | None) -> None:
        """Give rows to ids that have none and were seen often enough, in `rows`."""
        absent = np.flatnonzero(rows < 0)
        if self._bounds.min_count > 1:
            absent = absent[self._counters.add(ids[absent], counts[absent])]
        if self._most:
            over = len(self) + absent.size - self._most
            if over > 0:
                self._evict(step - 1, over, step - 1)
                absent = absent[: self._most - len(self)]
        if not absent.size:
            return
        new = ids[absent]
        if self._bounds.min_count > 1:
            self._counters.reset(new)
        rows[absent] = self._place(new, step, self._initial_values(ids, absent, before))
        self.admitted += absent.size

    def _initial_values(self, ids: Ids, places: NDArray[np.intp], before: _Lookup | None) -> Array:
        """Return the initial values of the ids at these places; those that the lookup found are not computed again."""
        values = np.empty((places.size, self.spec.dim), np.float32)
        missing = np.ones(places.size, np.bool_)
        if before is not None:
            absent = before.rows < 0
            missing = ~absent[places]
            values[~missing] = before.initial[(np.cumsum(absent) - 1)[places[~missing]]]
        if missing.any():
            computed = np.empty((int(missing.sum()), self.spec.dim), np.float32)
            self._initial(ids[places[missing]], computed)
            values[missing] = computed
        return values

    def _place(self, new: Ids, step: int, values: Array | None = None) -> Rows:
        """Give rows to ids that have none, with these values unless they will be overwritten."""
        before = self._reused.length
        rows = self._reused.reserve(new.size)
        self._before_write(rows)
        self._reused.put(new, rows)
        for array in (self._recency.last, self._weights, *self._slots):
            array.grow(self._reused.length)
        self._recency.use(rows, step)
        if values is not None:
            self._kernels.scatter(self._weights.data, rows, halves.held_as(self._weights.dtype, values))
            again = rows[rows < before]
            for slot in self._slots:
                self._kernels.scatter(slot.data, again, np.full((again.size, self.spec.dim), slot.fill, np.float32))
        return rows

    def _evict(self, until: int, most: int, over: int) -> None:
        """Let up to `most` rows leave that were last used at this step or before, those unused longest first.

        `over` is the last step that is over.
        """
        recency, index = self._recency, self._reused
        while most > 0 and (rows := recency.next(index.known.data, len(self), until, most, over)).size:
            self._before_write(rows)
            self._left.note(self._step, index.known.data[rows], len(self))
            recency.leave(rows)
            index.remove(rows)
            self.evicted += rows.size
            most -= rows.size

    # A row's last use is when it last changed.

    def mark(self) -> Mark:
        """See `EmbeddingTable.mark`."""
        self._left.begin(self._step)
        return Mark(self._step, self._counters.mark())

    def changed(self, mark: Mark) -> Change | None:
        """See `EmbeddingTable.changed`."""
        if not self._left.known_since(mark.rows):
            return None
        last = self._recency.last.view
        rows = np.flatnonzero(last > mark.rows).astype(np.int32)
        rows = rows[last[rows] != FREE]
        return Change(rows, self._left.since(mark.rows), [*self._counters.export(mark.counts)])

    def ids(self) -> Ids:
        """Return the ids of all rows, int64 [rows]; a copy."""
        ids: Ids = self._reused.known.view[self._recency.last.view != FREE]
        return ids

    # ------------------------------------------------------------ checkpoints

    def export(self, only: Rows | None = None) -> Iterator[RowBlock]:
        """See `EmbeddingTable.export`."""
        return self._export(self._freeze((self._reused.known, self._recency.last, self._weights, *self._slots), only))

    def _export(self, frozen: FrozenRows) -> Iterator[RowBlock]:
        for _, arrays in frozen.blocks():
            used = np.flatnonzero(arrays[1] != FREE)
            ids, uses, weights, *slots = arrays if used.size == len(arrays[1]) else [array[used] for array in arrays]
            if ids.size:
                yield RowBlock(ids, weights, tuple(slots), uses)

    @property
    def half(self) -> int:
        """The number of the current half of the counters: see `Counters`."""
        return self._counters.half

    def counters(self) -> Iterator[CountBlock]:
        """Return how often ids without a row have been seen, as of this call."""
        return self._counters.export()

    def restore_counters(self, block: CountBlock) -> None:
        """Add exported counters."""
        self._counters.restore(block)

    def restore_half(self, half: int) -> None:
        """Set the number of the current half; with those of several servers, their order does not matter."""
        self._counters.half = max(self._counters.half, half)

    def restore(self, block: RowBlock) -> None:
        """See `EmbeddingTable.restore`. Call `settle` after the last block."""
        values = self._checked_block(block)
        ids = self.checked_ids(block.ids)
        rows = self._reused.find(ids)
        absent = np.flatnonzero(rows < 0)
        rows[absent] = self._place(ids[absent], 0)
        self._set(rows, values)

    def restore_uses(self, ids: Ids, uses: Ids) -> None:
        """Set the steps of the last uses of restored rows."""
        rows = self._reused.find(self.checked_ids(ids))
        self._recency.last.data[rows[rows >= 0]] = uses[rows >= 0]

    def settle(self, step: int) -> None:
        """End a restoration to this step: rows whose last use is not known count as used then, and too many leave."""
        last = self._recency.last.view
        last[last == 0] = self._step = step
        self._recency.forget()
        if self._most and len(self) > self._most:
            self._evict(step, len(self) - self._most, step)


def summed_counts(ids: Ids, counts: Counts, use: ModuleType = KERNELS) -> Counts:
    """Return how often each distinct id was seen, in the order of their appearance."""
    unique, inverse = deduplicate(ids, use)
    if unique.size == ids.size:
        return counts
    return np.bincount(inverse, counts, unique.size).astype(np.int32)
