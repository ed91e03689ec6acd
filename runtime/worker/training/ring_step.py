"""A training step in two halves, as graphs: what a worker computes alone, and what follows from all results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.allreduce.buckets import groups
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.worker.batches import as_graph
from elasticdl_nb.runtime.worker.training.exchange import Bucket

Push = Callable[[int, Any], None]


class RingStep:
    """The two halves of a step of a built model, for batches of the form `element_spec`.

    Gradients are pushed in buckets as soon as the backward pass produces them; the last bucket holds the loss and the
    statistics that the forward pass has changed (moving means and variances). `compute` changes neither weights nor
    statistics: until `apply`, the model is that of the last step that all have made.
    """

    def __init__(self, loaded: LoadedModel, optimizer: Any, element_spec: Any, push: Push) -> None:
        self._loaded, self._optimizer, self._push = loaded, optimizer, push
        self._model = loaded.model
        self._spec = element_spec
        self._variables = list(self._model.trainable_variables)
        self._statistics = statistics(self._model)
        self._groups: list[list[int]] = []
        self.compute = as_graph(self._compute, element_spec, eagerly=self._model.run_eagerly)
        if hasattr(self.compute, "input_signature") and self.compute.input_signature:
            self.compute.get_concrete_function()
        else:  # batches of unknown form cannot be traced before the first one
            self._group(range(len(self._variables)))
        signature = [tf.TensorSpec([bucket.length], bucket.dtype) for bucket in self.buckets]
        self.apply = tf.function(self._apply, input_signature=signature)

    def _group(self, places: Sequence[int]) -> None:
        """Divide the variables with gradients among buckets."""
        kinds = [_wire_dtype(self._variables[place]) for place in places]
        sizes = [
            _length(self._variables[place]) * np.dtype(kind).itemsize for place, kind in zip(places, kinds, strict=True)
        ]
        self._groups = [[places[one] for one in group] for group in groups(sizes, kinds)]

    @property
    def buckets(self) -> list[Bucket]:
        """The buckets that `compute` pushes and `apply` takes."""
        made = [
            Bucket(sum(_length(self._variables[place]) for place in group), _wire_dtype(self._variables[group[0]]))
            for group in self._groups
        ]
        return [*made, Bucket(1 + sum(_length(one) for one in self._statistics), "float32", exact=True)]

    def _compute(self, *batch: Any) -> tf.Tensor:
        before = [tf.identity(one.value) for one in self._statistics]
        with tf.GradientTape() as tape:
            _, loss = self._loaded.forward(batch, training=True)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self._variables)
        if not self._groups:
            self._group([place for place, gradient in enumerate(gradients) if gradient is not None])
        for number, group in enumerate(self._groups):
            members = [_dense(gradients[place], self._variables[place]) for place in group]
            flat = _flat(members, _wire_dtype(self._variables[group[0]]))
            tf.numpy_function(partial(self._push, number), [flat], [], name="push")
        after = [tf.identity(one.value) for one in self._statistics]
        flat = _flat([loss, *after], "float32")
        tf.numpy_function(partial(self._push, len(self._groups)), [flat], [], name="push")
        for variable, value in zip(self._statistics, before, strict=True):
            variable.assign(value)
        return loss

    def _apply(self, *averages: tf.Tensor) -> tf.Tensor:
        """Make the step with these averages; return the mean loss."""
        gradients, variables = [], []
        for flat, group in zip(averages, self._groups, strict=False):
            members = [self._variables[place] for place in group]
            gradients += _parts(flat, members)
            variables += members
        if variables:
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        loss, rest = averages[-1][0], averages[-1][1:]
        for variable, value in zip(self._statistics, _parts(rest, self._statistics), strict=True):
            variable.assign(value)
        return loss

    def warm_up(self, records: int) -> None:
        """Run both halves once, so that no worker waits while they are compiled; this changes the model's values."""
        specs = tf.nest.flatten(self._spec)
        if all(isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None for spec in specs):
            blank = tf.nest.map_structure(lambda spec: _blank(spec, records), self._spec)
            # Not every model can take a batch of zeros; it is compiled all the same.
            with contextlib.suppress(tf.errors.OpError):
                self.compute(*blank)
        self.apply(*[np.zeros(bucket.length, bucket.dtype) for bucket in self.buckets])


def statistics(model: Any) -> list[Any]:
    """Variables that the forward pass changes: floating-point ones that are never trained, in layers that are."""
    found = {
        id(variable): variable
        for layer in model._flatten_layers() if layer.trainable
        for variable in layer._non_trainable_variables if np.issubdtype(_numpy_dtype(variable), np.floating)
    }  # fmt: skip
    return [variable for variable in model.non_trainable_variables if id(variable) in found]


def _numpy_dtype(variable: Any) -> Any:
    return tf.as_dtype(variable.dtype).as_numpy_dtype


def _wire_dtype(variable: Any) -> str:
    return "float64" if variable.dtype == "float64" else "float32"


def _length(variable: Any) -> int:
    return int(np.prod(variable.shape, dtype=np.int64))


def _dense(gradient: Any, variable: Any) -> tf.Tensor:
    return tf.zeros(variable.shape, variable.dtype) if gradient is None else tf.convert_to_tensor(gradient)


def _flat(tensors: Sequence[tf.Tensor], dtype: str) -> tf.Tensor:
    return tf.concat([tf.reshape(tf.cast(tensor, dtype), [-1]) for tensor in tensors], 0)


def _parts(flat: tf.Tensor, variables: Sequence[Any]) -> list[tf.Tensor]:
    parts = tf.split(flat, [_length(variable) for variable in variables]) if variables else []
    return [
        tf.cast(tf.reshape(part, variable.shape), variable.dtype)
        for part, variable in zip(parts, variables, strict=True)
    ]


def _blank(spec: tf.TensorSpec, records: int) -> tf.Tensor:
    shape = [1 if size is None else size for size in spec.shape]
    if shape and spec.shape[0] is None:
        shape[0] = records
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)
