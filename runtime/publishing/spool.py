"""Rows in the order of their ids, without holding them in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.arrays import Array, Ids
from elasticdl_nb.runtime.parameters.mapped.form import STORED, encoded
from elasticdl_nb.runtime.parameters.rows.halves import floats


class Spool:
    """Takes rows in any order, each id once, and gives them back sorted; use it in a `with` block.

    The rows, [n, dim], are kept as they will be stored, in a file in `folder` that has no name.
    """

    def __init__(self, folder: Path, dim: int, dtype: str) -> None:
        self._dim, self._dtype = dim, dtype
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by __exit__
        self._ids: list[Ids] = []
        self._scales: list[Array] = []
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows: NDArray[Any] = np.zeros((0, dim), STORED[dtype])
        self._factors: Array | None = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, ids: Ids, rows: NDArray[Any]) -> None:
        """Take the rows, [n, dim], of `ids`, int64 [n], in one of the types of `halves.HELD`."""
        self.add_stored(ids, *encoded(floats(rows), self._dtype))

    def add_stored(self, ids: Ids, stored: NDArray[Any], scales: Array | None) -> None:
        """The same for rows as they are stored, and for int8 their factors."""
        self._ids.append(np.array(ids, np.int64))
        self._file.write(np.ascontiguousarray(stored, STORED[self._dtype]).reshape(-1).view(np.uint8).data)
        if scales is not None:
            self._scales.append(np.array(scales, np.float32))

    def sorted_ids(self) -> Ids:
        """No more rows come: return all ids, in ascending order, for `fetch`."""
        ids = np.concatenate([np.zeros(0, np.int64), *self._ids])
        self._order = np.argsort(ids, kind="stable")
        self._file.flush()
        if ids.size:
            self._rows = np.memmap(self._file, STORED[self._dtype], "r", shape=(ids.size, self._dim))
        if self._dtype == "int8":
            self._factors = np.concatenate([np.zeros(0, np.float32), *self._scales])
        return ids[self._order]

    def fetch(self, start: int, stop: int) -> tuple[NDArray[Any], Array | None]:
        """Return the rows of ids[start:stop] as they are stored, and for int8 their factors."""
        places = self._order[start:stop]
        return self._rows[places], None if self._factors is None else self._factors[places]
