"""`ToNumber`: texts to numbers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

from .base import Elementwise, register

_PARSED = (tf.float32, tf.float64, tf.int32, tf.int64)


@register
class ToNumber(Elementwise):
    """Turns texts into numbers of type `out_type`, empty ones into `default_value`; numbers are cast."""

    def __init__(self, out_type: Any, default_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_type = tf.as_dtype(out_type)
        if not (self.out_type.is_integer or self.out_type.is_floating):
            raise ModelError(f"{self.name}: out_type={self.out_type.name} is not a type of numbers")
        self.default_value = default_value

    def change(self, values: tf.Tensor) -> tf.Tensor:
        """See `Elementwise`."""
        if values.dtype == tf.string:
            parsed = self.out_type
            if parsed not in _PARSED:
                parsed = tf.float64 if parsed.is_floating else tf.int64
            default = tf.cast(self.default_value, parsed)
            # TensorFlow cannot read an empty text, whatever becomes of it.
            empty = tf.equal(values, "")
            values = tf.where(empty, default, tf.strings.to_number(tf.where(empty, "0", values), parsed))
        return tf.cast(values, self.out_type)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        ragged = getattr(inputs, "ragged", False)
        return keras.KerasTensor(inputs.shape, self.out_type.name, sparse=inputs.sparse, ragged=ragged)

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer`."""
        return {**super().get_config(), "out_type": self.out_type.name, "default_value": self.default_value}
