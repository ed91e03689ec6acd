"""`from elasticdl.layers.embedding import Embedding`."""

from ..python.elasticdl.layers.embedding import Embedding

__all__ = ["Embedding"]
