"""`ToSparse`: dense tensors as sparse ones, without the values that stand for none."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from .base import Preprocessing, register


@register
class ToSparse(Preprocessing):
    """Turns a dense or ragged tensor into a sparse one of the same shape, without values equal to `ignore_value`.

    That is "" for texts, -1 for integers and 0 for floats unless it is given. Sparse tensors stay as they are.
    """

    ARGUMENTS = ("ignore_value",)

    def __init__(self, ignore_value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_value = ignore_value

    def call(self, inputs: Any) -> Any:
        """See the class."""
        if isinstance(inputs, tf.SparseTensor):
            return inputs
        none = self.ignore_value
        if none is None:
            none = 0.0 if inputs.dtype.is_floating else absent(inputs.dtype)
        if isinstance(inputs, tf.RaggedTensor):
            sparse = inputs.to_sparse()
            return tf.sparse.retain(sparse, tf.not_equal(sparse.values, tf.cast(none, sparse.dtype)))
        places = tf.where(tf.not_equal(inputs, tf.cast(none, inputs.dtype)))
        return tf.SparseTensor(places, tf.gather_nd(inputs, places), tf.shape(inputs, tf.int64))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        return keras.KerasTensor(inputs.shape, inputs.dtype, sparse=True)


def absent(dtype: tf.DType) -> str | int | None:
    """Return what stands for no value in tensors of this type; None if every value stands for itself."""
    if dtype == tf.string:
        return ""
    return -1 if dtype.is_integer else None
