"""Compiled loops over bytes: record boundaries and CRC-32C.

Each function is written in the part of Python that numba compiles. Where numba is missing, the same code runs as plain
Python: slower, but with the same results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.compiled import compiled

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


def as_bytes(data: bytes | memoryview) -> Bytes:
    """Return a view of the data as uint8 [n]."""
    return np.frombuffer(data, np.uint8)


# ------------------------------------------------------------------ CRC-32C


def _crc32c_tables() -> NDArray[np.int64]:
    """Tables for eight bytes at a time, int64 [8, 256]; values stay below 2**32, so no sum overflows."""
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ 0x82F63B78, table >> 1)
    tables = [table]
    for _ in range(7):
        tables.append((tables[-1] >> 8) ^ table[tables[-1] & 255])
    return np.stack(tables)


_TABLES = _crc32c_tables()


@compiled
def _crc32c(data: Bytes, start: int, end: int, t: Offsets) -> Any:
    crc = np.int64(0xFFFFFFFF)
    p = start
    while p + 8 <= end:
        crc = (
            t[7, data[p] ^ (crc & 255)]
            ^ t[6, data[p + 1] ^ ((crc >> 8) & 255)]
            ^ t[5, data[p + 2] ^ ((crc >> 16) & 255)]
            ^ t[4, data[p + 3] ^ (crc >> 24)]
            ^ t[3, data[p + 4]]
            ^ t[2, data[p + 5]]
            ^ t[1, data[p + 6]]
            ^ t[0, data[p + 7]]
        )
        p += 8
    while p < end:
        crc = t[0, (crc ^ data[p]) & 255] ^ (crc >> 8)
        p += 1
    return crc ^ np.int64(0xFFFFFFFF)


@compiled
def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of the data."""
    return int(_crc32c(as_bytes(data), 0, len(data), _TABLES))


def masked_crc32c(data: bytes | memoryview) -> int:
    """CRC-32C in the rotated form that TFRecord files use."""
    return int(_masked(_crc32c(as_bytes(data), 0, len(data), _TABLES)))


# ------------------------------------------------------------------ RecordIO: uint32 length, bytes


@compiled
def _uint(data: Bytes, p: int, size: int) -> Any:
    value = np.int64(0)
    for i in range(size):
        value |= np.int64(data[p + i]) << (8 * i)
    return value


@compiled
def _split_recordio(data: Bytes, starts: Offsets, ends: Offsets) -> bool:
    p = 0
    size = len(data)
    for i in range(len(starts)):
        if p + 4 > size:
            return False
        length = _uint(data, p, 4)
        p += 4
        if p + length > size:
            return False
        starts[i] = p
        p += length
        ends[i] = p
    return p == size


def split_recordio(payload: bytes, records: int) -> tuple[Offsets, Offsets] | None:
    """Return where each record of a chunk's payload starts and ends, int64 [records] each.

    None if the payload does not hold exactly that many records.
    """
    if records * 4 > len(payload):
        return None
    starts, ends = np.empty(records, np.int64), np.empty(records, np.int64)
    return (starts, ends) if _split_recordio(as_bytes(payload), starts, ends) else None


# ------------------------------------------------------------------ TFRecord: uint64 length, crc, bytes, crc


