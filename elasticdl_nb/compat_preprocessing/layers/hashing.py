"""`Hashing`: texts or integers to one of a number of buckets."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

from .base import Elementwise, register


@register
class Hashing(Elementwise):
    """Turns texts, and integers by their decimal digits, into int64 in [0, num_bins), by TensorFlow's fast hash."""

    ARGUMENTS = ("num_bins",)

    def __init__(self, num_bins: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_bins is None or num_bins <= 0:
            raise ModelError(f"{self.name}: num_bins={num_bins}; it must be at least 1")
        self.num_bins = num_bins

    def change(self, values: tf.Tensor) -> tf.Tensor:
        """See `Elementwise`."""
        texts = values if values.dtype == tf.string else tf.strings.as_string(values)
        return tf.strings.to_hash_bucket_fast(texts, self.num_bins)
