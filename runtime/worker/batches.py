"""What all work on batches shares, whether it trains, evaluates or predicts.

A batch to train or evaluate on is a tuple: (features, labels), (features, labels, sample weights) or (features,). One
to predict is the features alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def batch_size(values: Any) -> int:
    """Number of records in a batch: the first dimension of its first tensor."""
    return int(tf.nest.flatten(values)[0].shape[0])


def as_graph(function: Callable[..., Any], element_spec: Any, *, eagerly: bool = False, jit: bool = False) -> Any:
    """Return a function of the parts of a batch as a tf.function for batches of the form `element_spec`.

    None stands for batches of any form. With `eagerly`, return the function as it is.
    """
    if eagerly:
        return function
    specs = tf.nest.flatten(element_spec)
    if element_spec is not None and all(getattr(spec.shape, "rank", None) is not None for spec in specs):
        return tf.function(function, input_signature=element_spec, jit_compile=jit or None)
    return tf.function(function, reduce_retracing=True, jit_compile=jit or None)