@compiled
def _scan_tfrecord(data: Bytes, t: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return how many whole records the data starts with, where they end, and whether a bad length stopped the scan."""
    p = 0
    records = 0
    size = len(data)
    while p + 12 <= size:
        if _masked(_crc32c(data, p, p + 8, t)) != _uint(data, p + 8, 4) or data[p + 7] > 0:
            return records, p, 1
        length = _uint(data, p, 8)
        if p + 16 + length > size:
            break
        p += 16 + length
        records += 1
    return records, p, 0


@compiled
def _split_tfrecord(data: Bytes, starts: Offsets, ends: Offsets, t: NDArray[np.int64]) -> int:
    """Fill in where each record starts and ends; return the number of the first bad one, or -1."""
    p = 0
    size = len(data)
    for i in range(len(starts)):
        if p + 12 > size or _masked(_crc32c(data, p, p + 8, t)) != _uint(data, p + 8, 4) or data[p + 7] > 0:
            return i
        starts[i] = p + 12
        end = p + 12 + _uint(data, p, 8)
        if end + 4 > size or _masked(_crc32c(data, p + 12, end, t)) != _uint(data, end, 4):
            return i
        ends[i] = end
        p = end + 4
    return -1 if p == size else len(starts)


def scan_tfrecord(data: bytes) -> tuple[int, int, bool]:
    """Return (whole records at the beginning of the data, bytes they take, whether a corrupt length follows)."""
    records, used, bad = _scan_tfrecord(as_bytes(data), _TABLES)
    return int(records), int(used), bool(bad)


def split_tfrecord(data: bytes, records: int) -> tuple[Offsets, Offsets, int]:
    """Return where each record starts and ends, int64 [records] each, and the number of the first bad one or -1."""
    starts, ends = np.empty(records, np.int64), np.empty(records, np.int64)
    return starts, ends, int(_split_tfrecord(as_bytes(data), starts, ends, _TABLES))


# ------------------------------------------------------------------ CSV: rows, with quoted fields

ROW_START, FIELD_START, PLAIN, QUOTED, QUOTE_IN_QUOTED = range(5)


_ONES, _LOW = np.uint64(0x0101010101010101), np.uint64(0x7F7F7F7F7F7F7F7F)


@compiled
def _has(word: Any, byte: int) -> Any:
    """Whether one of the eight bytes of a word is that byte: not 0 if so."""
    differing = word ^ (_ONES * np.uint64(byte))
    return ~(((differing & _LOW) + _LOW) | differing | _LOW)


@compiled
def _scan_csv(
    data: Bytes, words: Any, state: int, rows: int, every: int, separator: int, quote: int, points: Offsets
) -> tuple[int, int, int]:
    found = 0
    i = 0
    size = len(data)
    while i < size:
        # Eight bytes without a quote or the end of a line leave a row as it is: only the last of them counts.
        if i & 7 == 0 and state != ROW_START and i + 8 <= size:
            word = words[i >> 3]
            if not (_has(word, 10) | _has(word, 13) | (_has(word, quote) if quote >= 0 else np.uint64(0))):
                if state != QUOTED:
                    state = FIELD_START if data[i + 7] == separator else PLAIN
                i += 8
                continue
        c = data[i]
        newline = c == 10 or c == 13
        if state == ROW_START:
            if newline:
                i += 1
                continue  # the second half of \r\n, or an empty line, which is not a row
            if rows % every == 0:
                points[found] = i
                found += 1
            rows += 1
            state = FIELD_START
        if state == QUOTED:
            if c == quote:
                state = QUOTE_IN_QUOTED
        elif state == QUOTE_IN_QUOTED and c == quote:
            state = QUOTED
        elif newline:
            state = ROW_START
        elif c == separator:
            state = FIELD_START
        elif state == FIELD_START and c == quote:
            state = QUOTED
        else:
            state = PLAIN
        i += 1
    return state, rows, found


def scan_csv(
    data: bytes, state: int, rows: int, every: int, separator: int, quote: int
) -> tuple[int, int, NDArray[np.int64]]:
    """Scan a piece of CSV text that begins in `state`, after `rows` rows.

    Returns the state and the number of rows at its end, and the offsets in `data` of rows 0, every, 2 * every, …
    A quote counts only at the beginning of a field; -1 for `quote` means that there are no quotes.
    """
    points = np.empty(len(data) // (2 * every) + 2, np.int64)
    array = as_bytes(data)
    words = array[: len(array) & ~7].view(np.uint64)
    state, rows, found = _scan_csv(array, words, state, rows, every, separator, quote, points)
    return int(state), int(rows), points[:found]
