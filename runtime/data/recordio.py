"""The RecordIO codec: chunks of records, each with a checksum.

A chunk is a header of five little-endian uint32 (magic, CRC-32 of the payload as stored, compressor, stored size of the
payload, number of records) and the compressed payload, which holds each record's length as uint32 and its bytes. Files
written by older Python code, with raw snappy blocks and CRC-32C, can be read too.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import BinaryIO, Literal, Self, get_args

import cramjam

from elasticdl_nb.runtime.data import files
from elasticdl_nb.runtime.data.chunks import Records
from elasticdl_nb.runtime.errors import DataError

__all__ = ["Compressor", "Writer", "read_file", "verify", "write_file"]

Compressor = Literal["none", "snappy", "gzip"]
COMPRESSORS: tuple[Compressor, ...] = get_args(Compressor)
MAGIC = 0x01020304
MAGIC_BYTES = struct.pack("<I", MAGIC)
CHUNK_BYTES = 1 << 20

_HEADER = struct.Struct("<5I")
_LENGTH = struct.Struct("<I")
_SNAPPY_STREAM = b"\xff\x06\x00\x00sNaPpY"


# ------------------------------------------------------------------ writing


class Writer:
    """Writes records to an open binary file, which stays open.

    A chunk holds about `chunk_bytes` bytes of records; a record is never split.
    """

    def __init__(self, file: BinaryIO, *, compressor: Compressor = "snappy", chunk_bytes: int = CHUNK_BYTES) -> None:
        if compressor not in COMPRESSORS:
            raise ValueError(f"compressor {compressor!r} is not one of {', '.join(COMPRESSORS)}")
        self.records = 0
        self._file = file
        self._compressor = COMPRESSORS.index(compressor)
        self._chunk_bytes = chunk_bytes
        self._parts: list[bytes] = []
        self._bytes = 0

    def write(self, record: bytes) -> None:
        """Add one record."""
        if self._bytes + len(record) > self._chunk_bytes:
            self.flush()
        self._parts += (_LENGTH.pack(len(record)), record)
        self._bytes += len(record)
        self.records += 1

    def flush(self) -> None:
        """Write the chunk that was begun; call it after the last record, or use the writer in a `with` statement."""
        if not self._parts:
            return
        payload = b"".join(self._parts)
        if self._compressor == 1:
            payload = bytes(cramjam.snappy.compress(payload))
        elif self._compressor == 2:
            payload = gzip.compress(payload, 6, mtime=0)
        header = _HEADER.pack(MAGIC, zlib.crc32(payload), self._compressor, len(payload), len(self._parts) // 2)
        self._file.write(header)
        self._file.write(payload)
        self._parts, self._bytes = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.flush()


def write_file(
    path: str, records: Iterable[bytes], *, compressor: Compressor = "snappy", chunk_bytes: int = CHUNK_BYTES
) -> int:
    """Write a file (path or URL), which appears when it is complete; return the number of records."""
    with files.write_aside(path) as file, Writer(file, compressor=compressor, chunk_bytes=chunk_bytes) as writer:
        for record in records:
            writer.write(record)
    return writer.records


# ------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk is and what its header says; `first` is the number in the file of its first record."""

    number: int
    offset: int
    checksum: int
    compressor: int
    size: int
    records: int
    first: int

    @property
    def end(self) -> int:
        """Offset of the first byte after the chunk."""
        return self.offset + _HEADER.size + self.size


