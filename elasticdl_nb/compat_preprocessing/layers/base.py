"""What preprocessing layers share: values change one by one, in whatever form of tensor they come."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import keras
import tensorflow as tf

register = keras.saving.register_keras_serializable(package="elasticdl_preprocessing")


class Preprocessing(keras.layers.Layer):  # type: ignore[misc]
    """A layer without weights. Its config is its arguments, which subclasses name in `ARGUMENTS` and keep by name."""

    ARGUMENTS: tuple[str, ...] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # numbers are taken as they come

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer`."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self.ARGUMENTS}}


class Elementwise(Preprocessing):
    """A layer whose output has the form of its input: dense, ragged or sparse, and the same shape."""

    OUTPUT = "int64"

    @abstractmethod
    def change(self, values: tf.Tensor) -> tf.Tensor:
        """Return the values of the output for those of the input, of the same shape."""

    def call(self, inputs: Any) -> Any:
        """See the class."""
        if isinstance(inputs, tf.SparseTensor):
            return inputs.with_values(self.change(inputs.values))
        if isinstance(inputs, tf.RaggedTensor):
            return inputs.with_flat_values(self.change(inputs.flat_values))
        return self.change(tf.convert_to_tensor(inputs))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        ragged = getattr(inputs, "ragged", False)
        return keras.KerasTensor(inputs.shape, self.OUTPUT, sparse=inputs.sparse, ragged=ragged)


def within(values: tf.Tensor, count: int, default: int) -> tf.Tensor:
    """Return integers as int64, those outside of [0, count) replaced by the default."""
    values = tf.cast(values, tf.int64)
    return tf.where((values < 0) | (values >= count), tf.constant(default, tf.int64), values)
