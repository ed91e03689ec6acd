"""Finds which weights of Keras objects are still the initial ones. Imported only where TensorFlow is already loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from elasticdl_nb.capture.state.arrays import array_of, same_values
from elasticdl_nb.runtime.model.embeddings.embedding import Embedding

LARGE = 2 << 20
"""From this many bytes, an embedding with initial values is written as its initializer, so that it may be served."""


_TABLES = ((keras.layers.Embedding, "_embeddings"), (Embedding, "_rows"))
"""Which variables jobs may keep outside of models."""


@dataclass
class Plan:
    """How variables are written: `values` replaces their values, `initial` says what makes them, both by id.

    `tables` are those of embeddings with initial values, by id, which jobs may keep outside the model. `trained` are
    layers whose weights are no longer the initial ones, `unknown` those where that cannot be found out.
    """

    values: dict[int, Any] = field(default_factory=dict)
    initial: dict[int, tuple[Any, tuple[int, ...], str]] = field(default_factory=dict)
    tables: set[int] = field(default_factory=set)
    trained: list[Any] = field(default_factory=list)
    unknown: list[Any] = field(default_factory=list)


def plan_for(objects: Iterable[Any], scratch: bool) -> Plan:
    """Look at the layers and optimizers among the objects; with `scratch`, all of them start from initial weights."""
    plan = Plan()
    for one in objects:
        if isinstance(one, keras.layers.Layer):
            _plan_layer(one, plan, scratch)
        elif scratch and isinstance(one, keras.optimizers.Optimizer):
            for variable in one.variables:
                if variable is not getattr(one, "_learning_rate", None):
                    plan.values[id(variable._value)] = np.zeros(variable.shape, _dtype(variable))
    return plan


def _plan_layer(layer: Any, plan: Plan, scratch: bool) -> None:
    for name, variable in list(vars(layer).items()):
        if not isinstance(variable, keras.Variable) or variable._value is None or "seed" in variable.name:
            continue
        is_table = (type(layer), name) in _TABLES and vars(layer).get("_ids") is None
        first = _initial_value(layer, "embeddings" if is_table else name.lstrip("_"), variable)
        if first is None:
            if variable.trainable:
                plan.unknown.append(layer)
            continue
        if scratch:
            plan.values[id(variable._value)] = first
        elif not same_values(first, array_of(variable._value)):
            plan.trained.append(layer)
            continue
        if is_table:
            plan.tables.add(id(variable._value))
            if first.nbytes >= LARGE:
                made = (layer.embeddings_initializer, tuple(variable.shape), str(variable.dtype))
                plan.initial[id(variable._value)] = made


def _initial_value(layer: Any, name: str, variable: Any) -> Any:
    initializer = vars(layer).get(f"{name}_initializer")
    if initializer is None:
        return None
    try:
        return array_of(keras.ops.convert_to_tensor(initializer(tuple(variable.shape), dtype=variable.dtype)))
    except Exception:
        return None


def _dtype(variable: Any) -> Any:
    return variable._value.dtype.as_numpy_dtype
