"""Writing columns as Parquet, CSV or RecordIO, the formats of predictions."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, Self, get_args

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elasticdl_nb.runtime.data import examples, files, recordio

OutputForm = Literal["recordio", "parquet", "csv"]
OUTPUT_FORMS: tuple[OutputForm, ...] = get_args(OutputForm)

Columns = Mapping[str, NDArray[Any]]


class _Format(Protocol):
    """Writes to an open file and leaves it open."""

    def write(self, columns: Columns) -> None: ...

    def finish(self) -> None: ...


class ColumnWriter:
    """Writes a file of columns, which appears under its name when closed. Without rows it has no columns either.

    In a `with` statement, an exception leaves no file behind.
    """

    def __init__(self, path: str, form: OutputForm, *, flush: bool = True) -> None:
        self._stack = contextlib.ExitStack()
        self._format = _FORMATS[form](self._stack.enter_context(files.write_aside(path, flush=flush)))
        self.records = 0

    def write(self, columns: Columns) -> None:
        """Add rows. Every column has one value per row, shape [n] or [n, …]: numbers, bools, text or bytes.

        All calls take columns of the same names, dtypes and shapes. Raises ValueError if the lengths differ.
        """
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns have different lengths: {lengths}")
        rows = next(iter(lengths.values()), 0)
        if rows:
            self._format.write(columns)
            self.records += rows

    def close(self) -> None:
        """Complete the file and give it its name."""
        with self._stack:
            self._format.finish()

    def abort(self) -> None:
        """Throw away what has been written."""
        with contextlib.suppress(_Aborted, OSError, pa.ArrowInvalid), self._stack:
            self._format.finish()  # or Arrow's writers would try it later, once the file is closed
            raise _Aborted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close() if kind is None else self.abort()


class _Aborted(BaseException):
    pass


def open_writer(path: str, form: OutputForm, *, flush: bool = True) -> ColumnWriter:
    """Return a writer of columns into a new file; path or URL. For `flush` see `runtime.durable.new_file`.

    - parquet: a column per name; a value of shape [k] is a fixed-size list.
    - csv: a column per number: a value of shape [k] takes the columns name_0 … name_{k-1}.
    - recordio: a tf.train.Example per row.
    """
    return ColumnWriter(path, form, flush=flush)


# ------------------------------------------------------------------ the formats


class _RecordIO:
    def __init__(self, file: BinaryIO) -> None:
        self._writer = recordio.Writer(file)

    def write(self, columns: Columns) -> None:
        for record in examples.encode(columns):
            self._writer.write(record)

    def finish(self) -> None:
        self._writer.flush()


class _Parquet:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None

    def write(self, columns: Columns) -> None:
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def finish(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, pa.schema([]))
        self._writer.close()


class _Csv:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, columns: Columns) -> None:
        flat: dict[str, pa.Array] = {}
        for name, values in columns.items():
            if values.ndim == 1:
                flat[name] = _arrow(values)
                continue
            for n, column in enumerate(values.reshape(len(values), -1).T):
                flat[f"{name}_{n}"] = _arrow(column)
        table = pa.table(flat)
        if self._writer is None:
            self._writer = pacsv.CSVWriter(self._file, table.schema)
        self._writer.write_table(table)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()


_FORMATS: dict[OutputForm, Any] = {"recordio": _RecordIO, "parquet": _Parquet, "csv": _Csv}


def _arrow(values: NDArray[Any]) -> pa.Array:
    if values.ndim > 1:
        inner = _arrow(np.ascontiguousarray(values).reshape(-1, *values.shape[2:]))
        return pa.FixedSizeListArray.from_arrays(inner, values.shape[1])
    if values.dtype.kind in "OSU":
        return _text(values.tolist())
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    return pa.array(np.ascontiguousarray(values))


def _text(items: list[Any]) -> pa.Array:
    """Return strings, also for bytes, which TensorFlow's strings are. Raises ValueError for bytes that are not text."""
    try:
        return pa.array([item.decode() if isinstance(item, bytes) else str(item) for item in items], pa.string())
    except UnicodeDecodeError:
        raise ValueError("bytes that are not UTF-8 text can only be written as RecordIO") from None


# ------------------------------------------------------------------ joining parts


def concatenate(parts: Sequence[str], output: str, form: OutputForm) -> None:
    """Join files of one form, as `open_writer` makes them, in order into a single file, which appears when complete.

    Parts without rows are skipped. No part is held in memory as a whole.
    """
    with files.write_aside(output) as target:
        if form == "parquet":
            _concatenate_parquet(parts, target)
            return
        header = b""
        for part in parts:
            with _open(part) as source:
                if form == "csv":
                    first = source.readline()
                    if not header:
                        target.write(first)
                    elif first and first != header:
                        raise ValueError(f"{part}: its columns differ from those of earlier parts")
                    header = header or first
                shutil.copyfileobj(source, target, 1 << 20)


def _concatenate_parquet(parts: Sequence[str], target: BinaryIO) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for part in parts:
            with _open(part) as source:
                file = pq.ParquetFile(source)
                if not file.metadata.num_rows:
                    continue
                writer = writer or pq.ParquetWriter(target, file.schema_arrow)
                for group in range(file.metadata.num_row_groups):
                    writer.write_table(file.read_row_group(group))
        writer = writer or pq.ParquetWriter(target, pa.schema([]))
    finally:
        if writer is not None:
            writer.close()


def _open(path: str) -> Any:
    fs, inner = files.file_system(files.plain(path), "output")
    return fs.open(inner, "rb")
