"""`from elasticdl.python.elasticdl.layers.embedding import Embedding`; loads TensorFlow."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.embedding import Embedding as _Embedding

__all__ = ["Embedding"]


@keras.saving.register_keras_serializable(package="elasticdl")
class Embedding(_Embedding):
    """`elasticdl_nb.Embedding` with the arguments of ElasticDL's layer.

    With `mask_zero`, the id 0 is masked out; ids must then be dense. `input_dim` and `input_length` are kept, and
    bound nothing.
    """

    def __init__(
        self,
        output_dim: int,
        input_dim: int | None = None,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        input_length: Any = None,
        combiner: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_dim, embeddings_initializer, combiner, **kwargs)
        self.input_dim, self.input_length = input_dim, input_length
        self.mask_zero = self.supports_masking = mask_zero

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return where ids are not 0; None without `mask_zero`."""
        if not self.mask_zero:
            return None
        if isinstance(inputs, (tf.SparseTensor, tf.RaggedTensor)):
            raise ModelError(f"Embedding {self.name}: mask_zero needs dense ids")
        return keras.ops.not_equal(inputs, 0)

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer`."""
        own = ("input_dim", "input_length", "mask_zero")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
