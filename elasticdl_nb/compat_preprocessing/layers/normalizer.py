"""`Normalizer`: numbers, shifted and scaled."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

from .base import Elementwise, register


@register
class Normalizer(Elementwise):
    """Turns numbers into float32: `(x - subtractor) / divisor`."""

    ARGUMENTS = ("subtractor", "divisor")
    OUTPUT = "float32"

    def __init__(self, subtractor: float, divisor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if divisor == 0:
            raise ModelError(f"{self.name}: the divisor is 0")
        self.subtractor, self.divisor = subtractor, divisor

    def change(self, values: tf.Tensor) -> tf.Tensor:
        """See `Elementwise`."""
        return (tf.cast(values, tf.float32) - self.subtractor) / self.divisor
