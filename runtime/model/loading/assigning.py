"""Which trained weights a model assigns while it is called, as layers do that normalize or prune their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.model.loading.losses import is_of_keras

_ASSIGNS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")


def may_assign(model: Any) -> bool:
    """Whether a model has layers of which that is possible."""
    return any(
        isinstance(layer, keras.layers.SpectralNormalization) or not is_of_keras(type(layer))
        for layer in model._flatten_layers()
    )


def assigned(call: Callable[[Any], Any], form: Any, variables: Sequence[Any]) -> list[Any]:
    """Return those of the variables that `call`, with features of this form, assigns: it is traced, and not run."""
    graph = tf.function(call, autograph=False).get_concrete_function(form).graph
    handles = {id(inner): outer for outer, inner in graph.captures}
    written = {id(handles.get(id(handle))) for handle in _written(graph)}
    return [variable for variable in variables if id(variable.value.handle) in written]


def _written(graph: Any) -> Iterator[Any]:
    for operation in graph.get_operations():
        if operation.type in _ASSIGNS:
            yield operation.inputs[0]
