"""Parquet and Arrow files."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elasticdl_nb.runtime.data import files
from elasticdl_nb.runtime.errors import DataError

PARQUET_MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"


def _open(path: str, stamp: files.Stamp | None) -> Any:
    """Open a file in the way Arrow reads best: in memory's place if it is of this machine."""
    files.check_unchanged(path, stamp)
    try:
        if files.is_local(path):
            return pa.memory_map(path)
        fs, inner = files.file_system(path)
        return pa.PythonFile(fs.open(inner, "rb"), mode="r")
    except OSError as error:
        raise DataError(f"{path}: could not be read: {error}") from error


def _spans(lengths: list[int]) -> list[tuple[int, int]]:
    ends = list(itertools.accumulate(lengths))
    return [(end - length, end) for end, length in zip(ends, lengths, strict=True)]


class ParquetFile:
    """A Parquet file; its groups are its row groups."""

    def __init__(self, path: str, stamp: files.Stamp | None = None) -> None:
        self.path, self._stamp = path, stamp

    # Nothing here asks the metadata for their `schema`: both would refer to each other, and stay, with kilobytes that
    # Python does not count, until garbage is collected, which the master of a job does rarely.
    @cached_property
    def _known(self) -> tuple[pq.FileMetaData, pa.Schema]:
        with _open(self.path, self._stamp) as source:
            try:
                file = pq.ParquetFile(source)
                return file.metadata, file.schema_arrow
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{self.path}: not a Parquet file, or damaged: {error}") from None

    @property
    def _metadata(self) -> pq.FileMetaData:
        return self._known[0]

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._known[1]

    @cached_property
    def _groups(self) -> list[tuple[int, int]]:
        return _spans([self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)])

    @cached_property
    def _positions(self) -> dict[str, int]:
        group = self._metadata.row_group(0)
        return {group.column(n).path_in_schema: n for n in range(self._metadata.num_columns)}

    def groups(self, rows: int | None = None) -> list[tuple[int, int]]:
        """Return each row group's rows as [start, end)."""
        return self._groups

    def has_nulls(self, name: str) -> bool:
        """Whether values of that column are missing: by the statistics, or by reading it where there are none."""
        for group in range(self._metadata.num_row_groups):
            statistics = self._metadata.row_group(group).column(self._positions[name]).statistics
            known = statistics is not None and statistics.has_null_count
            nulls = statistics.null_count if known else self.load(group, [name]).column(name).null_count
            if nulls:
                return True
        return False

    def load(self, group: int, names: list[str]) -> pa.Table:
        """Read these columns of a row group."""
        with _open(self.path, self._stamp) as source:
            try:
                file = pq.ParquetFile(source, metadata=self._metadata, pre_buffer=not files.is_local(self.path))
                return file.read_row_group(group, columns=names)
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{self.path}: row group {group} could not be read: {error}") from None


class ArrowFile:
    """An Arrow IPC (Feather) file; its groups are its record batches. A file in stream form is one group."""

    def __init__(self, path: str, stamp: files.Stamp | None = None) -> None:
        self.path, self._stamp = path, stamp

    @cached_property
    def _is_stream(self) -> bool:
        return files.Source(self.path, self._stamp).read(0, 6) != ARROW_MAGIC

    def _reader(self, source: Any, schema: pa.Schema | None = None, names: list[str] | None = None) -> Any:
        """Open the file; nothing but the columns `names` will be read."""
        fields = [schema.get_field_index(name) for name in names] if schema is not None and names else []
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        try:
            opener = pa.ipc.open_stream if self._is_stream else pa.ipc.open_file
            return opener(source, options=options)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{self.path}: not an Arrow file, or damaged: {error}") from None

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        with _open(self.path, self._stamp) as source:
            return self._reader(source).schema

    @cached_property
    def _groups(self) -> list[tuple[int, int]]:
        with _open(self.path, self._stamp) as source:
            reader = self._reader(source, self.schema, self.schema.names[:1])
            if self._is_stream:
                return _spans([sum(batch.num_rows for batch in reader)])
            return _spans([reader.get_batch(n).num_rows for n in range(reader.num_record_batches)])

    def groups(self, rows: int | None = None) -> list[tuple[int, int]]:
        """Return each record batch's rows as [start, end)."""
        return self._groups

    def has_nulls(self, name: str) -> bool:
        """Whether that column has missing values."""
        return any(self.load(group, [name]).column(name).null_count for group in range(len(self._groups)))

    def load(self, group: int, names: list[str]) -> pa.Table:
        """Read these columns of a record batch."""
        with _open(self.path, self._stamp) as source:
            reader = self._reader(source, self.schema, names)
            try:
                table = reader.read_all() if self._is_stream else pa.Table.from_batches([reader.get_batch(group)])
                return table.select(names)
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{self.path}: record batch {group} could not be read: {error}") from None
