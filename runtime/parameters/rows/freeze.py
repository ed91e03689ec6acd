"""A copy of rows as they are now, which can be read later while the rows keep changing.

Nothing is copied at first. Code that is about to change rows calls `before_write`, which keeps the old values of those
that have not been read yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.arrays import Rows
from elasticdl_nb.runtime.parameters.rows.memory import GrowableArray

_NOT_WANTED = -1


class FrozenRows:
    """The rows of `arrays` (each with `length` rows at this moment), or `only` these, int32 in ascending order."""

    def __init__(self, arrays: Sequence[GrowableArray], block: int, only: Rows | None = None) -> None:
        self._arrays = arrays
        self._length = arrays[0].length
        self._block = block
        self._only = only
        self._position = 0
        if only is None:
            self._saved_at = np.zeros(self._length, np.int32)
        else:
            self._saved_at = np.full(self._length, _NOT_WANTED, np.int32)
            self._saved_at[only] = 0
        self._saved = [GrowableArray(array.tail, array.dtype) for array in arrays]

    def before_write(self, rows: Rows) -> None:
        """Keep the values of `rows`, int32 [n] and all distinct, which are about to change."""
        rows = rows[(rows >= self._position) & (rows < self._length)]
        rows = rows[self._saved_at[rows] == 0]
        if not rows.size:
            return
        start = self._saved[0].length
        for array, saved in zip(self._arrays, self._saved, strict=True):
            saved.grow(start + rows.size)
            saved.data[start : saved.length] = array.data[rows]
        self._saved_at[rows] = np.arange(start + 1, start + 1 + rows.size)

    def blocks(self) -> Iterator[tuple[slice | Rows, list[NDArray[Any]]]]:
        """Yield (rows, values of each array) block by block."""
        for rows, stop in self._chosen():
            values = [array.data[rows].copy() for array in self._arrays]
            places = self._saved_at[rows]
            changed = np.flatnonzero(places)
            for value, saved in zip(values, self._saved, strict=True):
                value[changed] = saved.data[places[changed] - 1]
            self._position = stop
            yield rows, values

    def _chosen(self) -> Iterator[tuple[slice | Rows, int]]:
        """Yield the rows of each block, and the one that comes after the last of them."""
        if self._only is None:
            for start in range(0, self._length, self._block):
                stop = min(start + self._block, self._length)
                yield slice(start, stop), stop
        else:
            for start in range(0, len(self._only), self._block):
                rows = self._only[start : start + self._block]
                yield rows, int(rows[-1]) + 1
