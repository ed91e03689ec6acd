"""Encodes rows as responses of SQLFlow's service, a column at a time.

Each row is a message of its own on the stream, so a query of a million rows has a million of them. They are put
together from bytes: making a protobuf object for each value takes several times as long.
"""

from __future__ import annotations

import decimal
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as types
from google.protobuf import timestamp_pb2, wrappers_pb2
from google.protobuf.message import Message

from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.result import python_values

_DATA, _ANY_URL, _ANY_VALUE, _ROW = b"\x0a", b"\x0a", b"\x12", b"\x12"
"""Tags of protobuf fields: Row.data, Any.type_url, Any.value, Response.row."""
_DOUBLE, _FLOAT = b"\x09", b"\x0d"
"""Tags of the values in DoubleValue and FloatValue."""
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""The range of protobuf's timestamps: the years 1 to 9999."""
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_LARGEST = 2**63


def encode_rows(batch: pa.RecordBatch) -> list[bytes]:
    """Return a response for each row."""
    rows = [b"".join(values) for values in zip(*map(_encode, batch.columns), strict=True)]
    return [_ROW + _length(row) + row for row in rows]


def _length(data: bytes) -> bytes:
    """Return the length of the data as protobuf writes it."""
    size = len(data)
    if size < 128:
        return _SIZES[size]
    found = bytearray()
    while size >= 128:
        found.append(size & 127 | 128)
        size >>= 7
    found.append(size)
    return bytes(found)


_SIZES = [bytes([size]) for size in range(128)]


def _any(message: Message) -> bytes:
    """Return the start of an Any that holds a message of that type."""
    url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}".encode()
    return _ANY_URL + _length(url) + url


def _field(message: Message) -> bytes:
    """Return the message as one of a row's values."""
    payload = message.SerializeToString()
    value = _any(message) + (_ANY_VALUE + _length(payload) + payload if payload else b"")
    return _DATA + _length(value) + value


_NULL = _field(pb.Row.Null())


def _encode(column: pa.Array) -> list[bytes]:
    kind = column.type
    if types.is_dictionary(kind):
        return _encode(column.dictionary_decode())
    if types.is_float64(kind) or types.is_float32(kind):
        return _floats(column)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _moments(column)
    make = next((make for applies, make in _MAKERS if applies(kind)), _text)
    return _each(python_values(column), make)


def _each(values: Sequence[Any], make: Callable[[Any], Message]) -> list[bytes]:
    """Encode each different value once."""
    try:
        encoded = {value: _NULL if value is None else _field(make(value)) for value in set(values)}
    except TypeError:  # lists and dicts
        return [_NULL if value is None else _field(make(value)) for value in values]
    return [encoded[value] for value in values]


def _floats(column: pa.Array) -> list[bytes]:
    wide = types.is_float64(column.type)
    message, tag, size = (wrappers_pb2.DoubleValue(), _DOUBLE, 8) if wide else (wrappers_pb2.FloatValue(), _FLOAT, 4)
    start = _any(message) + _ANY_VALUE + _SIZES[1 + size] + tag
    start = _DATA + _SIZES[len(start) + size] + start
    raw = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype(f"<f{size}").tobytes()
    found = [start + raw[place : place + size] for place in range(0, len(raw), size)]
    if column.null_count:
        found = [value if known else _NULL for value, known in zip(found, column.is_valid().to_pylist(), strict=True)]
    return found


def _moments(column: pa.Array) -> list[bytes]:
    """Encode dates and timestamps; those that protobuf's timestamps cannot hold become texts."""
    kind = column.type
    if types.is_date(kind):
        column = column.cast(pa.date32())
        numbers, unit, day = column.cast(pa.int32()).to_pylist(), 1, 86_400
    else:
        numbers, unit, day = column.cast(pa.int64()).to_pylist(), _UNITS[kind.unit], 1
    encoded: dict[int | None, bytes] = {None: _NULL}
    for number in set(numbers) - {None}:
        seconds, rest = divmod(number * day, unit)
        if _FIRST_SECOND <= seconds <= _LAST_SECOND:
            encoded[number] = _field(timestamp_pb2.Timestamp(seconds=seconds, nanos=rest * (10**9 // unit)))
        else:
            text = column.take(pa.array([numbers.index(number)])).cast(pa.string())[0].as_py()
            encoded[number] = _field(wrappers_pb2.StringValue(value=text))
    return [encoded[number] for number in numbers]


def _decimal(value: decimal.Decimal) -> Message:
    """A whole number stays one if 64 bits hold it; so sums of whole numbers, which are decimals in some engines, do."""
    exponent = value.as_tuple().exponent
    if exponent == 0 and -_LARGEST <= value < _LARGEST:
        return wrappers_pb2.Int64Value(value=int(value))
    return wrappers_pb2.DoubleValue(value=float(value))


def _text(value: Any) -> Message:
    text = json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
    return wrappers_pb2.StringValue(value=text)


def _is_small_signed(kind: pa.DataType) -> bool:
    return bool(types.is_signed_integer(kind) and not types.is_int64(kind))


def _is_small_unsigned(kind: pa.DataType) -> bool:
    return bool(types.is_unsigned_integer(kind) and not types.is_uint64(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


_MAKERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], Message]], ...] = (
    (types.is_boolean, lambda value: wrappers_pb2.BoolValue(value=value)),
    (_is_small_signed, lambda value: wrappers_pb2.Int32Value(value=value)),
    (types.is_int64, lambda value: wrappers_pb2.Int64Value(value=value)),
    (_is_small_unsigned, lambda value: wrappers_pb2.UInt32Value(value=value)),
    (types.is_uint64, lambda value: wrappers_pb2.UInt64Value(value=value)),
    (types.is_decimal, _decimal),
    (types.is_float16, lambda value: wrappers_pb2.FloatValue(value=value)),
    (_is_bytes, lambda value: wrappers_pb2.BytesValue(value=value)),
)
