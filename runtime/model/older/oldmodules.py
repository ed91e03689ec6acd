"""`tensorflow.python.keras`, which is Keras 2's code within TensorFlow, leads to Keras 3.

Its classes cannot be part of a Keras 3 model. So `from tensorflow.python.keras import layers` gives Keras 3's, and a
name that Keras 3 does not have is an ImportError. TensorFlow itself has imported what it needs of the old code before.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import did_you_mean

_OLD = "tensorflow.python.keras"
# What Keras 3 calls each old module. Their own modules, such as `layers.core`, follow them.
_NEW = {
    "": "",
    "activations": "activations", "applications": "applications", "backend": "backend", "callbacks": "callbacks",
    "constraints": "constraints", "datasets": "datasets", "engine": "", "initializers": "initializers",
    "layers": "layers", "losses": "losses", "metrics": "metrics", "models": "models", "optimizer_v2": "optimizers",
    "optimizers": "optimizers", "preprocessing": "preprocessing", "regularizers": "regularizers", "utils": "utils",
}  # fmt: skip
# Functions for those who write layers. They make no objects of Keras.
_KEPT = ("utils.", "protobuf", "engine.input_spec")


def install() -> None:
    """Replace the modules, for all imports from now on."""
    old = [name for name in sys.modules if name == _OLD or name.startswith(f"{_OLD}.")]
    wanted = {*old, *(f"{_OLD}.{part}".rstrip(".") for part in _NEW)}
    for name in sorted(wanted):
        part = name[len(_OLD) + 1 :]
        top = part.partition(".")[0]
        if top in _NEW and not part.startswith(_KEPT):
            sys.modules[name] = _Redirected(name, _NEW[top], sys.modules.get(name))
    importlib.import_module("tensorflow.python").keras = sys.modules[_OLD]  # type: ignore[attr-defined]


class _Redirected(ModuleType):
    """A module with the names of Keras 3's module."""

    def __init__(self, name: str, new: str, old: ModuleType | None) -> None:
        super().__init__(name, f"What {name} had, from Keras 3.")
        self.__path__ = list(getattr(old, "__path__", []))
        self._new = new

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        submodule = sys.modules.get(f"{self.__name__}.{name}")
        if submodule is not None:
            return submodule
        homes = [getattr(tf.keras, self._new)] if self._new else [tf.keras, keras.layers, keras.models]
        for home in homes:
            if hasattr(home, name):
                return getattr(home, name)
        if self._new == "metrics" and name == "accuracy":
            return _accuracy
        listed = {one for home in homes for one in dir(home)}
        raise AttributeError(
            f"{self.__name__}.{name} is part of Keras 2, and Keras 3 has nothing of that name"
            f"{did_you_mean(name, listed)}"
        )


def _accuracy(y_true: Any, y_pred: Any) -> Any:
    """1.0 where labels and predictions are equal, else 0.0, as float32 of their shape."""
    y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
    return tf.cast(tf.equal(tf.cast(y_true, y_pred.dtype), y_pred), keras.config.floatx())
