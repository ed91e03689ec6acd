"""Graphs that are called with tensors, one after the other, without looking for the trace that fits.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Flat = Sequence[tf.Tensor]


class FlatGraph:
    """A `tf.function` with an `input_signature` of tensors, traced once. Calls take TensorFlow half as long."""

    def __init__(self, function: Any) -> None:
        self.traced = function.get_concrete_function()
        self.captured = [*self.traced.captured_inputs]

    def __call__(self, tensors: Flat) -> Any:
        """Return what the function returns for tensors of exactly the types and forms of its signature."""
        return self.traced._call_flat([*tensors], self.captured)
