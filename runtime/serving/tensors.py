"""Arrays as TensorFlow's TensorProto, from and to clients that are not trusted.

Importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2

from elasticdl_nb.runtime.serving.form import Form, Values
from elasticdl_nb.runtime.serving.problems import invalid


def arrays(inputs: Mapping[str, bytes], largest: int) -> dict[str, NDArray[Any]]:
    """Return tensors as arrays; raises Refused for one that is damaged, or if all have more than `largest` bytes.

    A tensor of equal values is sent as one value and a shape, so the size of a message does not limit that of an array.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, content in inputs.items():
        found[name], nbytes = _array(name, content, largest)
        largest -= nbytes
    return found


def _array(name: str, content: bytes, largest: int) -> tuple[NDArray[Any], int]:
    """Return an array, and its bytes. A text that is repeated counts each time: TensorFlow copies it as often."""
    try:
        proto = tensor_pb2.TensorProto.FromString(content)
        dtype = tf.as_dtype(proto.dtype)
        sizes = [dim.size for dim in proto.tensor_shape.dim]
        size = 1
        for one in sizes:
            size *= one
            if one < 0 or size * (8 if dtype == tf.string else max(1, dtype.size)) > largest:
                raise invalid(f"the input {name!r} has the shape {sizes}, which is more than {largest} bytes")
        if (texts_bytes := _bytes_of_texts(proto.string_val, size) if dtype == tf.string else 0) > largest:
            raise invalid(f"the input {name!r} has texts of more than {largest} bytes")
        array: NDArray[Any] = tf.make_ndarray(proto)
    except (DecodeError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise invalid(f"the input {name!r} is not a valid tensor: {error}") from None
    if array.dtype == object:
        texts = np.empty(array.shape, object)
        texts[...] = array
        return texts, texts_bytes
    return array, array.nbytes


def _bytes_of_texts(texts: Sequence[bytes], size: int) -> int:
    """Return the bytes of a tensor of texts, of which the last is repeated up to its size."""
    return 8 * size + sum(map(len, texts)) + max(0, size - len(texts)) * len(texts[-1] if texts else b"")


def messages(outputs: Values) -> dict[str, bytes]:
    """Return arrays as tensors."""
    return {name: tf.make_tensor_proto(_without_none(value)).SerializeToString() for name, value in outputs.items()}


def _without_none(value: NDArray[Any]) -> NDArray[Any]:
    """Return texts with an empty one where there is none, as clients send them."""
    return np.where(np.equal(value, np.array(None)), "", value) if value.dtype == object else value


def signature(inputs: Mapping[str, Form], outputs: Mapping[str, Form]) -> bytes:
    """Return a model's inputs and outputs as TensorFlow's SignatureDef."""
    from tensorflow.core.protobuf import meta_graph_pb2

    definition = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for forms, infos in ((inputs, definition.inputs), (outputs, definition.outputs)):
        for name, form in forms.items():
            infos[name].name = f"{name}:0"
            infos[name].dtype = tf.as_dtype(form.dtype).as_datatype_enum
            infos[name].tensor_shape.CopyFrom(tf.TensorShape([None, *form.shape]).as_proto())
    return bytes(definition.SerializeToString())
