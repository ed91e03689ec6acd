"""The initial values of rows, computed in a graph: what ids have that a table with bounds holds no row for.

Agrees with `parameters.initializers`, value by value. For models: importing this module loads TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.parameters.initializers import RowInitializer

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53


def initial_rows(initializer: RowInitializer, key: tf.Tensor, ids: tf.Tensor, dim: int) -> tf.Tensor:
    """Return the initial rows of `ids`, int64 [n], as float32 [n, dim].

    `key` is the initializer's, as a scalar int64 of the same bits; the one of `initializer` itself is not used.
    """
    drawn = initializer.draw(_Bits(tf.bitcast(key, tf.uint64), ids, dim))  # type: ignore[arg-type]
    rows = tf.cast(drawn, tf.float32)
    return tf.cast(tf.cast(rows, tf.bfloat16), tf.float32) if initializer.nearest else rows


class _Bits:
    """See `initializers.Bits`."""

    def __init__(self, key: tf.Tensor, ids: tf.Tensor, dim: int) -> None:
        state = _mix(tf.bitcast(ids, tf.uint64) * _constant(_GOLDEN) + key)
        columns = tf.constant([(place << 32) * _GOLDEN % 2**64 for place in range(dim)], tf.uint64)
        self._states = _mix(state[:, tf.newaxis] + columns)

    def constant(self, value: float) -> tf.Tensor:
        return tf.fill(tf.shape(self._states), tf.constant(value, tf.float64))

    def uniform(self, counter: Any) -> tf.Tensor:
        step = tf.cast(counter, tf.uint64) + _constant(1)
        bits = tf.bitwise.right_shift(_mix(self._states + step * _constant(_GOLDEN)), _constant(12))
        return (tf.cast(tf.bitcast(bits, tf.int64), tf.float64) + 0.5) * 2.0**-52

    def normal(self, counter: Any) -> tf.Tensor:
        radius = tf.sqrt(-2.0 * tf.math.log(self.uniform(2 * counter)))
        return radius * tf.cos((2.0 * math.pi) * self.uniform(2 * counter + 1))

    def truncated(self) -> tf.Tensor:
        def again(counter: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return counter + 1, tf.where(tf.abs(values) > 2.0, self.normal(counter), values)

        far: Callable[..., tf.Tensor] = lambda _, values: tf.reduce_any(tf.abs(values) > 2.0)  # noqa: E731
        first = self.normal(tf.constant(0, tf.int64))
        return tf.while_loop(far, again, (tf.constant(1, tf.int64), first), shape_invariants=None)[1]


def _constant(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint64)


def _mix(bits: tf.Tensor) -> tf.Tensor:
    for factor in (_FIRST, _SECOND, 0):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, _constant(33)))
        if factor:
            bits = bits * _constant(factor)
    return bits
