"""The TFRecord codec, without TensorFlow: a record is its length (uint64), the CRC of that, its bytes, their CRC."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import BinaryIO

from elasticdl_nb.runtime.data import bytescan, files
from elasticdl_nb.runtime.data.chunks import Records
from elasticdl_nb.runtime.errors import DataError

_BLOCK = 1 << 20
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


def looks_like_tfrecord(head: bytes) -> bool:
    """Whether the first 12 bytes of a file are a length and its checksum."""
    return len(head) >= 12 and _CRC.unpack(head[8:12])[0] == bytescan.masked_crc32c(head[:8])


def write_record(file: BinaryIO, record: bytes) -> None:
    """Write one record."""
    length = _LENGTH.pack(len(record))
    parts = (length, _CRC.pack(bytescan.masked_crc32c(length)), record, _CRC.pack(bytescan.masked_crc32c(record)))
    file.write(b"".join(parts))


def write_file(path: str, records: Iterable[bytes]) -> int:
    """Write a file (path or URL), which appears when it is complete; return the number of records."""
    count = 0
    with files.write_aside(path) as file:
        for record in records:
            write_record(file, record)
            count += 1
    return count


class Index:
    """Which record starts at which byte, about once per megabyte, found by scanning lengths as far as needed.

    Safe to use from several threads.
    """

    def __init__(self, source: files.Source) -> None:
        self.source = source
        self._points = [(0, 0)]  # (number of a record, the byte where it starts); the last one is as far as known
        self._lock = threading.Lock()

    def extend(self, records: int | None = None) -> list[tuple[int, int]]:
        """Return the points up to that many records, or to the end; raise DataError on a corrupt length."""
        with self._lock:
            while self._points[-1][1] < self.source.size and (records is None or self._points[-1][0] < records):
                self._points.append(self._next(*self._points[-1]))
            return self._points.copy()

    def _next(self, number: int, offset: int) -> tuple[int, int]:
        block = self.source.read(offset, _BLOCK)
        records, used, bad = bytescan.scan_tfrecord(block)
        if records == 0 and not bad and len(block) >= 12:  # a record longer than the block
            records, used = 1, 16 + _LENGTH.unpack(block[:8])[0]
        if bad and records == 0:
            hint = " (files compressed as a whole cannot be read in parts)" if block[:2] == b"\x1f\x8b" else ""
            raise self._bad(number, offset, f"its length does not match the length's checksum{hint}")
        if records == 0 or offset + used > self.source.size:
            raise self._bad(number, offset, "the file ends within it")
        return number + records, offset + used

    def _bad(self, number: int, offset: int, problem: str) -> DataError:
        return DataError(
            f"{self.source.path}: corrupt TFRecord record {number} (counted from 0) at byte {offset}: {problem}"
        )

    @property
    def records(self) -> int:
        """Number of records in the file."""
        return self.extend()[-1][0]

    def pieces(self, start: int, end: int) -> Iterator[Callable[[], Records]]:
        """Return a call for each megabyte or so that holds some of the records [start, end); it reads those.

        The calls raise DataError if a checksum does not match.
        """
        for piece in pairwise(self.extend(end)):
            (first, _), (after, _) = piece
            if after > start and first < end:
                yield partial(self._load, *piece, start, end)

    def _load(self, begin: tuple[int, int], stop: tuple[int, int], start: int, end: int) -> Records:
        (first, offset), (after, until) = begin, stop
        data = self.source.read(offset, until - offset)
        starts, ends, bad = bytescan.split_tfrecord(data, after - first)
        if bad >= 0:
            at = offset + (int(ends[bad - 1]) + 4 if bad else 0)
            raise self._bad(first + bad, at, "its bytes do not match their checksum")
        return Records(data, starts, ends).slice(max(0, start - first), end - first)
