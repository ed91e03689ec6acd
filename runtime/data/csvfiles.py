"""CSV files: the byte at which each row starts, and the names of the columns."""

from __future__ import annotations

import contextlib
import csv
import difflib
import gzip
import hashlib
import io
import os
import secrets
import shutil
import tempfile
import threading
import weakref
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from elasticdl_nb.runtime.data import bytescan, files
from elasticdl_nb.runtime.data.tablereader import missing_column
from elasticdl_nb.runtime.errors import DataError

GROUP_ROWS = 4096
_BLOCK = 4 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written, and what to read from it; see docs/data.md."""

    separator: str = ","
    quote: str = '"'
    encoding: str = "utf8"
    header: bool | None = None
    columns: tuple[str, ...] = ()


class RowIndex:
    """Where every 4096th row starts, found by scanning the file as far as asked for. Safe to use from several threads.

    The rows include the header. What was found in a whole file is kept in the folder `beside`, if there is one, for
    other processes.
    """

    def __init__(self, source: files.Source, dialect: Dialect, beside: Path | None = None, name: str = "") -> None:
        self._source = source
        self._separator = ord(dialect.separator)
        self._quote = ord(dialect.quote) if dialect.quote else -1
        self._lock = threading.Lock()
        self._offset = len(_BOM) if source.read(0, 3) == _BOM else 0
        self._state = bytescan.ROW_START
        self._rows = 0
        self._points: list[int] = []
        self._kept = beside / f"{name}.npy" if beside is not None and source.size > _BLOCK else None
        self._restore()

    def extend(self, rows: int | None = None) -> tuple[int, list[int]]:
        """Scan up to that row, or to the end; return the number of rows found and where each group starts.

        Once the whole file has been scanned, the last point is its end.
        """
        with self._lock:
            while self._offset < self._source.size and (rows is None or len(self._points) <= -(-rows // GROUP_ROWS)):
                block = self._source.read(self._offset, _BLOCK)
                self._state, self._rows, found = bytescan.scan_csv(
                    block, self._state, self._rows, GROUP_ROWS, self._separator, self._quote
                )
                self._points += (found + self._offset).tolist()
                self._offset += len(block)
                if self._offset >= self._source.size:
                    self._points.append(self._source.size)
                    self._keep()
            return self._rows, self._points

    def _keep(self) -> None:
        if self._kept is not None:
            aside = self._kept.with_name(f".{secrets.token_hex(8)}.npy")
            with contextlib.suppress(OSError):  # it is only quicker with it
                self._kept.parent.mkdir(parents=True, exist_ok=True)
                np.save(aside, np.array([self._rows, *self._points], np.int64))
                os.replace(aside, self._kept)

    def _restore(self) -> None:
        if self._kept is not None:
            with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
                self._rows, *self._points = np.load(self._kept, allow_pickle=False).tolist()
                self._offset = self._source.size

    def first_row(self) -> bytes:
        """The text of the first row, or b"" if there is none."""
        size = 1 << 16
        while True:
            start = self._offset if not self._points else self._points[0]
            block = self._source.read(start, size)
            _, rows, found = bytescan.scan_csv(block, bytescan.ROW_START, 0, 1, self._separator, self._quote)
            if rows > 1 or len(block) < size:
                return block[found[0] : found[1] if rows > 1 else None] if rows else b""
            size *= 4


class _Groups(Sequence[tuple[int, int]]):
    """Each group's rows as [start, end), the header not counted; found when they are asked for."""

    def __init__(self, count: int, rows: int, header: int) -> None:
        self._count, self._rows, self._header = max(0, count), rows, header

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, group: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, group: slice) -> Sequence[tuple[int, int]]: ...

    def __getitem__(self, group: int | slice) -> tuple[int, int] | Sequence[tuple[int, int]]:
        if isinstance(group, slice):
            return [self[n] for n in range(*group.indices(self._count))]
        n = range(self._count)[group]
        return max(0, n * GROUP_ROWS - self._header), min(self._rows, (n + 1) * GROUP_ROWS) - self._header


