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


class FrozenRows:
    """The rows of `arrays` (each with `length` rows at this moment)."""

    def __init__(self, arrays: Sequence[GrowableArray], block: int) -> None:
        self._arrays = arrays
        self._length = arrays[0].length
        self._block = block
        self._position = 0
        self._saved_at = np.zeros(self._length, np.int32)
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

    def blocks(self) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Yield (first row, values of each array) block by block."""
        while self._position < self._length:
            start, stop = self._position, min(self._position + self._block, self._length)
            values = [array.data[start:stop].copy() for array in self._arrays]
            places = self._saved_at[start:stop]
            changed = np.flatnonzero(places)
            for value, saved in zip(values, self._saved, strict=True):
                value[changed] = saved.data[places[changed] - 1]
            self._position = stop
            yield start, values
