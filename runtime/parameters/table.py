"""An embedding table: rows are created when they are first requested."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array, Counts, Ids, Rows
from elasticdl_nb.runtime.parameters.initializers import RowInitializer, row_initializer
from elasticdl_nb.runtime.parameters.optimizers.rules import Rule
from elasticdl_nb.runtime.parameters.rows import halves
from elasticdl_nb.runtime.parameters.rows.counters import CountBlock
from elasticdl_nb.runtime.parameters.rows.freeze import FrozenRows
from elasticdl_nb.runtime.parameters.rows.index import KERNELS, RowIndex, deduplicate
from elasticdl_nb.runtime.parameters.rows.memory import GrowableArray
from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.spec.tableoptions import FLOAT32

# The type that kernels are compiled for; parts of messages may begin at any address.
ALIGNED: Sequence[Literal["C", "A"]] = ("C", "A")

# Approximate bytes of weights and slots in one exported block.
EXPORT_BYTES = 4 << 20

# A table remembers the rows of so many lookups, and of so many ids: gradients come a few lookups later.
_LOOKUPS, _IDS = 32, 1 << 20

_NO_IDS: Ids = np.empty(0, np.int64)

Spread = Callable[[Callable[[int, int], None], int], None]
"""Calls a function with ranges (start, stop) that cover so many rows, one after the other or in several threads."""


def at_once(work: Callable[[int, int], None], count: int) -> None:
    """Call a function with a single range: see `Spread`."""
    work(0, count)


@dataclass(frozen=True)
class TableSpec:
    """A worker's declaration of a table; `initializer` is a Keras initializer's name or serialized form.

    `row_dtype` is how the values of rows are held, float32 or bfloat16; optimizers' slots are always float32.
    """

    name: str
    dim: int
    initializer: str | Mapping[str, Any] = "uniform"
    input_dim: int | None = None
    seed: int = 0
    bounds: Bounds | None = None
    row_dtype: str = FLOAT32

    @property
    def counts_ids(self) -> bool:
        """Whether ids are counted before they get rows."""
        return self.bounds is not None and self.bounds.min_count > 1

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableSpec:
        """Read back what `to_json` wrote; raises TypeError for anything else."""
        return cls(**{**values, "bounds": Bounds.from_json(values.get("bounds"))})

    def to_json(self) -> dict[str, Any]:
        """Return the specification as plain JSON values; earlier versions know it with float32 rows."""
        plain = asdict(self) | {"bounds": None if self.bounds is None else self.bounds.to_json()}
        if self.row_dtype == FLOAT32:
            del plain["row_dtype"]
        return plain

    def initial(self) -> RowInitializer:
        """Return what makes the initial values of rows. Raises ModelError."""
        return row_initializer(
            self.initializer, self.name, self.dim, seed=self.seed, input_dim=self.input_dim, row_dtype=self.row_dtype
        )


class RowBlock(NamedTuple):
    """Some rows of a table: ids int64 [n], weights [n, dim], and each slot, float32 [n, dim].

    Weights are float32, or bfloat16 as `halves` has it. `uses`, int64 [n], are the steps of their last uses, in a table
    with bounds.
    """

    ids: Ids
    weights: NDArray[Any]
    slots: tuple[Array, ...]
    uses: Ids | None = None


class Mark(NamedTuple):
    """An instant, as a table tells it: of its rows, and of what it counts."""

    rows: int
    counts: int = 0


class Change(NamedTuple):
    """What has changed in a table: rows, int32 in ascending order; ids, int64, whose rows have left, though some may
    have come back; and counters."""

    rows: Rows
    removed: Ids = _NO_IDS
    counts: Sequence[CountBlock] = ()


class EmbeddingTable:
    """Rows of `spec.dim` values by int64 id, with the optimizer's slots; see `TableSpec`.

    Calls come from one thread; exports may be read between other calls.
    """

    def __init__(self, spec: TableSpec, rule: Rule, use: ModuleType = KERNELS) -> None:
        if spec.dim < 1:
            raise DataError(f"embedding {spec.name}: rows of {spec.dim} values; at least 1 is needed")
        self.spec = spec
        self.rule = rule
        self._kernels = use
        self._index = RowIndex(use)
        self._initial = spec.initial()
        self._weights = GrowableArray((spec.dim,), halves.HELD[spec.row_dtype])
        self._slots = tuple(GrowableArray((spec.dim,), np.float32, slot.initial) for slot in rule.slots)
        self._frozen: weakref.WeakSet[FrozenRows] = weakref.WeakSet()
        self._looked_up: deque[tuple[Ids, Rows]] = deque(maxlen=_LOOKUPS)
        self._changed_at = GrowableArray((), np.int32)
        self._marks = 0  # as long as there are none, nothing is noted

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        """Bytes of rows, slots and index."""
        return self._index.nbytes + sum(array.nbytes for array in (self._changed_at, self._weights, *self._slots))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in a checkpoint: its id, its values, and what the optimizer keeps."""
        return 8 + self.spec.dim * (self._weights.dtype.itemsize + 4 * len(self._slots))

    @property
    def saved_bytes(self) -> int:
        """Bytes that a checkpoint of all of it takes, as good as."""
        return len(self) * self.row_bytes

    def change_bytes(self, change: Change) -> int:
        """Bytes that a checkpoint of these changes takes, as good as."""
        counts = sum(block.ids.nbytes + block.counts.nbytes for block in change.counts)
        return len(change.rows) * self.row_bytes + change.removed.nbytes + counts

    def lookup(self, ids: Ids, *, create: bool = True, held: bool = False) -> NDArray[Any]:
        """Return the rows of `ids`, int64 [n], as float32 [n, dim], or as they are `held`.

        Absent rows get their initial value; they are kept if `create`, and otherwise only returned.
        """
        ids = self.checked_ids(ids)
        if create:
            out = self._space(ids.size, held)
            rows = self._rows(ids)
            self.gather(rows, out)
            self._remember(ids, rows)
            return out
        return self._read(ids, self._index.find(ids), held)

    def _space(self, count: int, held: bool) -> NDArray[Any]:
        return np.empty((count, self.spec.dim), self._weights.dtype if held else np.float32)

    def _read(self, ids: Ids, rows: Rows, held: bool) -> NDArray[Any]:
        """Return the rows of `ids`, or the initial values of those that have none, which is -1."""
        out = self._space(ids.size, held)
        absent = np.flatnonzero(rows < 0)
        if absent.size < ids.size:
            self.gather(np.maximum(rows, 0) if absent.size else rows, out)
        if absent.size:
            initial = np.empty((absent.size, self.spec.dim), np.float32)
            self._initial(ids[absent], initial)
            out[absent] = halves.held_as(out.dtype, initial)
        return out

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
        """Update the rows of `ids`, int64 [n], by `gradients`, float32 [n, dim]; gradients of equal ids are summed
        first, unless all are known to be `distinct`.

        `step` counts from 1; `counts` and `now` are for tables with bounds. Raises DataError if the shapes do not fit,
        and then changes nothing.
        """
        ids, gradients = self.checked_ids(ids), self.checked_gradients(ids, gradients)
        if not distinct:
            ids, gradients = self.summed(ids, gradients)
        if ids.size:
            self.apply_at(self._rows_again(ids), gradients, learning_rate, step)

    def _remember(self, ids: Ids, rows: Rows) -> None:
        self._looked_up.append((ids.copy(), rows))  # a view would keep the whole message that it came in
        while sum(known.size for known, _ in self._looked_up) > _IDS:
            self._looked_up.popleft()

    def _rows_again(self, ids: Ids) -> Rows:
        """Return the rows of `ids` as a lookup not long ago found them, which takes less than to find them again.

        An id keeps its row, so that a remembered one is right.
        """
        for number, (known, rows) in enumerate(self._looked_up):
            if known.size == ids.size and known[0] == ids[0] and np.array_equal(known, ids):
                del self._looked_up[number]
                return rows
        return self._rows(ids)

    # ------------------------------------------------------------ by rows

    def locate(self, ids: Ids, found: Rows | None = None) -> Rows:
        """Return the rows of `ids`, int64 [n], for `gather` and `apply_at`; absent ones are created.

        `found` is what `find` returned for these ids, and is changed: rows that were there then still are.
        """
        if found is None:
            return self._rows(self.checked_ids(ids))
        absent = np.flatnonzero(found < 0)
        if absent.size:
            found[absent] = self._rows(self.checked_ids(ids[absent]))
        return found

    def find(self, ids: Ids) -> Rows:
        """Return the rows of `ids`, int64 [n], and -1 for absent ones; for a table without bounds."""
        return self._index.find(self.checked_ids(ids))

    def gather(self, rows: Rows, out: NDArray[Any]) -> None:
        """Copy rows to `out`, [n, dim], float32 or the type in which they are held."""
        copy = self._kernels.gather if out.dtype == self._weights.dtype else self._kernels.widen
        copy(self._weights.data, rows, out)

    def apply_at(
        self, rows: Rows, gradients: Array, learning_rate: np.float32 | float, step: int, spread: Spread = at_once
    ) -> None:
        """Update rows, all distinct, by `gradients`, float32 [n, dim]; `step` counts from 1."""
        self._before_write(rows)
        rate = np.float32(learning_rate)

        def apply(start: int, stop: int) -> None:
            self._update(rows[start:stop], gradients[start:stop], rate, step)

        if self.rule.in_parts:
            spread(apply, len(rows))
        else:
            apply(0, len(rows))

    def _update(self, rows: Rows, gradients: Array, rate: np.float32, step: int) -> None:
        slots = [slot.data for slot in self._slots]
        if self._weights.dtype == np.float32:
            self.rule.apply(self._weights.data, slots, rows, gradients, rate, step)
            return
        dim, noise = self.spec.dim, halves.noise(self._initial.key, step)
        block = max(1, halves.BLOCK_BYTES // (4 * dim) if self.rule.in_parts else len(rows))
        values = np.empty((min(block, len(rows)), dim), np.float32)
        for start in range(0, len(rows), block):
            some = rows[start : start + block]
            wide = values[: len(some)]
            self._kernels.widen(self._weights.data, some, wide)
            self.rule.apply(wide, slots, some, gradients[start : start + block], rate, step, apart=True)
            self._kernels.narrow(self._weights.data, some, wide, self._ids_by_row(), noise)

    def _ids_by_row(self) -> Ids:
        return self._index.ids

    def summed(self, ids: Ids, gradients: Array) -> tuple[Ids, Array]:
        """Return distinct ids and their gradients: those of equal ids are summed."""
        unique, inverse = deduplicate(ids, self._kernels)
        if unique.size == ids.size:
            return ids, gradients
        total = np.zeros((unique.size, self.spec.dim), np.float32)
        self._kernels.add_rows(total, inverse, gradients)
        return unique, total

    def checked_ids(self, ids: Ids) -> Ids:
        """Return `ids` as aligned, contiguous int64 [n] or raise DataError."""
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise DataError(
                f"embedding {self.spec.name}: ids must be a vector of integers, not {ids.dtype} {list(ids.shape)}"
            )
        return np.require(ids, np.int64, ALIGNED)

    def checked_gradients(self, ids: Ids, gradients: Array) -> Array:
        """Return `gradients` as aligned, contiguous float32 [n, dim] or raise DataError."""
        if gradients.shape != (len(ids), self.spec.dim):
            raise DataError(
                f"embedding {self.spec.name}: gradients of shape {list(gradients.shape)} for {len(ids)} ids and rows "
                f"of {self.spec.dim}"
            )
        return np.require(gradients, np.float32, ALIGNED)

    def ids(self) -> Ids:
        """Return the ids of all rows, int64 [rows], in the order of their creation; a copy."""
        return self._index.ids.copy()

    def export(self, only: Rows | None = None) -> Iterator[RowBlock]:
        """Return all rows as of this call, block by block, in the order of their creation; or `only` these, int32.

        Blocks are copies; updates applied between two of them do not show.
        """
        return self._export(self._freeze((self._weights, *self._slots), only))

    def _freeze(self, arrays: Sequence[GrowableArray], only: Rows | None) -> FrozenRows:
        frozen = FrozenRows(arrays, max(1, EXPORT_BYTES // (4 * self.spec.dim * len(arrays))), only)
        self._frozen.add(frozen)
        return frozen

    def _export(self, frozen: FrozenRows) -> Iterator[RowBlock]:
        for rows, (weights, *slots) in frozen.blocks():
            yield RowBlock(self._index.ids[rows].copy(), weights, tuple(slots))

    # ------------------------------------------------------------ changes

    def mark(self) -> Mark:
        """Return a mark of this instant, for `changed`."""
        self._marks += 1
        self._changed_at.grow(len(self))
        return Mark(self._marks)

    def changed(self, mark: Mark) -> Change | None:
        """Return what has changed since a mark, as of this call; None if that is not known."""
        return Change(np.flatnonzero(self._changed_at.view >= mark.rows).astype(np.int32))

    def _before_write(self, rows: Rows) -> None:
        """Rows, all distinct, are about to change."""
        for frozen in self._frozen:
            frozen.before_write(rows)
        if self._marks:
            self._changed_at.data[rows] = self._marks

    def restore(self, block: RowBlock) -> None:
        """Set rows to exported values, creating those that are absent; raises DataError if the shapes do not fit.

        Values that were held as another type are converted; float32 becomes the nearest bfloat16.
        """
        values = self._checked_block(block)
        rows = self._rows(self.checked_ids(block.ids), initialize=False)
        self._set(rows, values)

    def _set(self, rows: Rows, values: Sequence[NDArray[Any]]) -> None:
        self._before_write(rows)
        for array, value in zip((self._weights, *self._slots), values, strict=True):
            held = np.require(halves.held_as(array.dtype, value), array.dtype, ALIGNED)
            self._kernels.scatter(array.data, rows, held)

    def _checked_block(self, block: RowBlock) -> Sequence[NDArray[Any]]:
        """Return the values of rows, weights first, or raise DataError if the shapes do not fit."""
        values: Sequence[NDArray[Any]] = (block.weights, *block.slots)
        if len(block.slots) != len(self._slots) or any(v.shape != (len(block.ids), self.spec.dim) for v in values):
            raise DataError(
                f"embedding {self.spec.name}: rows of {self.spec.dim} with {len(self._slots)} slots are needed, not "
                f"shapes {[list(value.shape) for value in values]} for {len(block.ids)} ids"
            )
        return values

    def _rows(self, ids: Ids, *, initialize: bool = True) -> Rows:
        """Return the rows of `ids`; new ones are created, and initialized unless they will be overwritten."""
        before = len(self._index)
        rows = self._index.find_or_insert(ids)
        after = len(self._index)
        if after > before:
            for array in (self._weights, *self._slots):
                array.grow(after)
            if self._marks:
                self._changed_at.grow(after)
                self._changed_at.data[before:after] = self._marks
            if initialize:
                self._begin(before, after)
        return rows

    def _begin(self, first: int, stop: int) -> None:
        """Give rows their initial values."""
        ids, weights = self._index.ids[first:stop], self._weights.data[first:stop]
        if weights.dtype == np.float32:
            self._initial(ids, weights)
        else:
            values = np.empty(weights.shape, np.float32)
            self._initial(ids, values)
            weights[:] = halves.rounded(values)
