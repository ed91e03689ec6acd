"""Turns results into the messages that SQLFlow's clients understand."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as types
from google.protobuf import any_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.message import Message

from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.result import Result, text_table

_ROWS_AT_ONCE = 4096
_Encode = Callable[[Any], Message]


def message(text: str) -> pb.Response:
    """Return a line of text as a response."""
    return pb.Response(message=pb.Message(message=text))


def end_of(sql: str, seconds: float) -> pb.Response:
    """Return the message that says that one of several statements is done."""
    return pb.Response(eoe=pb.EndOfExecution(sql=sql, spent_time_seconds=int(seconds)))


def responses(result: Result, *, spoken: bool) -> Iterator[pb.Response]:
    """Yield a statement's responses; `spoken` says whether messages of the same statement have already been sent.

    After a first message, clients expect only messages, and after a head only rows. So a statement sends one or the
    other.
    """
    if result.table is not None and not spoken and not result.plot and result.job is None:
        yield from _rows(result.table)
        return
    for text in result.messages:
        yield message(text)
    if result.table is not None:
        yield message(text_table(result.table))
    if result.plot:
        picture = base64.b64encode(result.plot.encode()).decode()
        # Clients treat a line with a <div> as HTML.
        yield message(f'<div align="center"><img src="data:image/svg+xml;base64,{picture}"></div>')
    if result.table is None and not result.messages and not spoken:
        yield message("Done.")


def _rows(table: pa.Table) -> Iterator[pb.Response]:
    yield pb.Response(head=pb.Head(column_names=table.column_names))
    encoders = [_encoder(field.type) for field in table.schema]
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = [_values(column, encode) for column, encode in zip(batch.columns, encoders, strict=True)]
        for row in zip(*columns, strict=True):
            yield pb.Response(row=pb.Row(data=row))


def _values(column: pa.Array, encode: _Encode) -> list[any_pb2.Any]:
    return [_packed(pb.Row.Null() if value is None else encode(value)) for value in column.to_pylist()]


def _packed(value: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(value)
    return packed


def _encoder(kind: pa.DataType) -> _Encode:
    """Return a function that turns a column's values into messages."""
    for applies, encode in _ENCODERS:
        if applies(kind):
            return encode
    return lambda value: wrappers_pb2.StringValue(value=_text(value))


def _text(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def _instant(value: datetime.datetime | datetime.date) -> Message:
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(value)  # a value without a zone counts as UTC
    return stamp


def _is_small_signed(kind: pa.DataType) -> bool:
    return bool(types.is_signed_integer(kind) and not types.is_int64(kind))


def _is_small_unsigned(kind: pa.DataType) -> bool:
    return bool(types.is_unsigned_integer(kind) and not types.is_uint64(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


_ENCODERS: tuple[tuple[Callable[[pa.DataType], bool], _Encode], ...] = (
    (types.is_boolean, lambda value: wrappers_pb2.BoolValue(value=value)),
    (_is_small_signed, lambda value: wrappers_pb2.Int32Value(value=value)),
    (types.is_int64, lambda value: wrappers_pb2.Int64Value(value=value)),
    (_is_small_unsigned, lambda value: wrappers_pb2.UInt32Value(value=value)),
    (types.is_uint64, lambda value: wrappers_pb2.UInt64Value(value=value)),
    (types.is_float32, lambda value: wrappers_pb2.FloatValue(value=value)),
    (types.is_floating, lambda value: wrappers_pb2.DoubleValue(value=value)),
    (_is_bytes, lambda value: wrappers_pb2.BytesValue(value=value)),
    (types.is_timestamp, _instant),
    (types.is_date, _instant),
)
