"""What the names in a zoo's modules stood for when the model was trained: plain values, and layers outside the model.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from elasticdl_nb.runtime.model.saving.kept import restore, state_of
from elasticdl_nb.runtime.model.saving.plain import (
    LARGEST,
    NotPlainError,
    decode,
    decode_array,
    encode,
    encode_array,
    mentions,
)

FILE = "names.json"
"""The name of the file in the directory of a trained model."""
Names = Mapping[str, Mapping[str, Any]]
"""By module and name, what a name stood for, as JSON."""


def names_of(root: str, model: keras.Model) -> str:
    """Return as JSON what the names in the modules from the zoo at `root` stand for now.

    Values that name the zoo's folder depend on where it is, and stay out; so do the model and its layers.
    """
    of_model = set(map(id, model._flatten_layers()))
    found: dict[str, dict[str, Any]] = {}
    size = 0
    for module in _modules(root):
        values = found.setdefault(module.__name__, {})
        for name, value in vars(module).items():
            if name.startswith("__") or id(value) in of_model:
                continue
            with contextlib.suppress(NotPlainError):
                encoded = _encoded(value, root)
                size += len(json.dumps(encoded))
                if not mentions(encoded, root) and size <= LARGEST:
                    values[name] = encoded
    return json.dumps({name: values for name, values in found.items() if values})


def read(folder: str | os.PathLike[str]) -> Names:
    """Return what `names_of` gave, from a trained model's directory; empty if there is nothing."""
    path = Path(folder, FILE)
    return dict(json.loads(path.read_text())) if path.exists() else {}


def put(module: ModuleType, name: str, encoded: Any) -> None:
    """Let a name of a module stand for what it once did. A layer that is there keeps its place."""
    if not (isinstance(encoded, dict) and "layer" in encoded):
        if not _is(vars(module).get(name), encoded):
            setattr(module, name, decode(encoded))
        return
    description = encoded["layer"]
    layer: Any = vars(module).get(name)
    if type(layer).__name__ != description["class"]:
        layer = keras.saving.deserialize_keras_object(description["config"], safe_mode=False)
        setattr(module, name, layer)
    if description["build"] and not layer.built:
        layer.build_from_config(description["build"])
    if description["own"]:
        layer.load_own_variables({key: decode_array(value) for key, value in description["own"].items()})
    restore(layer, description["state"])


def _modules(root: str) -> Iterator[ModuleType]:
    top = os.path.realpath(root) + os.sep
    folders: dict[str, str] = {}  # thousands of modules are in a few hundred folders, and each costs a walk
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not file:
            continue
        folder, name = os.path.split(file)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        path = os.path.join(folders[folder], name)
        if path.startswith(top) or (os.path.islink(path) and os.path.realpath(path).startswith(top)):
            yield module


def _encoded(value: Any, root: str) -> Any:
    if not isinstance(value, keras.layers.Layer) or isinstance(value, keras.Model):
        return encode(value)
    own: dict[str, Any] = {}
    try:
        value.save_own_variables(own)
        config = keras.saving.serialize_keras_object(value)
        json.dumps(config)
    except Exception as error:  # a layer of the user's may raise anything
        raise NotPlainError(type(value).__name__) from error
    return {
        "layer": {
            "class": type(value).__name__,
            "config": config,
            "build": value.get_build_config(),
            "own": {key: encode_array(np.asarray(array)) for key, array in own.items()},
            "state": state_of(value, root),
        }
    }


def _is(value: Any, encoded: Any) -> bool:
    try:
        return bool(encode(value) == encoded)
    except NotPlainError:
        return False
