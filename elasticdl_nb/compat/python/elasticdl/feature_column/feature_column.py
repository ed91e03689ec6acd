"""`from elasticdl.python.elasticdl.feature_column import feature_column`; loads TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

__all__ = ["embedding_column"]


def embedding_column(
    categorical_column: Any,
    dimension: int,
    combiner: str = "mean",
    initializer: Callable[..., Any] | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
) -> Any:
    """Return `tf.feature_column.embedding_column`, for `keras.layers.DenseFeatures`; raises what that raises."""
    return tf.feature_column.embedding_column(
        categorical_column, dimension, combiner, initializer, max_norm=max_norm, trainable=trainable
    )
