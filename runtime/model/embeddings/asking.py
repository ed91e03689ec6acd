"""What a model says of its large embeddings when its code asks for weights, while these are in tables.

Their matrices are counted and shown like variables, and their values can be read. Code that sets them, or computes with
the matrix itself, makes the layer an ordinary one. For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from elasticdl_nb.runtime.parameters.arrays import Array

if TYPE_CHECKING:
    from elasticdl_nb.runtime.model.embeddings.served import ServedEmbedding, ServedLayers

COUNTED = ("get_weights", "set_weights", "count_params")
"""Methods of layers, and so of models, that see all weights."""
_USES = "the model's code uses its matrix"
SETS = "its weights are set by the model's code"


class Matrix:
    """Stands for the variable that a served layer does not have, where weights are listed."""

    trainable = True

    def __init__(self, served: ServedEmbedding) -> None:
        self._served = served
        self.shape = (served.layer.input_dim, served.dim)
        self.dtype = "float32"
        self.name, self.path = "embeddings", f"{served.name}/embeddings"

    def numpy(self) -> Array:
        """Return all rows, float32 [input_dim, dim]."""
        return self._served.matrix()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """See `numpy`."""
        return np.asarray(self.numpy(), dtype)

    def assign(self, values: Any) -> None:
        """Make the layer an ordinary one with these values. Raises ModelError during training."""
        self._served.ordinary(SETS).assign(values)


@contextlib.contextmanager
def as_variables(layers: ServedLayers) -> Iterator[None]:
    """In this block, the lists of weights of served Keras layers have a `Matrix` each."""
    lists = [(one, one.layer._trainable_variables) for one in layers.of_keras()]
    # One method may call another.
    listed = [(variables, Matrix(one)) for one, variables in lists if not variables]
    for variables, matrix in listed:
        variables.append(matrix)
    try:
        yield
    finally:
        for variables, matrix in listed:
            with contextlib.suppress(ValueError):
                variables.remove(matrix)


def answering(layers: ServedLayers, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a layer or model that sees large embeddings among its weights."""

    @wraps(method)
    def answer(*args: Any, **kwargs: Any) -> Any:
        with as_variables(layers):
            return method(*args, **kwargs)

    return answer


@contextlib.contextmanager
def asking(layers: ServedLayers) -> Iterator[None]:
    """In this block, all layers and models answer for large embeddings, too."""
    patched: list[tuple[type, str]] = [(keras.layers.Layer, name) for name in COUNTED]
    patched += [(keras.Model, "summary"), (keras.layers.Embedding, "embeddings")]
    originals = [vars(kind)[name] for kind, name in patched]
    for (kind, name), original in zip(patched[:-1], originals[:-1], strict=True):
        setattr(kind, name, answering(layers, original))
    keras.layers.Embedding.embeddings = property(partial(_matrix_of, layers, originals[-1]))
    try:
        yield
    finally:
        for (kind, name), original in zip(patched, originals, strict=True):
            setattr(kind, name, original)


def attend(layers: ServedLayers, model: Any) -> None:
    """Let a model answer for large embeddings as long as it is trained; callbacks may ask."""
    for served in layers.of_keras():
        served.layer._embeddings = Matrix(served)
    if layers.of_keras():
        for name in (*COUNTED, "summary"):
            setattr(model, name, answering(layers, getattr(model, name)))


def _matrix_of(layers: ServedLayers, original: property, layer: Any) -> Any:
    served = next((one for one in layers.of_keras() if one.layer is layer), None)
    if served is not None:
        served.ordinary(_USES)
    return original.__get__(layer)