@dataclass
class Index:
    """The chunks of a file, found by going from header to header, as far as needed.

    Safe to use from several threads: whichever comes first extends the list by the same chunks.
    """

    source: files.Source
    chunks: list[Chunk] = field(default_factory=list)

    def extend(self, records: int | None = None) -> list[Chunk]:
        """Return the chunks that hold the file's first `records` records, or all; raise DataError on a bad header."""
        chunks = self.chunks.copy()
        while True:
            last = chunks[-1] if chunks else None
            offset, first = (last.end, last.first + last.records) if last else (0, 0)
            if offset == self.source.size or (records is not None and first >= records):
                break
            chunks.append(_read_header(self.source, len(chunks), offset, first))
        if len(chunks) > len(self.chunks):
            self.chunks = chunks
        return chunks

    @property
    def records(self) -> int:
        """Number of records in the file, according to its headers."""
        chunks = self.extend()
        return chunks[-1].first + chunks[-1].records if chunks else 0

    def pieces(self, start: int, end: int) -> Iterator[Callable[[], Records]]:
        """Return a call for each chunk that holds some of the records [start, end); it reads those of its chunk."""
        for chunk in self.extend(end):
            if chunk.first + chunk.records > start and chunk.first < end:
                yield partial(self._load, chunk, start, end)

    def _load(self, chunk: Chunk, start: int, end: int) -> Records:
        return load(self.source, chunk).slice(max(0, start - chunk.first), end - chunk.first)


def _bad(path: str, number: int, offset: int, problem: str) -> DataError:
    return DataError(f"{path}: corrupt RecordIO chunk {number} (counted from 0) at byte {offset}: {problem}")


def _read_header(source: files.Source, number: int, offset: int, first: int) -> Chunk:
    header = source.peek(offset, _HEADER.size)
    if header[:4] != MAGIC_BYTES[: len(header)]:
        problem = f"a chunk begins with the bytes {MAGIC_BYTES.hex(' ')}, but this one with {header[:4].hex(' ')}"
        if number == 0:
            problem += "; if the file is of another kind, say so, for instance data_reader_params=\"format='tfrecord'\""
        raise _bad(source.path, number, offset, problem)
    if len(header) < _HEADER.size:
        raise _bad(source.path, number, offset, f"the file ends within the header, after {len(header)} of 20 bytes")
    _, checksum, compressor, size, records = _HEADER.unpack(header)
    chunk = Chunk(number, offset, checksum, compressor, size, records, first)
    if compressor >= len(COMPRESSORS):
        raise _bad(source.path, number, offset, f"unknown compressor {compressor}")
    if chunk.end > source.size:
        missing = chunk.end - source.size
        raise _bad(source.path, number, offset, f"the file ends {missing} bytes before the end of its payload")
    return chunk


def load(source: files.Source, chunk: Chunk) -> Records:
    """Read, check and divide one chunk; raise DataError if anything about it is wrong."""
    # Imported here, as numba takes a while and processes that only count records can do without it.
    from elasticdl_nb.runtime.data import bytescan

    stored = source.read(chunk.offset + _HEADER.size, chunk.size)
    if zlib.crc32(stored) != chunk.checksum and bytescan.crc32c(stored) != chunk.checksum:
        raise _bad(source.path, chunk.number, chunk.offset, "its checksum does not match its payload")
    try:
        payload = _decompress(stored, chunk.compressor)
    except (cramjam.DecompressionError, OSError, EOFError, zlib.error) as error:
        name = COMPRESSORS[chunk.compressor]
        raise _bad(source.path, chunk.number, chunk.offset, f"its payload is not valid {name} data ({error})") from None
    boundaries = bytescan.split_recordio(payload, chunk.records)
    if boundaries is None:
        problem = f"the lengths of its {chunk.records} records do not add up to its payload of {len(payload)} bytes"
        raise _bad(source.path, chunk.number, chunk.offset, problem)
    return Records(payload, *boundaries)


def _decompress(stored: bytes, compressor: int) -> bytes:
    if compressor == 0:
        return stored
    if compressor == 2:
        return gzip.decompress(stored)
    if stored.startswith(_SNAPPY_STREAM):
        return bytes(cramjam.snappy.decompress(stored))
    return bytes(cramjam.snappy.decompress_raw(stored))


def read_file(path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Read records [start, end) of a file (path or URL) one by one."""
    index = Index(files.Source(files.plain(path)))
    for piece in index.pieces(start, index.records if end is None else end):
        yield from piece().to_list()


def verify(path: str) -> int:
    """Check every checksum and length of a file; return its number of records, or raise DataError."""
    source = files.Source(files.plain(path))
    return sum(len(load(source, chunk)) for chunk in Index(source).extend())
