"""What callbacks remember and have decided, as a file that another process can continue from; never a pickle."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime import durable

_OWN = {"_model", "params", "validation_data"}
"""Attributes that every callback gets from the process that it is in."""
_SKIPPED: dict[type, set[str]] = {
    keras.callbacks.CSVLogger: {"append", "append_header", "filename"},  # depend on what is in the file
    keras.callbacks.EarlyStopping.__base__: {"min_delta"},  # whose sign changes with the first comparison
}  # fmt: skip
"""Attributes of Keras' callbacks that get new values in another process."""


class _Strange(Exception):
    """A value that is neither data nor made of it."""


@dataclass
class Outcome:
    """What came of a border: the decision as JSON values, each callback's attributes, and weights that have changed.

    `weights` is None if they have not changed.
    """

    decision: dict[str, Any] = field(default_factory=dict)
    attributes: list[dict[str, Any]] = field(default_factory=list)
    weights: list[np.ndarray] | None = None

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        packing = _Packing()
        told = packing.pack({"decision": self.decision, "attributes": self.attributes, "weights": self.weights})
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {str(number): array for number, array in enumerate(packing.arrays)}
        np.savez(buffer, told=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)
        path.parent.mkdir(exist_ok=True)
        durable.write(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """Read a file that `write` has made."""
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(file["told"].tobytes())
            return cls(**_unpacked(told, file))


def remembered(callback: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the attributes of a callback that are data, and the names of the others, functions left out."""
    skipped = _OWN | next((names for kind, names in _SKIPPED.items() if isinstance(callback, kind)), set())
    kept, left = {}, []
    for name, value in vars(callback).items():
        if name in skipped or callable(value):
            continue
        try:
            _Packing().pack(value)
        except _Strange:
            left.append(name)
        else:
            kept[name] = value
    return kept, left


def remove_others(folder: Path, needed: set[str]) -> None:
    """Remove the files of earlier borders."""
    for name in os.listdir(folder):
        if name not in needed and not name.startswith("."):
            durable.remove(folder / name)


class _Packing:
    """Turns values into JSON ones; arrays are collected."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def pack(self, value: Any) -> Any:
        if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
            return value
        if isinstance(value, (tf.Tensor, tf.Variable, keras.Variable)):
            value = keras.ops.convert_to_numpy(value)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value)
        if type(value) in (list, tuple, set):
            return {"kind": type(value).__name__, "of": [self.pack(one) for one in value]}
        if isinstance(value, Mapping) and type(value).__module__ in ("builtins", "collections"):
            return {"kind": "dict", "of": [[self.pack(key), self.pack(one)] for key, one in value.items()]}
        raise _Strange

    def _array(self, value: Any) -> dict[str, Any]:
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise _Strange
        self.arrays.append(np.frombuffer(array.tobytes(), np.uint8))
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {"kind": kind, "of": len(self.arrays) - 1, "dtype": _name(array.dtype), "shape": array.shape}


def _name(dtype: np.dtype) -> str:
    return dtype.name if dtype.kind == "V" else dtype.str  # bfloat16 has no other name


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    of = value["of"]
    match value["kind"]:
        case "array" | "scalar":
            array = np.frombuffer(arrays[str(of)].tobytes(), np.dtype(value["dtype"])).reshape(value["shape"])
            return array.copy() if value["kind"] == "array" else array[()]
        case "dict":
            return {_unpacked(key, arrays): _unpacked(one, arrays) for key, one in of}
        case "tuple":
            return tuple(_unpacked(one, arrays) for one in of)
        case "set":
            return {_unpacked(one, arrays) for one in of}
        case _:
            return [_unpacked(one, arrays) for one in of]
