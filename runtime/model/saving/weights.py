"""A model's or an optimizer's variables in a safetensors file, and back.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import safetensors.numpy

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.saving.kept import settle
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb

_ROWS = re.compile(r"/(embeddings|ids|rows)(#\d+)?$")
"""The variables of embeddings that are ordinary layers: Keras' and ours."""


def save_weights(model: keras.Model, path: str) -> list[pb.Variable]:
    """Write the model's weights to `path`; returns them in the order in which Keras lists `model.weights`."""
    return _save(model.weights, path)


def load_weights(model: keras.Model, path: str, variables: Sequence[pb.Variable]) -> None:
    """Give a built model the weights that `save_weights` wrote.

    They are matched by name if the model's weights have the names in the file, else in order if all shapes agree.
    Otherwise raises ModelError, which names the first that does not fit.
    """
    shapes = {variable.name: tuple(variable.shape) for variable in variables}
    for layer in model._flatten_layers():
        if hasattr(layer, "make_room"):  # an elasticdl_nb.Embedding, with one row for each id that training has seen
            layer.make_room(shapes)
    _load(model.weights, path, variables, "the model")
    settle(model)


def load_weights_without_rows(model: keras.Model, path: str, variables: Sequence[pb.Variable]) -> None:
    """Like `load_weights`, but leave out the rows of embeddings, which may be in tables, on either side."""
    names = zip(variable_names(model.weights), model.weights, strict=True)
    targets = [variable for name, variable in names if not _ROWS.search(name)]
    _load(targets, path, [one for one in variables if not _ROWS.search(one.name)], "the model")
    settle(model)


def save_optimizer(optimizer: Any, path: str) -> list[pb.Variable]:
    """Write the `variables` of a built optimizer, or of several, to `path`; returns them in their own order."""
    return _save(optimizer.variables, path)


def load_optimizer(optimizer: Any, path: str, variables: Sequence[pb.Variable]) -> None:
    """Give a built optimizer the variables that `save_optimizer` wrote; raises ModelError if they do not fit."""
    _load(optimizer.variables, path, variables, "the optimizer")


def variable_names(variables: Sequence[Any]) -> list[str]:
    """A name for each variable: its path in the model, numbered where several have the same path."""
    names: list[str] = []
    taken: dict[str, int] = {}
    for variable in variables:
        path = variable.path
        taken[path] = taken.get(path, 0) + 1
        names.append(path if taken[path] == 1 else f"{path}#{taken[path]}")
    return names


def _save(variables: Sequence[Any], path: str) -> list[pb.Variable]:
    arrays = {
        name: np.asarray(keras.ops.convert_to_numpy(variable), order="C")
        for name, variable in zip(variable_names(variables), variables, strict=True)
    }
    try:
        safetensors.numpy.save_file(arrays, path)
    except safetensors.SafetensorError as error:  # a full disk, for example
        raise OSError(f"{path} cannot be written: {error}") from error
    return [
        pb.Variable(name=name, shape=variables[index].shape, dtype=array.dtype.name)
        for index, (name, array) in enumerate(arrays.items())
    ]


def _load(targets: Sequence[Any], path: str, variables: Sequence[pb.Variable], what: str) -> None:
    names = variable_names(targets)
    saved = {variable.name: tuple(variable.shape) for variable in variables}
    order = names if set(names) == set(saved) else list(saved)
    if len(order) != len(names):
        raise ModelError(f"{path} has {len(saved)} variables, but {what} has {len(names)}: {_difference(names, saved)}")
    for name, source, target in zip(names, order, targets, strict=True):
        if tuple(target.shape) != saved[source]:
            raise ModelError(
                f"{path}: {source} has shape {list(saved[source])}, but {name} of {what} has {list(target.shape)}"
            )
    with safetensors.safe_open(path, framework="np") as file:
        absent = set(order) - set(file.keys())
        if absent:
            raise ModelError(f"{path} lacks {', '.join(sorted(absent))}")
        for source, target in zip(order, targets, strict=True):
            target.assign(file.get_tensor(source))


def _difference(names: Sequence[str], saved: dict[str, tuple[int, ...]]) -> str:
    extra = [name for name in saved if name not in names]
    missing = [name for name in names if name not in saved]
    return f"only the file has {extra[0]}" if len(saved) > len(names) else f"the file lacks {missing[0]}"
