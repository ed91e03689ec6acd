"""From ids to rows: the first id ever seen is row 0, the next new one row 1, and so on.

Where ids can leave (`ReusedIndex`), the rows that they leave are used again first.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from elasticdl_nb.runtime import compiled
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Ids, Rows
from elasticdl_nb.runtime.parameters.rows import kernels, kernels_numpy, memory

SMALLEST = 1024
MOST_ROWS = 2**31 - 2

KERNELS: ModuleType = kernels if compiled.ENABLED else kernels_numpy


class RowIndex:
    """The ids of a table; any int64 is an id, negative ones too. `use` names the kernels module, for tests."""

    def __init__(self, use: ModuleType = KERNELS) -> None:
        self._kernels = use
        self._known = memory.GrowableArray((), np.int64)
        self._slots = memory.zeros(SMALLEST, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def ids(self) -> Ids:
        """The ids by row, int64 [rows]; a view that the next insertion may make outdated."""
        return self._known.data[: self._count]

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._count * 8 + int(self._slots.nbytes)

    def find(self, ids: Ids) -> Rows:
        """Return the rows of `ids`, int32 [n]; -1 where an id is unknown."""
        rows = np.empty(ids.size, np.int32)
        self._kernels.find(self._slots, self._known.data, ids, rows)
        return rows

    def find_or_insert(self, ids: Ids) -> Rows:
        """Return the rows of `ids`, int32 [n], adding the unknown ones in the order of their appearance.

        Raises DataError if the table would have more than 2^31 rows on one server.
        """
        rows = np.empty(ids.size, np.int32)
        if self._count + ids.size > MOST_ROWS:
            raise _too_many()
        self._known.grow(self._count + ids.size)
        position = 0
        while True:
            self._count, position = self._kernels.find_or_insert(
                self._slots, self._known.data, self._count, ids, rows, position
            )
            if position == ids.size:
                return rows
            self._double()

    def _double(self) -> None:
        size = 2 * self._slots.size
        del self._slots
        self._slots = memory.zeros(size, np.int32)
        self._kernels.rebuild(self._slots, self._known.data, self._count)


class ReusedIndex:
    """The ids of a table that ids can leave. Rows that no id has are given to the next ids, the latest first."""

    def __init__(self, use: ModuleType = KERNELS) -> None:
        self._kernels = use
        self.known = memory.GrowableArray((), np.int64)
        """The ids by row; at a row that no id has, anything."""
        self._slots = memory.zeros(SMALLEST, np.int32)
        self._free = memory.GrowableArray((), np.int32)
        self._unused = 0
        self.changes = 0
        """Grows whenever ids get or leave rows."""

    def __len__(self) -> int:
        return self.known.length - self._unused

    @property
    def length(self) -> int:
        """How many rows there are, with those that no id has."""
        return self.known.length

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self.known.nbytes + self._free.nbytes + int(self._slots.nbytes)

    def find(self, ids: Ids) -> Rows:
        """Return the rows of `ids`, int32 [n]; -1 where an id is unknown."""
        rows = np.empty(ids.size, np.int32)
        self._kernels.find(self._slots, self.known.data, ids, rows)
        return rows

    def reserve(self, count: int) -> Rows:
        """Return so many rows, int32, that no id has; `put` must follow. Raises DataError as `RowIndex`."""
        reused = min(self._unused, count)
        new = count - reused
        if self.length + new > MOST_ROWS:
            raise _too_many()
        rows = np.empty(count, np.int32)
        rows[:reused] = self._free.data[self._unused - reused : self._unused][::-1]
        rows[reused:] = np.arange(self.length, self.length + new)
        return rows

    def put(self, ids: Ids, rows: Rows) -> None:
        """Give the rows just reserved to ids, int64 [n], distinct and unknown."""
        self.changes += 1
        self._unused -= min(self._unused, rows.size)
        self.known.grow(int(rows.max(initial=-1)) + 1)
        while len(self) > self._slots.size // 8 * 5:
            self._double()
        self.known.data[rows] = ids
        self._kernels.insert(self._slots, ids, rows)

    def remove(self, rows: Rows) -> None:
        """Let ids leave their rows, int32 [n] and distinct."""
        self.changes += 1
        self._kernels.remove(self._slots, self.known.data, rows)
        self._free.grow(self._unused + rows.size)
        self._free.data[self._unused : self._unused + rows.size] = rows
        self._unused += rows.size

    def _double(self) -> None:
        old = self._slots[self._slots > 0] - np.int32(1)
        self._slots = memory.zeros(2 * self._slots.size, np.int32)
        self._kernels.insert(self._slots, self.known.data[old], old)


def _too_many() -> DataError:
    return DataError(f"an embedding table would grow beyond {MOST_ROWS} rows on one parameter server; use more of them")


def deduplicate(ids: Ids, use: ModuleType = KERNELS) -> tuple[Ids, Rows]:
    """Return the distinct ids, int64 [m], as they first appear, and the place of each id among them, int32 [n]."""
    slots = np.zeros(max(8, 1 << (2 * ids.size - 1).bit_length()), np.int32)
    unique, inverse = np.empty(ids.size, np.int64), np.empty(ids.size, np.int32)
    count, _ = use.find_or_insert(slots, unique, 0, ids, inverse, 0)
    return unique[:count], inverse
