"""`LogRound`: numbers to the rounded logarithm."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .base import Elementwise, register, within


@register
class LogRound(Elementwise):
    """Turns numbers into int64: `round(log(x, base))`, the natural logarithm without a base.

    What is not in [0, num_bins) becomes `default_value`.
    """

    ARGUMENTS = ("num_bins", "default_value", "base")

    def __init__(self, num_bins: int, default_value: int = 0, base: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_bins, self.default_value, self.base = num_bins, default_value, base

    def change(self, values: tf.Tensor) -> tf.Tensor:
        """See `Elementwise`."""
        logarithm = tf.math.log(tf.cast(values, tf.float64))
        if self.base is not None:
            logarithm /= tf.math.log(tf.constant(self.base, tf.float64))
        # The logarithm of 0 is below every bin.
        rounded = tf.round(tf.where(tf.math.is_finite(logarithm), logarithm, -1.0))
        return within(rounded, self.num_bins, self.default_value)
