"""`IndexLookup`: texts to their places in a vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

from .base import Elementwise, register


@register
class IndexLookup(Elementwise):
    """Turns texts into int64: their places in the vocabulary, from 0.

    Other texts become `len(vocabulary)`, or one of the `num_oov_tokens` numbers from there, by their hash. `vocabulary`
    is a list, or the path of a file with one text a line.
    """

    ARGUMENTS = ("vocabulary", "num_oov_tokens")

    def __init__(self, vocabulary: Sequence[str] | str | None = None, num_oov_tokens: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if vocabulary is None or not len(vocabulary):
            raise ModelError(f"{self.name}: vocabulary is missing; give a list of texts or a file's path")
        self.vocabulary = _read(vocabulary) if isinstance(vocabulary, str) else list(vocabulary)
        self.num_oov_tokens = num_oov_tokens
        twice = [text for text, count in Counter(self.vocabulary).items() if count > 1]
        if twice:
            raise ModelError(f"{self.name}: the vocabulary has {', '.join(map(repr, twice[:5]))} more than once")
        with tf.init_scope():
            places = tf.range(len(self.vocabulary), dtype=tf.int64)
            texts = tf.lookup.KeyValueTensorInitializer(tf.constant(self.vocabulary), places)
            self._table = tf.lookup.StaticVocabularyTable(texts, num_oov_tokens)

    def vocab_size(self) -> int:
        """Return the number of different outputs."""
        return len(self.vocabulary) + self.num_oov_tokens

    def change(self, values: tf.Tensor) -> tf.Tensor:
        """See `Elementwise`."""
        return self._table.lookup(values)


def _read(path: str) -> list[str]:
    with tf.io.gfile.GFile(path, "rb") as file:
        return [line.decode("utf-8").strip() for line in file.read().splitlines()]
