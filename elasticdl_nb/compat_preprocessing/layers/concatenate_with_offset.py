"""`ConcatenateWithOffset`: the ids of several features side by side, each feature's in a range of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

from .base import Preprocessing, register


@register
class ConcatenateWithOffset(Preprocessing):
    """Adds `offsets[i]` to the i-th of a list of tensors, and concatenates them along `axis`.

    The tensors are all dense, all ragged or all sparse. With `offsets=None` nothing is added. A single tensor is
    returned as it is.
    """

    ARGUMENTS = ("offsets", "axis")

    def __init__(self, offsets: Sequence[int] | None, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offsets = None if offsets is None else list(offsets)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        """See the class."""
        if not isinstance(inputs, (list, tuple)):
            return inputs
        self._check(inputs)
        moved = [_plus(tensor, offset) for tensor, offset in zip(inputs, self._offsets(inputs), strict=True)]
        sparse = [isinstance(tensor, tf.SparseTensor) for tensor in moved]
        return tf.sparse.concat(self.axis, moved) if all(sparse) else tf.concat(moved, self.axis)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        if not isinstance(inputs, (list, tuple)):
            return inputs
        self._check(inputs)
        shape = list(inputs[0].shape)
        sizes = [tensor.shape[self.axis] for tensor in inputs]
        shape[self.axis] = None if None in sizes else sum(sizes)
        ragged = any(getattr(tensor, "ragged", False) for tensor in inputs)
        return keras.KerasTensor(shape, inputs[0].dtype, sparse=all(t.sparse for t in inputs), ragged=ragged)

    def _offsets(self, inputs: Sequence[Any]) -> Sequence[int | None]:
        return [None] * len(inputs) if self.offsets is None else self.offsets

    def _check(self, inputs: Sequence[Any]) -> None:
        if self.offsets is not None and len(self.offsets) != len(inputs):
            raise ModelError(f"{self.name}: there are {len(inputs)} tensors and {len(self.offsets)} offsets")


def _plus(tensor: Any, offset: int | None) -> Any:
    if offset is None:
        return tensor
    if isinstance(tensor, tf.SparseTensor):
        return tensor.with_values(tensor.values + tf.cast(offset, tensor.dtype))
    return tensor + tf.cast(offset, tensor.dtype)
