"""`SparseEmbedding`: the ids of a record to one vector."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

from .base import register

_COMBINERS = ("sum", "mean", "sqrtn")


@register
class SparseEmbedding(keras.layers.Layer):  # type: ignore[misc]
    """Turns integer ids [n, m], sparse, ragged or dense, into float32 [n, output_dim].

    The rows of a record's ids are combined by "sum", "mean" or "sqrtn" (the sum divided by the square root of their
    number). A record without ids gets zeros. In a dense tensor, negative ids stand for none.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        combiner: str = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if combiner not in _COMBINERS:
            raise ModelError(f"{self.name}: combiner={combiner!r}; use 'sum', 'mean' or 'sqrtn'")
        self.input_dim, self.output_dim, self.combiner = input_dim, output_dim, combiner
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.autocast = False

    def build(self, input_shape: Any = None) -> None:
        """Create the rows; see `keras.layers.Layer`."""
        self.embeddings = self.add_weight(
            shape=(self.input_dim, self.output_dim), initializer=self.embeddings_initializer, name="embeddings"
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """See the class."""
        if isinstance(inputs, tf.RaggedTensor):
            ids = inputs.to_sparse()
        elif isinstance(inputs, tf.SparseTensor):
            ids = inputs
        else:
            dense = tf.cast(inputs, tf.int64)
            places = tf.where(dense >= 0)
            ids = tf.SparseTensor(places, tf.gather_nd(dense, places), tf.shape(dense, tf.int64))
        ids = ids.with_values(tf.cast(ids.values, tf.int64))
        rows = tf.nn.safe_embedding_lookup_sparse(self.embeddings.value, ids, combiner=self.combiner)
        return tf.ensure_shape(rows, [None, self.output_dim])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        return keras.KerasTensor((inputs.shape[0], self.output_dim), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer`."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "combiner": self.combiner,
        }