class CsvFile:
    """A CSV file as a `TableFile`; all columns are text unless `csvtypes` found others. A group is 4096 rows."""

    def __init__(
        self, path: str, dialect: Dialect, stamp: files.Stamp | None = None, beside: Path | None = None
    ) -> None:
        self.path = path
        self.dialect = dialect
        self._stamp, self._beside = stamp, beside
        self.types: dict[str, pa.DataType] | None = None
        self.nulls: frozenset[str] = frozenset()
        self._parsed: dict[int, pa.Table] = {}

    # ------------------------------------------------------------ layout

    @cached_property
    def _source(self) -> files.Source:
        source = files.Source(self.path, self._stamp)
        if source.read(0, 2) != b"\x1f\x8b":
            return source
        # Compressed text cannot be read from the middle: unpack it once, into a file that goes away with this object.
        number, unpacked = tempfile.mkstemp(prefix="elasticdl-", suffix=".csv")
        weakref.finalize(self, _remove, unpacked)
        try:
            with gzip.open(_SourceFile(source)) as packed, open(number, "wb") as target:
                shutil.copyfileobj(packed, target, 1 << 20)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self.path}: damaged gzip data: {error}") from None
        except OSError as error:  # a full disk, say
            raise DataError(f"{self.path}: could not be unpacked: {error}") from error
        return files.Source(self.path, at=unpacked)

    @cached_property
    def _index(self) -> RowIndex:
        known = (self.path, self._stamp, self.dialect.separator, self.dialect.quote)
        name = hashlib.blake2b(repr(known).encode(), digest_size=16).hexdigest()
        return RowIndex(self._source, self.dialect, None if self._stamp is None else self._beside, name)

    @cached_property
    def _layout(self) -> tuple[bool, list[str]]:
        """Whether the first row is a header, and the names of the file's columns."""
        wanted, header = self.dialect.columns, self.dialect.header
        first = self._first_values()
        if header is None:
            header = _is_header(first, wanted)
        if header:
            if not first:
                raise DataError(f"{self.path}: the file is empty; expected a row with the columns' names")
            times = Counter(first)
            for name in wanted or first:
                if name not in times:
                    raise missing_column(self.path, name, first)
                if times[name] > 1:
                    raise DataError(f"{self.path}: its header names column {name!r} more than once")
            return True, first
        if first and len(first) != len(wanted):
            missing = f"columns names {len(wanted)}, from {wanted[0]!r} to {wanted[-1]!r}"
            raise DataError(
                f"{self.path}: a row has {len(first)} columns, but {missing}. The first row is {first!r}; it has none "
                f"of those names, so it was not read as a header (header=True in data_reader_params makes it one)"
            )
        return False, list(wanted)

    def _first_values(self) -> list[str]:
        try:
            text = self._index.first_row().decode(self.dialect.encoding)
        except UnicodeDecodeError:
            raise self._not_decodable() from None
        quoting: dict[str, Any] = (
            {"quotechar": self.dialect.quote} if self.dialect.quote else {"quoting": csv.QUOTE_NONE}
        )
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.dialect.separator, **quoting)
        return [value.strip() for value in next(rows, [])]

    def _not_decodable(self) -> DataError:
        return DataError(
            f"{self.path}: the text is not {self.dialect.encoding}; give its encoding, for instance "
            "data_reader_params=\"encoding='latin-1'\""
        )

    # ------------------------------------------------------------ the TableFile interface

    @property
    def schema(self) -> pa.Schema:
        """The columns in the order of the file; all text, unless types were found."""
        known = self.types or {}
        names = dict.fromkeys(self._layout[1])
        return pa.schema([(name, known.get(name, pa.string())) for name in names])

    def groups(self, rows: int | None = None) -> Sequence[tuple[int, int]]:
        """Return each group's rows as [start, end), not counting the header."""
        header = int(self._layout[0])
        found, points = self._index.extend(None if rows is None else rows + header)
        return _Groups(len(points) - 1, found, header)

    def has_nulls(self, name: str) -> bool:
        """Whether that column has missing values; text never has."""
        return name in self.nulls

    def load(self, group: int, names: list[str]) -> pa.Table:
        """Parse these columns of one group, unless it was parsed with these types when they were found."""
        types = {name: (self.types or {}).get(name, pa.string()) for name in names}
        known = self._parsed.pop(group, None)
        if known is not None and all(known.schema.field(name).type == types[name] for name in names):
            files.check_unchanged(self.path, self._stamp)
            return known.select(names)
        return self._parse(range(group, group + 1), names, types)

    def _parse(self, groups: range, names: list[str], types: dict[str, pa.DataType]) -> pa.Table:
        header, present = self._layout
        _, points = self._index.extend(groups.stop * GROUP_ROWS)
        text = self._source.read(points[groups.start], points[groups.stop] - points[groups.start])
        if header and groups.start == 0:
            text = text[len(self._index.first_row()) :]
        bad: list[Any] = []

        def note(row: Any) -> str:
            bad.append(row)
            return "error"

        # Repeated names are made different; the layout has already refused them if they are wanted.
        first_place = {name: n for n, name in reversed(list(enumerate(present)))}
        unique = [name if first_place[name] == n else f"{name}\0{n}" for n, name in enumerate(present)]
        try:
            return pacsv.read_csv(
                pa.BufferReader(text),
                pacsv.ReadOptions(
                    use_threads=False, block_size=len(text) + 1, column_names=unique, encoding=self.dialect.encoding
                ),
                pacsv.ParseOptions(
                    delimiter=self.dialect.separator, quote_char=self.dialect.quote or False,
                    newlines_in_values=True, invalid_row_handler=note,
                ),
                pacsv.ConvertOptions(column_types=types, include_columns=names),
            )  # fmt: skip
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            first = groups.start * GROUP_ROWS
            if bad:
                row = "" if bad[0].number is None else f" {first + bad[0].number - 1 - int(header and first > 0)}"
                what = f"{bad[0].actual_columns} columns where {bad[0].expected_columns} were expected"
                raise DataError(f"{self.path}: record{row} has {what}: {bad[0].text[:200]!r}") from None
            if "UTF8" in str(error) or isinstance(error, UnicodeDecodeError):
                raise self._not_decodable() from None
            raise DataError(f"{self.path}, in the {GROUP_ROWS} rows starting at {first}: {error}") from None

    # ------------------------------------------------------------ types

    @property
    def names(self) -> list[str]:
        """The columns that are read, each once."""
        return list(self.dialect.columns) or list(dict.fromkeys(self._layout[1]))

    def parse(self, groups: range, names: list[str], types: dict[str, pa.DataType]) -> pa.Table:
        """Parse these columns of groups that follow each other, finding the types that are not given."""
        return self._parse(groups, names, types)

    def keep(self, groups: range, table: pa.Table) -> None:
        """Keep what was parsed of these groups until `load` is asked for it."""
        first, _ = self.rows(groups)
        for group in groups:
            start, end = self.rows(range(group, group + 1))
            self._parsed[group] = table.slice(start - first, end - start)

    def rows(self, groups: range) -> tuple[int, int]:
        """The rows of groups that follow each other, as [start, end)."""
        known = self.groups(groups.stop * GROUP_ROWS)
        return known[groups.start][0], known[groups.stop - 1][1]

    def places(self, groups: int) -> Sequence[int]:
        """The byte at which each group starts, and the next one: for so many groups at least, if there are as many."""
        return self._index.extend(groups * GROUP_ROWS)[1]


def _is_header(first: list[str], wanted: Sequence[str]) -> bool:
    """Whether a file's first row looks like names: none are wanted, or some of them are there, or nearly."""
    if not wanted or any(name in first for name in wanted):
        return True
    lower = [value.lower() for value in first]
    return any(difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.8) for name in wanted)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


class _SourceFile(io.RawIOBase):
    """A source as a file that is read from beginning to end."""

    def __init__(self, source: files.Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(self._position, max(len(buffer), 1 << 16))[: len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
