"""Values of the user's code as JSON and back: plain data, arrays, tensors and tables, but no code.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.model.loading.losses import is_of_keras

LARGEST = 16 << 20
"""How many bytes an array may have to count as plain data."""
_SCALARS = (bool, int, float, str)


class NotPlainError(Exception):
    """A value that is neither plain data nor made of it."""


def encode(value: Any) -> Any:
    """Return a value as JSON; raises NotPlainError if it is not plain data."""
    if value is None or type(value) in _SCALARS:
        return value
    for kind in (list, tuple, set, frozenset):
        if type(value) is kind or (isinstance(value, kind) and is_of_keras(type(value))):  # Keras wraps attributes
            return {kind.__name__: [encode(item) for item in value]}
    if type(value) is dict or (isinstance(value, dict) and is_of_keras(type(value))):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, np.generic):
        return {"number": encode_array(np.asarray(value))}
    if type(value) is np.ndarray:
        return {"array": encode_array(value)}
    if isinstance(value, tf.lookup.StaticHashTable):
        keys, values = value.export()
        default = value._default_value  # there is no public name
        return {"table": [encode_array(one.numpy()) for one in (keys, values, default)]}
    if isinstance(value, tf.Tensor) and hasattr(value, "numpy"):
        return {"tensor": encode_array(value.numpy())}
    raise NotPlainError(type(value).__name__)


def decode(given: Any) -> Any:
    """Return the value that `encode` was given."""
    if not isinstance(given, dict):
        return given
    ((kind, content),) = given.items()
    match kind:
        case "list" | "tuple" | "set" | "frozenset":
            kinds = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
            return kinds[kind](decode(item) for item in content)
        case "dict":
            return {decode(key): decode(item) for key, item in content}
        case "bytes":
            return base64.b64decode(content)
        case "number":
            return decode_array(content)[()]
        case "array":
            return decode_array(content)
        case "tensor":
            return tf.constant(decode_array(content))
        case "table":
            keys, values, default = map(decode_array, content)
            initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(values))
            return tf.lookup.StaticHashTable(initializer, tf.constant(default))
    raise NotPlainError(kind)


def encode_array(array: Any) -> Any:
    """Return an array of numbers or strings as JSON; raises NotPlainError for other arrays, and for large ones."""
    array = np.asarray(array)
    if array.nbytes > LARGEST:
        raise NotPlainError("a large array")
    if array.dtype.hasobject:
        return {"shape": list(array.shape), "items": [encode(item) for item in array.reshape(-1)]}
    if array.dtype.kind not in "biufcSUMm":  # such as bfloat16
        raise NotPlainError(array.dtype.name)
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def decode_array(given: Any) -> Any:
    """Return the array that `encode_array` was given."""
    if isinstance(given, str):
        return np.load(io.BytesIO(base64.b64decode(given)), allow_pickle=False)
    array = np.empty(len(given["items"]), object)
    array[:] = [decode(item) for item in given["items"]]
    return array.reshape(given["shape"])


def mentions(encoded: Any, text: str) -> bool:
    """Whether a string in an encoded value contains `text`."""
    if isinstance(encoded, str):
        return text in encoded
    if isinstance(encoded, dict):
        return any(mentions(item, text) for item in encoded.values())
    return isinstance(encoded, list) and any(mentions(item, text) for item in encoded)
