"""`ToRagged`: dense tensors without the values that stand for none."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from .base import Preprocessing, register
from .to_sparse import absent


@register
class ToRagged(Preprocessing):
    """Turns a dense or ragged tensor [n, m] into a ragged one [n, None], without values equal to `ignore_value`.

    That is "" for texts and -1 for integers unless it is given; of floats, all are kept. Texts are split at `sep`
    first.
    """

    ARGUMENTS = ("sep", "ignore_value")

    def __init__(self, sep: str = ",", ignore_value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sep, self.ignore_value = sep, ignore_value

    def call(self, inputs: Any) -> Any:
        """See the class."""
        ragged = inputs if isinstance(inputs, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(inputs)
        if ragged.dtype == tf.string and self.sep:
            ragged = tf.strings.split(ragged, self.sep).merge_dims(-2, -1)
        none = absent(ragged.dtype) if self.ignore_value is None else self.ignore_value
        if none is None:
            return ragged
        return tf.ragged.boolean_mask(ragged, tf.not_equal(ragged, tf.cast(none, ragged.dtype)))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        return keras.KerasTensor((*inputs.shape[:-1], None), inputs.dtype, ragged=True)
