"""`Discretization`: numbers to the numbers of their buckets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from .base import Elementwise, register


@register
class Discretization(Elementwise):
    """Turns numbers into int64: 0 below the first of `bins`, 1 from it up to the second, and so on."""

    ARGUMENTS = ("bins",)

    def __init__(self, bins: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = [float(boundary) for boundary in bins]

    def num_bins(self) -> int:
        """Return the number of different outputs: one more than there are boundaries."""
        return len(self.bins) + 1

    def change(self, values: tf.Tensor) -> tf.Tensor:
        """See `Elementwise`."""
        if values.dtype not in (tf.int32, tf.int64, tf.float32, tf.float64):
            values = tf.cast(values, tf.float32)
        return tf.cast(tf.raw_ops.Bucketize(input=values, boundaries=self.bins), tf.int64)
