"""The types of CSV files' columns: those that fit the values of all rows of all files.

A type is that of a group of rows joined with those of all other groups. Parsing many groups at once costs less than
one by one, and mostly tells as much: where it does not, a column is parsed again group by group.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from elasticdl_nb.runtime.data.csvfiles import CsvFile
from elasticdl_nb.runtime.data.tablereader import parallel
from elasticdl_nb.runtime.errors import DataError

_PARSED_BYTES = 128 << 20
"""How much of what was parsed to find the types is kept until it is read."""
_AT_ONCE = 16
_AT_ONCE_BYTES = 4 << 20

Kinds = dict[str, pa.DataType]


class _Room:
    """So many bytes to share among threads."""

    def __init__(self, nbytes: int) -> None:
        self._left, self._lock = nbytes, threading.Lock()

    def has(self, nbytes: int) -> bool:
        """Whether there is room for so many; they are taken then."""
        with self._lock:
            fits = nbytes <= self._left
            self._left -= nbytes if fits else 0
            return fits


def infer_types(csv_files: Sequence[CsvFile]) -> None:
    """Give all files the types that fit the values of every one of them.

    Raises DataError for a column of whole numbers that no int64 holds: as floats they lose digits.
    """
    room = _Room(_PARSED_BYTES)
    # Parsing needs processors, and files may keep their readers waiting.
    threads = max(os.cpu_count() or 1, min(16, len(csv_files)))
    if len(csv_files) > 1:
        parallel(lambda file: file.groups(), csv_files)
    firsts = [(file, range(1)) for file in csv_files if len(file.groups(1))]
    found = parallel(lambda one: _found(*one, room, frozenset()), firsts, threads)
    # A column with a text is one of texts, whatever comes later.
    kinds = joined(kinds for kinds, _ in found)
    texts = frozenset(name for name, kind in kinds.items() if kind == pa.string())
    others: list[tuple[CsvFile, range]] = []
    with ThreadPoolExecutor(threads, "types") as pool:
        futures = []
        for file in csv_files:
            for piece in _pieces(file):  # found while others are parsed
                others.append((file, piece))
                futures.append(pool.submit(_found, file, piece, room, texts))
        try:
            found += [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    nulls: dict[str, set[str]] = {file.path: set() for file in csv_files}
    large: dict[str, set[str]] = {}
    for (file, _), (kinds, missing) in zip(firsts + others, found, strict=True):
        nulls[file.path] |= missing
        for name in (name for name, kind in kinds.items() if kind == pa.uint64()):
            large.setdefault(name, set()).add(file.path)
    types = joined(kinds for kinds, _ in found)
    for file in csv_files:
        for name in (name for name, paths in large.items() if file.path in paths and types[name] == pa.uint64()):
            raise DataError(
                f"{file.path}: column {name!r} has whole numbers of 2**63 or more, which lose digits as numbers. If "
                "they name something, write a letter before each, so that they are texts, or read without typed=True, "
                "where all columns are; or leave it out with columns"
            )
    for file in csv_files:
        file.types, file.nulls = types, frozenset(nulls[file.path])


def joined(kinds: Iterable[Kinds]) -> Kinds:
    """Return the type that fits each column in all of these."""
    types: Kinds = {}
    for one in kinds:
        for name, kind in one.items():
            types[name] = common_type(types.get(name, pa.null()), kind)
    return types


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the type of a column whose parts were inferred to be of these two types."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    kinds = {first, second}
    if kinds <= {pa.int64(), pa.uint64(), pa.float64()}:
        return pa.float64() if pa.float64() in kinds else pa.uint64()
    if all(pa.types.is_date(kind) or pa.types.is_timestamp(kind) for kind in kinds):
        return pa.timestamp("ns")
    return pa.string()


# ------------------------------------------------------------------ pieces of files


def _pieces(file: CsvFile) -> Iterator[range]:
    """Cut the groups after the first into pieces to parse at once."""
    start = 1
    while start < (count := len(places := file.places(start + _AT_ONCE)) - 1):
        stop = start + 1
        while stop < min(count, start + _AT_ONCE) and places[stop + 1] - places[start] <= _AT_ONCE_BYTES:
            stop += 1
        yield range(start, stop)
        start = stop


def _found(file: CsvFile, groups: range, room: _Room, texts: frozenset[str]) -> tuple[Kinds, frozenset[str]]:
    """Parse groups; return the type that fits each column there, and which columns have missing values.

    `texts` are columns whose type is known already. What was parsed is kept for later while there is room.
    """
    start, end = file.rows(groups)
    if start == end:  # nothing but the header
        return {}, frozenset()
    try:
        table = file.parse(groups, file.names, {name: pa.string() for name in texts})
    except DataError:
        table = None
    if table is None or table.num_rows != end - start:
        return _one_by_one(file, groups, file.names, room)
    if room.has(table.nbytes):
        file.keep(groups, table)
    columns = dict(zip(file.names, table.columns, strict=True))
    nulls = frozenset(name for name, column in columns.items() if column.null_count)
    if len(groups) == 1:
        return {name: _type(file, groups, name, column) for name, column in columns.items()}, nulls
    kinds = {name: column.type for name, column in columns.items() if name in texts or _tells_all(column)}
    if unsure := [name for name in columns if name not in kinds]:
        more, _ = _one_by_one(file, groups, unsure, None)
        kinds |= more
    return kinds, nulls


def _tells_all(column: pa.ChunkedArray) -> bool:
    """Whether the types of this column's parts, joined, are sure to be that of the whole.

    For others they may not be: 0 and 1 are booleans beside `true`, but whole numbers where they are alone.
    """
    kind = column.type
    return kind in (pa.null(), pa.int64(), pa.date32()) or (kind == pa.float64() and not _is_large(column))


def _one_by_one(file: CsvFile, groups: range, names: list[str], room: _Room | None) -> tuple[Kinds, frozenset[str]]:
    found: list[Kinds] = []
    nulls: set[str] = set()
    for group in groups:
        alone = range(group, group + 1)
        table = file.parse(alone, names, {})
        if room is not None and room.has(table.nbytes):
            file.keep(alone, table)
        columns = dict(zip(names, table.columns, strict=True))
        nulls |= {name for name, column in columns.items() if column.null_count}
        found.append({name: _type(file, alone, name, column) for name, column in columns.items()})
    return joined(found), frozenset(nulls)


def _is_large(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.greater_equal(pc.abs(column), 2.0**63)).as_py())


def _type(file: CsvFile, groups: range, name: str, column: pa.ChunkedArray) -> pa.DataType:
    """Return the type of a column that was parsed: uint64 for whole numbers that became floats."""
    if column.type != pa.float64() or not _is_large(column):
        return column.type
    texts = file.parse(groups, [name], {name: pa.string()}).column(name)
    known = texts.filter(pc.match_substring_regex(texts, r"\d"))
    are_whole = pc.all(pc.match_substring_regex(known, r"^\s*[+-]?\d+\s*$")).as_py()
    return pa.uint64() if are_whole else column.type
