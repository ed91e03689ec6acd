"""Reading files that have columns: what Parquet, Arrow and CSV files have in common.

A table file consists of groups of rows (row groups, record batches, stretches of CSV text), the smallest parts that can
be read by themselves. Tasks are usually smaller than groups, so the groups read last are kept.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Literal, Protocol, TypeVar

import pyarrow as pa

from elasticdl_nb.runtime.data import columntypes
from elasticdl_nb.runtime.data.chunks import FileRecords, Metadata
from elasticdl_nb.runtime.data.columntypes import Column
from elasticdl_nb.runtime.errors import DataError, did_you_mean

KEPT_BYTES = 256 << 20
_BATCH_BYTES = 4 << 20
_BATCH_ROWS = 8192


class TableFile(Protocol):
    """A file of rows and columns."""

    path: str

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns to read; raises DataError if the file is not in this format."""

    def groups(self, rows: int | None = None) -> Sequence[tuple[int, int]]:
        """Return each group's rows as [start, end), at least for the groups that hold the first `rows` rows."""

    def has_nulls(self, name: str) -> bool:
        """Whether that column has missing values."""

    def load(self, group: int, names: list[str]) -> pa.Table:
        """Read these columns of one group."""


T = TypeVar("T")
R = TypeVar("R")


def parallel(function: Callable[[T], R], items: Sequence[T], most: int = 16) -> list[R]:
    """Apply a function that waits for files to all items, in threads; raise the first error, in the order of items."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(most, len(items)), "files") as pool:
        return list(pool.map(function, items))


class TableReader:
    """A `Reader` of table files; see reader.py for the interface."""

    def __init__(
        self,
        form: Literal["strings", "columns"],
        files: Sequence[TableFile],
        names: list[str] | None = None,
        *,
        prepare: Callable[[], None] | None = None,
        like: Metadata | None = None,
        kept: KeptGroups | None = None,
    ) -> None:
        self.form: Literal["bytes", "strings", "columns"] = form
        self._files = {file.path: file for file in files}
        self._wanted = names
        self._prepare = prepare  # must be called once before the files know their columns' types
        self._like = like  # what the columns must be as, if that is known
        self._kept = kept or KeptGroups(KEPT_BYTES)

    # ------------------------------------------------------------ columns

    @cached_property
    def _names(self) -> list[str]:
        files = list(self._files.values())
        schemas = parallel(lambda file: file.schema, files)
        names = self._wanted or schemas[0].names
        for file, schema in zip(files, schemas, strict=True):
            present = Counter(schema.names)
            for name in names:
                if name not in present:
                    raise missing_column(file.path, name, schema.names)
                if present[name] > 1:
                    raise DataError(f"{file.path}: it has several columns named {name!r}")
        return list(names)

    @cached_property
    def _columns(self) -> list[Column]:
        names = self._names
        if self._prepare:
            self._prepare()
        schemas = [file.schema for file in self._files.values()]
        columns = [self._column(name, [schema.field(name).type for schema in schemas]) for name in names]
        return columns if self._like is None else [self._fitted(column, self._like) for column in columns]

    def _fitted(self, column: Column, like: Metadata) -> Column:
        """Return the column as it is in other files; raise DataError if its values do not fit there."""
        dtype, shape = like.column_dtypes[column.name], like.column_shapes.get(column.name, ())
        try:
            fits = column.shape == shape and columntypes.common_dtype(column.dtype, dtype) == dtype
        except TypeError:
            fits = False
        if not fits:
            found, wanted = _kind(column.dtype, column.shape), _kind(dtype, shape)
            raise DataError(
                f"{next(iter(self._files))}: column {column.name!r} is {found}, but {wanted} in the job's first files"
            )
        return Column(column.name, dtype, shape)

    def _column(self, name: str, kinds: list[pa.DataType]) -> Column:
        files = list(self._files.values())
        dtype, shape = "", self._shape(name, kinds)
        for file, kind in zip(files, kinds, strict=True):
            try:
                # Whether values are missing changes the dtype of some types only; to know it may cost a scan.
                depends = columntypes.dtype_of(kind, True) != columntypes.dtype_of(kind, False)
                found = columntypes.dtype_of(kind, depends and file.has_nulls(name))
                dtype = columntypes.common_dtype(dtype or found, found)
            except TypeError as error:
                hint = "choose other columns with data_reader_params=\"columns=['…']\""
                raise DataError(f"{file.path}: column {name!r}: {error}; {hint}") from None
        return Column(name, dtype, shape)

    def _shape(self, name: str, kinds: list[pa.DataType]) -> tuple[int, ...]:
        for file, kind in zip(self._files.values(), kinds, strict=True):
            if columntypes.is_list(kind) and (groups := [n for n, (a, b) in enumerate(file.groups()) if b > a]):
                return columntypes.list_shape(kind, file.load(groups[0], [name]).column(name)[0].as_py())
        return columntypes.list_shape(kinds[0], None)

    @property
    def schema(self) -> pa.Schema:
        """All columns of the first file, with their types there."""
        if self._prepare:
            assert self._columns  # finds the types
        return next(iter(self._files.values())).schema

    @property
    def metadata(self) -> Metadata:
        """Names, dtypes and shapes of the columns."""
        return Metadata(
            column_names=[column.name for column in self._columns],
            column_dtypes={column.name: column.dtype for column in self._columns},
            column_shapes={column.name: column.shape for column in self._columns if column.shape},
        )

    # ------------------------------------------------------------ the Reader interface

    def check(self) -> None:
        """Raise DataError if any file's columns are not as needed, or if there are no records at all."""
        self.check_records()
        if not self._prepare:
            assert self._columns

    def check_records(self) -> None:
        """Raise DataError if any file lacks a column, or if there are no records at all."""
        assert self._names
        if not any(end for file in self._files.values() for _, end in file.groups(1)):
            raise DataError(f"there are no records in {', '.join(list(self._files)[:5])}")

    def files(self) -> list[FileRecords]:
        """Return every file with its number of records."""

        def count(file: TableFile) -> FileRecords:
            groups = file.groups()
            return FileRecords(file.path, groups[-1][1] if groups else 0)

        return parallel(count, list(self._files.values()))

    def read(self, path: str, start: int, end: int) -> Iterator[pa.RecordBatch]:
        """Read records [start, end) of a file in batches of up to some thousand, reading only groups that have some."""
        file = self._files.get(path)
        if file is None:
            raise no_such_file(path)
        groups = file.groups(end)
        for group in range(bisect_right(groups, start, key=lambda rows: rows[1]), len(groups)):
            first, after = groups[group]
            if first >= end:
                break
            if after > start:
                batch = self._kept.get((path, group), partial(self._load, file, group, first, after))
                begin, stop = max(start, first) - first, min(end, after) - first
                size = max(64, min(_BATCH_ROWS, _BATCH_BYTES * (after - first) // max(1, batch.nbytes)))
                for at in range(begin, stop, size):
                    yield batch.slice(at, min(size, stop - at))

    def _load(self, file: TableFile, group: int, first: int, after: int) -> pa.RecordBatch:
        table = file.load(group, [column.name for column in self._columns])
        where = f"{file.path}, in records {first} to {after - 1}"
        if table.num_rows != after - first:
            raise DataError(f"{where}: found {table.num_rows} records instead of {after - first}")
        arrays = []
        for column in self._columns:
            try:
                arrays.append(columntypes.normalise(_single(table.column(column.name)), column))
            except (DataError, pa.ArrowInvalid) as error:
                raise DataError(f"{where}: {error}") from None
        return pa.RecordBatch.from_arrays(arrays, [column.name for column in self._columns])


def _kind(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}" if shape else dtype


def _single(array: pa.ChunkedArray) -> pa.Array:
    return array.chunk(0) if array.num_chunks == 1 else pa.concat_arrays(array.chunks or [pa.array([], array.type)])


def no_such_file(path: str) -> DataError:
    """The error of a task whose file is not one of the job's."""
    return DataError(f"{path} is not one of the job's files; was it deleted or renamed after the job had started?")


def missing_column(path: str, name: str, present: Sequence[str]) -> DataError:
    """Return the error for a file that lacks a column."""
    there = ", ".join(repr(other) for other in present[:20]) + (", …" if len(present) > 20 else "")
    return DataError(f"{path}: there is no column {name!r}.{did_you_mean(name, present)} The file has {there}")


class KeptGroups:
    """The groups read last, up to a number of bytes (but always one); a group requested twice at once is read once."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[str, int], Future[pa.RecordBatch]] = OrderedDict()
        self._sizes: dict[tuple[str, int], int] = {}  # of those that have been read
        self._bytes = 0

    def get(self, key: tuple[str, int], load: Callable[[], pa.RecordBatch]) -> pa.RecordBatch:
        """Return a group of a file, by the file's path and the group's number; `load` reads it."""
        with self._lock:
            future = self._groups.get(key)
            if mine := future is None:
                future = self._groups[key] = Future()
            self._groups.move_to_end(key)
        if mine:
            try:
                future.set_result(load())
            except BaseException as error:
                future.set_exception(error)
                with self._lock:
                    del self._groups[key]
                raise
            self._make_room(key, future.result().nbytes)
        return future.result()

    def _make_room(self, newest: tuple[str, int], size: int) -> None:
        with self._lock:
            self._sizes[newest] = size
            self._bytes += size
            while self._bytes > self._budget:
                oldest = next((key for key in self._groups if key in self._sizes and key != newest), None)
                if oldest is None:
                    return
                del self._groups[oldest]
                self._bytes -= self._sizes.pop(oldest)
