"""tf.train.Examples as columns, by a compiled loop that reads the usual form of their bytes.

That is how serializers write Examples, each feature once. A record in any other form, good or bad, is left to protobuf:
what the loop takes means the same there, and what is wrong with a record is found there alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elasticdl_nb.runtime.compiled import compiled
from elasticdl_nb.runtime.data.bytescan import as_bytes
from elasticdl_nb.runtime.data.columntypes import STRING
from elasticdl_nb.runtime.data.topics.schema import Field

Numbers = NDArray[np.int64]
Bytes = NDArray[np.uint8]

_BYTES, _FLOAT, _INT = 1, 2, 3  # the numbers of the lists' fields in a Feature
_EXACT = 2**53  # up to which every whole number is a float64


class Wanted(NamedTuple):
    """Fields, in the form that the loop takes.

    `names` one after another, the n-th up to `name_ends[n]`; its kind, its number of values, the place of the first
    among all values of a record, whether it may be missing, and how large whole numbers may be.
    """

    names: Bytes
    name_ends: Numbers
    kinds: Numbers
    lengths: Numbers
    places: Numbers
    optional: Numbers
    limits: Numbers

    @classmethod
    def of(cls, fields: Sequence[Field]) -> Wanted:
        """Return fields in this form."""
        names = [one.column.name.encode() for one in fields]
        dtypes = [one.column.dtype for one in fields]
        lengths = [int(np.prod(one.column.shape)) for one in fields]  # 1 without a shape
        kinds = [_BYTES if one == STRING else _FLOAT if one == "float32" else _INT for one in dtypes]
        limits = [_EXACT if one == "float64" else -1 for one in dtypes]
        ends, places = np.cumsum([len(name) for name in names]), np.cumsum([0, *lengths[:-1]])
        optional = [one.optional for one in fields]
        columns = (np.array(one, np.int64) for one in (ends, kinds, lengths, places, optional, limits))
        return cls(as_bytes(b"".join(names)), *columns)


@compiled
def _varint(data: Bytes, p: int, end: int) -> Any:
    """Return a number and the place after it; or a place of -1 if it is cut off or too long."""
    value, shift = np.uint64(0), np.uint64(0)
    for n in range(10):
        if p >= end or (n == 9 and data[p] > 1):
            return np.int64(0), -1
        byte = np.uint64(data[p])
        value |= (byte & np.uint64(127)) << shift
        p += 1
        if byte < np.uint64(128):
            return np.int64(value), p
        shift += np.uint64(7)
    return np.int64(0), -1


@compiled
def _inside(data: Bytes, p: int, end: int, tag: int) -> Any:
    """Return where a field begins and ends that has this tag and a length, or -1, -1 if it is another or too long."""
    if p >= end or data[p] != tag:
        return -1, -1
    length, p = _varint(data, p + 1, end)
    if p < 0 or length < 0 or length > end - p:
        return -1, -1
    return p, p + length


@compiled
def _values(data: Bytes, p: int, end: int, kind: int, limit: int, room: int, first: Numbers, last: Numbers) -> Any:
    """Read the values of a list; return how many there are, or -1 if it is not in the usual form.

    The first `room` of them are stored: whole numbers and the bits of floats in `first`, the bounds of bytes in both.
    """
    count = 0
    if kind == 1:
        while p < end:
            a, b = _inside(data, p, end, 10)
            if a < 0:
                return -1
            if count < room:
                first[count], last[count] = a, b
            count += 1
            p = b
        return count
    if p == end:
        return 0
    p, packed = _inside(data, p, end, 10)
    if p < 0 or packed != end:
        return -1
    if kind == 2:
        if (end - p) % 4:
            return -1
        while p < end:
            if count < room:
                bits = np.int64(0)
                for n in range(4):
                    bits |= np.int64(data[p + n]) << np.int64(8 * n)
                first[count] = bits
            count += 1
            p += 4
        return count
    while p < end:
        value, p = _varint(data, p, end)
        if p < 0 or (limit >= 0 and (value > limit or value < -limit)):
            return -1
        if count < room:
            first[count] = value
        count += 1
    return count


@compiled
def _field_of(data: Bytes, a: int, b: int, names: Bytes, name_ends: Numbers) -> Any:
    """Return which field has this name, or -1 for none, or -2 if the name has other characters than ASCII."""
    for p in range(a, b):
        if data[p] > 127:
            return -2
    start = 0
    for n in range(len(name_ends)):
        stop = name_ends[n]
        if stop - start == b - a:
            same = True
            for k in range(b - a):
                if names[start + k] != data[a + k]:
                    same = False
                    break
            if same:
                return n
        start = stop
    return -1


@compiled
def _record(data: Bytes, start: int, end: int, wanted: Wanted, seen: Bytes, first: Numbers, last: Numbers) -> Any:
    """Read a record; return whether it has the usual form and all fields that it must have."""
    p, stop = _inside(data, start, end, 10)
    if p < 0 or stop != end:
        return False
    while p < end:
        entry, p = _inside(data, p, end, 10)
        if entry < 0:
            return False
        key, key_end = _inside(data, entry, p, 10)
        if key < 0:
            return False
        value, value_end = _inside(data, key_end, p, 18)
        if value < 0 or value_end != p or value == value_end:
            return False
        kind: Any = np.int64(data[value]) >> 3
        if kind < 1 or kind > 3:
            return False
        a, b = _inside(data, value, p, kind * 8 + 2)
        if a < 0 or b != p:
            return False
        n = _field_of(data, key, key_end, wanted.names, wanted.name_ends)
        if n < -1:
            return False
        if n < 0:
            if _values(data, a, b, kind, -1, 0, first, last) < 0:
                return False
            continue
        place, length = wanted.places[n], wanted.lengths[n]
        if seen[n] or kind != wanted.kinds[n]:
            return False
        if _values(data, a, b, kind, wanted.limits[n], length, first[place:], last[place:]) != length:
            return False
        seen[n] = 1
    lacking = 0
    for n in range(len(seen)):
        lacking += not seen[n] and not wanted.optional[n]
    return lacking == 0


@compiled
def _scan(data: Bytes, ends: Numbers, wanted: Wanted, good: Bytes, seen: Bytes, first: Numbers, last: Numbers) -> None:
    start = 0
    for n in range(len(ends)):
        good[n] = _record(data, start, ends[n], wanted, seen[n], first[n], last[n])
        start = ends[n]


@compiled
def _gather(data: Bytes, starts: Numbers, ends: Numbers, found: Bytes) -> None:
    """Copy ranges of bytes, one after another."""
    p = 0
    for n in range(len(starts)):
        for k in range(starts[n], ends[n]):
            found[p] = data[k]
            p += 1


def scan(values: Sequence[bytes], fields: Sequence[Field], wanted: Wanted) -> tuple[NDArray[np.bool_], list[pa.Array]]:
    """Return which records were read, and a column of each field with their values, as protobuf would give them.

    `wanted` has the same fields.
    """
    data, ends = as_bytes(b"".join(values)), np.cumsum([len(value) for value in values], dtype=np.int64)
    good, seen = np.zeros(len(values), np.uint8), np.zeros((len(values), len(fields)), np.uint8)
    width = int(wanted.lengths.sum())
    first, last = (np.zeros((len(values), width), np.int64) for _ in range(2))
    _scan(data, ends, wanted, good, seen, first, last)
    chosen = good.astype(bool)
    first, last, seen = first[chosen], last[chosen], seen[chosen]
    arrays = []
    for n, field in enumerate(fields):
        place, length = int(wanted.places[n]), int(wanted.lengths[n])
        a, b = (np.ascontiguousarray(one[:, place : place + length]).ravel() for one in (first, last))
        missing = None if seen[:, n].all() else seen[:, n] == 0  # only of one that has no shape
        items = _items(data, a, b, int(wanted.kinds[n]), field, missing)
        if field.column.shape:
            offsets = np.arange(len(first) + 1, dtype=np.int32) * length
            items = pa.ListArray.from_arrays(pa.array(offsets), items)
        arrays.append(items)
    return chosen, arrays


def _items(data: Bytes, a: Numbers, b: Numbers, kind: int, field: Field, missing: NDArray[np.bool_] | None) -> pa.Array:
    if kind == _INT:
        return pa.array(a.astype(field.column.dtype), mask=missing)
    if kind == _FLOAT:
        return pa.array(a.astype(np.uint32).view(np.float32), mask=missing)
    offsets = np.concatenate([[0], np.cumsum(b - a)])
    text = np.empty(int(offsets[-1]), np.uint8)
    _gather(data, a, b, text)
    validity = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.binary(), len(a), buffers)
