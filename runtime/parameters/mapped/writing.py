"""One server's part of a trained model's table, written block by block."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array, Ids
from elasticdl_nb.runtime.parameters.mapped.form import FENCE, Files, Part, encoded, expected, file_of, kinds
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, TableSpec

BLOCK_BYTES = 8 << 20
"""Approximate bytes of rows that are written in a step."""


Fetch = Callable[[int, int], tuple[NDArray[Any], Array | None]]
"""Returns the rows of ids[start:stop] as they are stored, and for int8 their factors."""


def write_part(stem: Path, part: int, parts: int, table: EmbeddingTable, dtype: str) -> Iterator[Part | None]:
    """Write the rows of a table, which are one part of `parts`; each step writes a block.

    The last step yields the part's description, all others None. The table must not change meanwhile. Raises
    DataError if files cannot be written, or are there already.
    """
    ids = table.ids()
    ids.sort()

    def fetch(start: int, stop: int) -> tuple[NDArray[Any], Array | None]:
        return encoded(table.lookup(ids[start:stop], create=False), dtype)

    for files in write_rows(table.spec, partial(file_of, stem, part, parts), ids, fetch, dtype):
        yield None if files is None else Part(ids.size, files)


def write_rows(
    spec: TableSpec, place: Callable[[str], Path], ids: Ids, fetch: Fetch, dtype: str, gone: Ids | None = None
) -> Iterator[Files | None]:
    """Write the files of rows, whose ids ascend, to the `place` of each kind; each step writes a block.

    With `gone`, the file of that kind is written, too. The last step yields sizes and checksums, all others None.
    Raises DataError if files cannot be written, or are there already.
    """
    block = max(1, BLOCK_BYTES // (4 * spec.dim))
    known: Files = {}
    try:
        if gone is not None:
            with _File(place("gone"), *expected("gone", gone.size, spec.dim, dtype)) as file:
                file.write(gone)
            known["gone"] = file.described
        with ExitStack() as stack:
            files = {
                kind: stack.enter_context(_File(place(kind), *expected(kind, ids.size, spec.dim, dtype)))
                for kind in kinds(dtype)
            }
            files["index"].write(ids[::FENCE])
            for start in range(0, ids.size, block):
                some = ids[start : start + block]
                stored, scales = fetch(start, start + len(some))
                files["ids"].write(some)
                files["rows"].write(stored)
                if scales is not None:
                    files["scales"].write(scales)
                yield None
        yield known | {kind: file.described for kind, file in files.items()}
    except OSError as error:
        raise DataError(f"embedding {spec.name} cannot be written to {place('rows').parent}: {error}") from None


class _File:
    """A file in NumPy's format whose array is appended; knows its size and CRC-32."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._path, self._dtype = path, dtype
        head = BytesIO()
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, header)
        self._head = head.getvalue()
        self._size, self._crc = 0, 0
        self._file: BinaryIO | None = None

    @property
    def described(self) -> tuple[int, int]:
        """Size and CRC-32 of what was written."""
        return self._size, self._crc

    def __enter__(self) -> _File:
        self._file = open(self._path, "xb")
        self._append(self._head)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._file is not None
        self._file.close()

    def write(self, values: NDArray[Any]) -> None:
        """Append values."""
        self._append(np.ascontiguousarray(values, self._dtype).reshape(-1).view(np.uint8).data)

    def _append(self, content: bytes | memoryview) -> None:
        assert self._file is not None
        self._file.write(content)
        self._size += len(content)
        self._crc = zlib.crc32(content, self._crc)
