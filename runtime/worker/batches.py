"""What all work on batches shares, whether it trains, evaluates or predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def batch_size(values: Any) -> int:
    """Number of records in a batch: the first dimension of its first tensor."""
    return int(tf.nest.flatten(values)[0].shape[0])


def with_own_losses(loss: tf.Tensor, model: Any) -> tf.Tensor:
    """Add the losses of the model's own layers in its latest call, such as regularization, to a batch's loss."""
    return loss + tf.add_n([tf.cast(extra, loss.dtype) for extra in model.losses]) if model.losses else loss


def as_graph(function: Callable[..., tf.Tensor], element_spec: Any) -> Any:
    """Return a function of features and labels as a tf.function for batches of the form `element_spec`."""
    specs = tf.nest.flatten(element_spec)
    if all(getattr(spec.shape, "rank", None) is not None for spec in specs):
        return tf.function(function, input_signature=element_spec)
    return tf.function(function, reduce_retracing=True)
