"""`RoundIdentity`: numbers to the nearest integer."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .base import Elementwise, register, within


@register
class RoundIdentity(Elementwise):
    """Turns numbers into int64: rounded, or `default_value` if that is not in [0, num_buckets)."""

    ARGUMENTS = ("num_buckets", "default_value")

    def __init__(self, num_buckets: int, default_value: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_buckets, self.default_value = num_buckets, default_value

    def change(self, values: tf.Tensor) -> tf.Tensor:
        """See `Elementwise`."""
        return within(tf.round(values), self.num_buckets, self.default_value)
