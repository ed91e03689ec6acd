"""Writing a stream of records or tables as one file, or as several of equal size, in any format."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from elasticdl_nb.runtime.data import examples, files, recordio, tfrecord
from elasticdl_nb.runtime.errors import DataError

Piece: TypeAlias = list[bytes] | pa.Table
"""Consecutive records, as bytes or as columns."""


@dataclass
class Written:
    """The files written, and the number of records in all of them."""

    files: list[str] = field(default_factory=list)
    records: int = 0


def write(
    pieces: Iterator[Piece], output: str, format: str, *, records_per_file: int, pieces_per_file: int, single: bool
) -> Written:
    """Write the pieces in order; see `convert.convert` for the arguments.

    A new file begins after `records_per_file` records, or after `pieces_per_file` pieces, unless these are 0.
    """
    fit = _Fit()
    if format not in ("recordio", "tfrecord"):
        pieces = (fit(piece) for piece in pieces)
    if single:
        written = Written([files.plain(output)])
        with files.write_aside(output) as file, _shard(file, format) as add:
            for piece in pieces:
                add(piece)
                written.records += len(piece)
        return written
    with files.folder_aside(output) as folder:
        names, records = _write_folder(pieces, folder, format, records_per_file, pieces_per_file)
    return Written([os.path.join(files.plain(output), name) for name in names], records)


def _write_folder(
    pieces: Iterator[Piece], folder: str, format: str, records_per_file: int, pieces_per_file: int
) -> tuple[list[str], int]:
    names: list[str] = []
    records = room = 0
    with contextlib.ExitStack() as stack:
        add: Callable[[Piece], None] | None = None
        for number, piece in enumerate(pieces):
            start = 0
            if pieces_per_file and number % pieces_per_file == 0:
                add = None
            while start < len(piece):
                if add is None or (records_per_file and room == 0):
                    stack.close()
                    names.append(f"data-{len(names):05d}.{format}")
                    file = stack.enter_context(files.write_aside(os.path.join(folder, names[-1])))
                    add = stack.enter_context(_shard(file, format))
                    room = records_per_file
                end = min(len(piece), start + room) if records_per_file else len(piece)
                add(piece[start:end])
                room -= end - start
                records += end - start
                start = end
    return names, records


class _Fit:
    """Converts tables of decoded Examples to the types of the first; other tables already have their types."""

    def __init__(self) -> None:
        self._schema: pa.Schema | None = None

    def __call__(self, table: Any) -> pa.Table:
        if self._schema is None:
            kinds = [
                examples.natural_type(column.combine_chunks()) if pa.types.is_list(column.type) else column.type
                for column in table.columns
            ]
            self._schema = pa.schema(list(zip(table.column_names, kinds, strict=True)))
        if extra := [name for name in table.column_names if name not in self._schema.names]:
            raise DataError(f"feature {extra[0]!r} appears in later records, but in none of the first")
        arrays = []
        for name, kind in zip(self._schema.names, self._schema.types, strict=True):
            if name not in table.column_names:
                arrays.append(pa.nulls(len(table), kind))
            elif pa.types.is_list(table.schema.field(name).type):
                arrays.append(examples.convert(table.column(name).combine_chunks(), kind, name))
            else:
                arrays.append(table.column(name))
        return pa.table(arrays, schema=self._schema)


@contextlib.contextmanager
def _shard(file: BinaryIO, format: str) -> Iterator[Callable[[Any], None]]:
    """Yield a function that adds a piece to the file."""
    if format == "recordio":
        with recordio.Writer(file) as records:
            yield lambda piece: _each(records.write, piece)
    elif format == "tfrecord":
        yield lambda piece: _each(lambda record: tfrecord.write_record(file, record), piece)
    else:
        with _Tables(file, format) as tables:
            yield tables.add


def _each(write: Callable[[bytes], None], records: list[bytes]) -> None:
    for record in records:
        write(record)


class _Tables:
    """A writer of tables, opened when the first shows what columns there are."""

    def __init__(self, file: BinaryIO, format: str) -> None:
        self._file = file
        self._format = format
        self._writer: Any = None

    def add(self, table: pa.Table) -> None:
        table = _flat(table) if self._format == "csv" else table
        if self._writer is None:
            opener = {"parquet": pq.ParquetWriter, "csv": pacsv.CSVWriter, "arrow": pa.ipc.new_file}[self._format]
            self._writer = opener(self._file, table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> _Tables:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _flat(table: pa.Table) -> pa.Table:
    """Return the table with a column for each element of fixed-size lists, as CSV has no lists."""
    flat: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        flat.update(_elements(name, column))
    return pa.table(flat)


def _elements(name: str, column: Any) -> dict[str, Any]:
    if not pa.types.is_fixed_size_list(column.type):
        if pa.types.is_list(column.type):
            raise DataError(f"column {name!r} has lists of different lengths, which CSV cannot hold")
        return {name: column}
    size, values = column.type.list_size, column.flatten()
    flat: dict[str, Any] = {}
    for n in range(size):
        flat.update(_elements(f"{name}_{n}", values.take(pa.array(np.arange(n, len(values), size)))))
    return flat
