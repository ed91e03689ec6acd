"""Tables of a trained model, looked up in their files.

Opening checks the size and header of every file and reads only the indices, so it costs little however large the tables
are. Contents are checked where all of them are read (`blocks`, `verify`).
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array, Ids
from elasticdl_nb.runtime.parameters.initializers import row_initializer
from elasticdl_nb.runtime.parameters.mapped.form import (
    Described,
    decoded,
    expected,
    file_of,
    kinds,
    read_description,
    stem,
)
from elasticdl_nb.runtime.parameters.mapped.search import find
from elasticdl_nb.runtime.parameters.partition import split_ids

RESIDENT = 256 << 20
"""About how many bytes of tables a process keeps in its memory. The system's cache holds what it has room for."""

_BLOCK = 1 << 16
_COUNTED = 4096
"""Rows between two looks at the process's memory."""


class MappedFile:
    """The array in a NumPy file, read through a mapping. Raises DataError if the file is not what is expected."""

    def __init__(self, path: Path, size: int, crc: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.path, self._size, self._crc = path, size, crc
        try:
            with open(path, "rb") as file:
                found = file.seek(0, 2)
                file.seek(0)
                header = _header(file)
                offset = file.tell()
                if found == size:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from None
        count = int(np.prod(shape, dtype=np.int64))
        if found != size or header != (shape, dtype) or offset + count * dtype.itemsize != size:
            raise DataError(
                f"{path} is damaged: it has {found} bytes, but was written with {size}, or its header differs"
            )
        self.array: NDArray[Any] = np.frombuffer(self._map, dtype, count, offset).reshape(shape)

    def scattered(self) -> None:
        """Say that places all over the file will be read, so that the system does not read around them."""
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    def give_back(self) -> None:
        """Let go of the pages in memory; those that are read again come from the system's cache, or the disk."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def verify(self) -> None:
        """Read everything; raises DataError if the checksum does not match."""
        crc = 0
        try:
            with open(self.path, "rb") as file:
                while block := file.read(1 << 20):
                    crc = zlib.crc32(block, crc)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}") from None
        if crc != self._crc:
            raise DataError(f"{self.path} is damaged: its checksum does not match")


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a NumPy file of version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran:
        raise ValueError("an array in Fortran's order")
    return shape, dtype


class MappedPart:
    """One server's rows."""

    def __init__(self, described: Described, stem: Path, number: int) -> None:
        part = described.parts[number]
        try:
            files = {
                kind: MappedFile(
                    file_of(stem, number, len(described.parts), kind), *part.files[kind],
                    *expected(kind, part.rows, described.spec.dim, described.dtype),
                ) for kind in kinds(described.dtype)
            }  # fmt: skip
        except KeyError as error:
            raise DataError(f"{stem}: the description lacks the file of {error}") from None
        self._files = files
        self._index = np.array(files["index"].array)
        self.ids: Ids = files["ids"].array
        self._rows = files["rows"].array
        self._scales: Array | None = files["scales"].array if "scales" in files else None
        for kind in ("ids", "rows", "scales"):
            if kind in files:
                files[kind].scattered()

    def __len__(self) -> int:
        return len(self.ids)

    def lookup(self, ids: Ids) -> tuple[NDArray[np.int64], Array]:
        """Return the places among `ids`, int64 [n], of those that have rows, and these rows, float32 [m, dim]."""
        found = find(self._index, self.ids, ids)
        present = np.flatnonzero(found >= 0)
        rows = self._at(found[present])
        return present, rows

    def _at(self, places: Any) -> Array:
        return decoded(self._rows[places], None if self._scales is None else self._scales[places])

    def blocks(self) -> Iterator[tuple[Ids, Array]]:
        """Yield all rows in blocks, in the order of their ids; raises DataError first if a file is damaged."""
        self.verify()
        for start in range(0, len(self), _BLOCK):
            part = slice(start, start + _BLOCK)
            yield np.array(self.ids[part]), np.array(self._at(part))
            self.give_back()

    def give_back(self) -> None:
        """See `MappedFile.give_back`."""
        for file in self._files.values():
            file.give_back()

    def verify(self) -> None:
        """Read all files; raises DataError for one whose checksum does not match."""
        for file in self._files.values():
            file.verify()


class MappedTable:
    """All rows of a table. Ids that have none get the initial value that they have in training."""

    def __init__(self, described: Described, stem: Path) -> None:
        self.spec, self.dtype, self.nbytes = described.spec, described.dtype, described.nbytes
        spec = self.spec
        self._initial = row_initializer(spec.initializer, spec.name, spec.dim, seed=spec.seed, input_dim=spec.input_dim)
        self.parts = [MappedPart(described, stem, number) for number in range(len(described.parts))]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def lookup(self, ids: Ids) -> Array:
        """Return the rows of `ids`, int64 [n], as float32 [n, dim]."""
        ids = np.ascontiguousarray(ids, np.int64)
        out = np.empty((ids.size, self.spec.dim), np.float32)
        absent = np.ones(ids.size, np.bool_)
        for part, places in zip(self.parts, split_ids(ids, len(self.parts)), strict=True):
            present, rows = part.lookup(ids[places])
            out[places[present]] = rows
            absent[places[present]] = False
        if absent.any():
            initial = np.empty((int(absent.sum()), self.spec.dim), np.float32)
            self._initial(ids[absent], initial)
            out[absent] = initial
        return out


class MappedTables:
    """The tables in a folder, by name: a source of rows for a model's layers. Raises DataError for damaged ones."""

    def __init__(self, folder: str | Path, digest: str = "") -> None:
        self.folder = Path(folder)
        self._tables = {
            one.spec.name: MappedTable(one, self.folder / stem(number))
            for number, one in enumerate(read_description(self.folder, digest))
        }
        self._since, self._without = 0, _mapped_bytes()

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def table(self, name: str) -> MappedTable:
        """Return a table."""
        return self._tables[name]

    @property
    def nbytes(self) -> int:
        """The size of all files."""
        return sum(table.nbytes for table in self._tables.values())

    def lookup(self, table: str, ids: Ids, *, create: bool = False) -> Array:
        """Return rows of a table, float32 [n, dim]; none are ever created."""
        rows = self._tables[table].lookup(ids)
        self._since += len(ids)
        if self._since >= _COUNTED:
            self._since = 0
            if _mapped_bytes() - self._without > RESIDENT:
                self.give_back()
        return rows

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return len(self._tables[table])

    def give_back(self) -> None:
        """Let go of all rows that are in this process's memory."""
        for table in self._tables.values():
            for part in table.parts:
                part.give_back()

    def verify(self) -> None:
        """Read all files; raises DataError for one whose checksum does not match."""
        for table in self._tables.values():
            for part in table.parts:
                part.verify()

    def export(self, table: str) -> Iterator[tuple[Ids, Array]]:
        """Yield all rows of a table in blocks; raises DataError first if its files are damaged."""
        for part in self._tables[table].parts:
            yield from part.blocks()


def _mapped_bytes() -> int:
    """Bytes of files that are in this process's memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0
