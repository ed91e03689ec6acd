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
from elasticdl_nb.runtime.parameters.mapped.form import (
    Described,
    Files,
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

ABSENT, GONE = -1, -2
"""What stands for the place of an id that has no row in some files: it may have one below them, or none any more."""

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


class _Rows:
    """The rows in one set of files, and the ids whose rows in the sets below are gone."""

    def __init__(self, files: dict[str, MappedFile]) -> None:
        self.files = files
        self._index = np.array(files["index"].array)
        self.ids: Ids = files["ids"].array
        self.gone: Ids | None = files["gone"].array if "gone" in files else None
        self._rows = files["rows"].array
        self._scales: Array | None = files["scales"].array if "scales" in files else None
        for kind in ("ids", "rows", "scales"):
            if kind in files:
                files[kind].scattered()

    def find(self, ids: Ids) -> NDArray[np.int64]:
        """Return the places of `ids`, int64 [n], among the rows; -1 for those that have none here, -2 if it is gone."""
        found = find(self._index, self.ids, ids)
        if self.gone is not None and self.gone.size:
            places = np.minimum(np.searchsorted(self.gone, ids), self.gone.size - 1)
            found[(self.gone[places] == ids) & (found < 0)] = GONE
        return found

    def stored(self, places: Any) -> tuple[NDArray[Any], Array | None]:
        """Return rows as they are stored, and for int8 their factors."""
        return self._rows[places], None if self._scales is None else self._scales[places]


class MappedPart:
    """One server's rows."""

    def __init__(self, described: Described, stem: Path, number: int) -> None:
        part, dim = described.parts[number], described.spec.dim

        def opened(prefix: str, rows: int, files: Files, of: tuple[str, ...], gone: int = 0) -> _Rows:
            return _Rows({
                kind: MappedFile(
                    file_of(stem, number, len(described.parts), f"{prefix}{kind}"), *files[kind],
                    *expected(kind, gone if kind == "gone" else rows, dim, described.dtype),
                ) for kind in of
            })  # fmt: skip

        of = kinds(described.dtype)
        try:
            self._sets = [opened("", part.rows, part.files, of)]
            for layer in part.layers:
                self._sets.append(opened(f"{layer.name}.", layer.rows, layer.files, (*of, "gone"), layer.gone))
        except KeyError as error:
            raise DataError(f"{stem}: the description lacks the file of {error}") from None
        self._total = part.rows if part.total is None else part.total

    def __len__(self) -> int:
        return self._total

    def lookup(self, ids: Ids) -> tuple[NDArray[np.int64], Array]:
        """Return the places among `ids`, int64 [n], of those that have rows, and these rows, float32 [m, dim]."""
        left = np.arange(ids.size)
        places, rows = [], []
        for one in reversed(self._sets):
            found = one.find(ids[left])
            here = found >= 0
            places.append(left[here])
            rows.append(decoded(*one.stored(found[here])))
            left = left[found == ABSENT]
            if not left.size:
                break
        return np.concatenate(places), np.concatenate(rows)

    def stored_blocks(self, lowest: int = 0) -> Iterator[tuple[Ids, NDArray[Any], Array | None]]:
        """Yield the rows that count, as they are stored, of all layers from this one on; 0 is what is below them."""
        for number in range(lowest, len(self._sets)):
            above, one = self._sets[number + 1 :], self._sets[number]
            for start in range(0, len(one.ids), _BLOCK):
                ids = np.array(one.ids[start : start + _BLOCK])
                counts = np.ones(ids.size, np.bool_)
                for newer in above:
                    counts &= newer.find(ids) == ABSENT
                stored, scales = one.stored(slice(start, start + _BLOCK))
                yield ids[counts], stored[counts], None if scales is None else scales[counts]

    def gone(self, lowest: int) -> Ids:
        """Return the ids whose rows are gone in one of the layers from this one on, and not back in a later one."""
        gone = np.zeros(0, np.int64)
        for one in self._sets[lowest:]:
            kept = gone[one.find(gone) == ABSENT]
            gone = np.union1d(kept, one.gone if one.gone is not None else kept)
        return gone

    def blocks(self) -> Iterator[tuple[Ids, Array]]:
        """Yield all rows in blocks; raises DataError first if a file is damaged."""
        self.verify()
        for ids, stored, scales in self.stored_blocks():
            yield ids, decoded(stored, scales)
            self.give_back()

    def without(self, ids: Ids, gone: Ids) -> int:
        """Return how many rows there would be if these ids, int64 [n], had rows, and those that are gone had none."""
        return len(self) + int(ids.size - self._present(ids)) - self._present(gone)

    def _present(self, ids: Ids) -> int:
        return len(self.lookup(ids)[0])

    def give_back(self) -> None:
        """See `MappedFile.give_back`."""
        for file in self._files():
            file.give_back()

    def verify(self, lowest: int = 0) -> None:
        """Read all files of layers from this one on; raises DataError for one whose checksum does not match."""
        for file in self._files(lowest):
            file.verify()

    def _files(self, lowest: int = 0) -> list[MappedFile]:
        return [file for one in self._sets[lowest:] for file in one.files.values()]


class MappedTable:
    """All rows of a table. Ids that have none get the initial value that they have in training."""

    def __init__(self, described: Described, stem: Path) -> None:
        self.spec, self.dtype, self.nbytes = described.spec, described.dtype, described.nbytes
        self._initial = self.spec.initial()
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
