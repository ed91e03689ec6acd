"""tf.train.Example without TensorFlow: records of named features, to and from columns.

The message type is declared in a pool of its own, so that it does not clash with TensorFlow's where both are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError

_KINDS = {"bytes_list": pa.binary(), "float_list": pa.float32(), "int64_list": pa.int64()}


def _declare() -> Any:
    types: Any = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    for name, kind in (
        ("BytesList", types.TYPE_BYTES),
        ("FloatList", types.TYPE_FLOAT),
        ("Int64List", types.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=types.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(zip(_KINDS, ("BytesList", "FloatList", "Int64List"), strict=True), 1):
        feature.field.add(
            name=name, number=number, type=types.TYPE_MESSAGE, type_name=f".tensorflow.{kind}",
            label=types.LABEL_OPTIONAL, oneof_index=0,
        )  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=types.TYPE_STRING, label=types.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=types.TYPE_MESSAGE, type_name=".tensorflow.Feature", label=types.LABEL_OPTIONAL
    )
    features.field.add(
        name="feature", number=1, type=types.TYPE_MESSAGE, type_name=".tensorflow.Features.FeatureEntry",
        label=types.LABEL_REPEATED,
    )  # fmt: skip
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, type=types.TYPE_MESSAGE, type_name=".tensorflow.Features", label=types.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example: Any = _declare()


# ------------------------------------------------------------------ columns to records


def encode(columns: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """Return one serialized Example per row; columns are [n] or [n, …] and hold numbers, text or bytes.

    Floats become a float_list (float32), integers and bools an int64_list, text and bytes a bytes_list. A value that
    is an array becomes the list of its elements.
    """
    prepared = [(name, *_prepare(name, values)) for name, values in columns.items()]
    if len({len(rows) for _, _, rows in prepared}) > 1:
        raise ValueError("the columns have different lengths")
    records = []
    for n in range(len(prepared[0][2]) if prepared else 0):
        example = Example()
        feature = example.features.feature
        for name, kind, rows in prepared:
            getattr(feature[name], kind).value.extend(rows[n])
        records.append(example.SerializeToString(deterministic=True))
    return records


def _prepare(name: str, values: NDArray[Any]) -> tuple[str, list[list[Any]]]:
    flat = values.reshape(len(values), -1)
    if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        return "float_list", flat.astype(np.float32).tolist()
    if values.dtype.kind in "iub":
        return "int64_list", flat.astype(np.int64).tolist()
    if values.dtype.kind in "OSU":
        rows = [[item if isinstance(item, bytes) else str(item).encode() for item in row] for row in flat.tolist()]
        return "bytes_list", rows
    raise TypeError(f"column {name!r} has values of type {values.dtype}, which an Example cannot hold")


# ------------------------------------------------------------------ records to columns


def decode(records: Sequence[bytes]) -> dict[str, pa.Array]:
    """Return the features of serialized Examples as arrays of lists, null where a record lacks the feature.

    Raises DataError if a record is not an Example, or a feature has different kinds in different records.
    """
    found: dict[str, list[Any]] = {}
    kinds: dict[str, str] = {}
    for n, record in enumerate(records):
        try:
            features = Example.FromString(record).features.feature
        except DecodeError:
            raise DataError(f"record {n} is not a tf.train.Example") from None
        for name in features:
            feature = features[name]
            kind = feature.WhichOneof("kind")
            if kind is None:
                continue
            if kinds.setdefault(name, kind) != kind:
                raise DataError(f"feature {name!r} is a {kind} in record {n} and a {kinds[name]} in an earlier one")
            values = found.setdefault(name, [])
            values += [None] * (n - len(values))
            values.append(getattr(feature, kind).value[:])
    for values in found.values():
        values += [None] * (len(records) - len(values))
    return {name: pa.array(found[name], pa.list_(_KINDS[kinds[name]])) for name in sorted(found)}


def natural_type(array: pa.Array) -> pa.DataType:
    """Return the type that suits a decoded feature: a scalar if all lists have one value, fixed lists, or lists.

    Bytes that are all valid UTF-8 are treated as text.
    """
    kind = array.type.value_type
    if pa.types.is_binary(kind) and _is_text(array.flatten()):
        kind = pa.string()
    lengths = pc.unique(pc.list_value_length(array).drop_null()).to_pylist()
    if lengths == [1]:
        return kind
    return pa.list_(kind, lengths[0]) if len(lengths) == 1 and array.null_count == 0 else pa.list_(kind)


def _is_text(values: pa.Array) -> bool:
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def convert(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """Return a decoded feature as the type that `natural_type` found; raise DataError if it does not fit."""
    try:
        if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            return array.cast(kind)
        lengths = pc.list_value_length(array).drop_null()
        if pc.any(pc.not_equal(lengths, 1)).as_py():
            raise pa.ArrowInvalid("not every record has exactly one value, as the first ones do")
        # Lists that are not null have one value each: the n-th of them is value n of the flat array.
        position = pc.subtract(pc.cumulative_sum(array.is_valid().cast(pa.int64())), 1)
        return array.flatten().take(pc.if_else(array.is_valid(), position, None)).cast(kind)
    except pa.ArrowInvalid as error:
        raise DataError(f"feature {name!r} does not fit the first records ({kind}): {error}") from None
