"""What models see of their large embeddings while these are in tables."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.asking import attend
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.worker.training.misfits import note_on_tables

MATRIX = np.random.default_rng(0).random((100, 8)).astype("float32")


def model(**options: Any) -> tuple[keras.Model, Any]:
    layer = keras.layers.Embedding(100, 8, name="e", **options)
    ids = keras.Input((6,), dtype="int64")
    return keras.Model(ids, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(layer(ids)))), layer


class Tied(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.e = keras.layers.Embedding(100, 8, name="e")

    def call(self, ids: Any) -> Any:
        return keras.ops.matmul(keras.ops.mean(self.e(ids), 1), keras.ops.transpose(self.e.embeddings))


def test_matrices_are_counted_shown_and_read() -> None:
    layers, lines = ServedLayers(threshold=1), list[str]()
    with serving(layers):
        made, layer = model(embeddings_initializer="ones")
        assert made.count_params() == 809 and layer.count_params() == 800
        made.summary(print_fn=lines.append)
        assert "Total params: 809" in "".join(lines) and "800" in "".join(lines)
        assert [one.shape for one in made.get_weights()] == [(100, 8), (8, 1), (1,)]
        assert keras.models.clone_model(made).count_params() == 809
    assert len(made.weights) == 2 and not layers.notes
    attend(layers, made)
    assert made.count_params() == 809 and made.get_weights()[0].sum() == 800
    layers.source = object()  # type: ignore[assignment]  training has begun
    with pytest.raises(ModelError, match="cannot be set during training"):
        made.set_weights([MATRIX, *[np.asarray(one) for one in made.weights]])


def test_a_layer_whose_matrix_is_set_or_used_is_ordinary_and_a_note_says_why() -> None:
    layers = ServedLayers(threshold=1)
    with serving(layers):
        whole, _ = model()
        whole.set_weights([MATRIX, *[np.asarray(one) for one in whole.weights]])
        np.testing.assert_array_equal(whole.get_weights()[0], MATRIX)
        assigned, layer = model()
        layer.embeddings.assign(MATRIX)
        np.testing.assert_array_equal(assigned.get_weights()[0], MATRIX)
        single = keras.layers.Embedding(100, 8, name="e")
        single.build((1,))
        single.set_weights([MATRIX])
        tied = Tied()
        tf.function(lambda ids: tied(ids)).get_concrete_function(tf.TensorSpec([None, 6], tf.int64))
        assert [tuple(one.shape) for one in tied.weights] == [(100, 8)]
    assert not layers.layers
    reasons = [note.rpartition(": ")[2] for note in layers.notes]
    assert reasons == [
        "its weights are set by the model's code", "the model's code uses its matrix",
        "its weights are set by the model's code", "the model's code uses its matrix",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"embeddings_initializer": keras.initializers.Constant(MATRIX)}, "Constant makes its whole matrix"),
        ({"embeddings_initializer": lambda shape, dtype=None: keras.ops.ones(shape)}, "<lambda> makes"),
        ({"embeddings_initializer": keras.initializers.Orthogonal()}, "Orthogonal makes"),
        ({"embeddings_regularizer": "l2"}, "it is regularized"),
        ({"embeddings_constraint": "non_neg"}, "it has a constraint"),
        ({"dtype": "float16"}, "its rows are float16"),
    ],
)
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_layers_that_need_their_matrix_are_noted(options: dict[str, Any], reason: str) -> None:
    layers = ServedLayers(threshold=1)
    with serving(layers):
        made, layer = model(**options)
    assert not layers.layers and len(made.weights) == 3
    assert reason in layers.notes[0]
    if isinstance(options.get("embeddings_initializer"), keras.initializers.Constant):
        np.testing.assert_array_equal(layer.get_weights()[0], MATRIX)


def test_what_tables_change_is_said() -> None:
    layers = ServedLayers(threshold=1)
    assert not note_on_tables(layers, keras.optimizers.Adam())
    with serving(layers):
        model()
    optimizers = keras.optimizers
    for plain in (optimizers.SGD(), optimizers.Adagrad()):
        assert not note_on_tables(layers, plain)
    assert "global_clipnorm clips the sum" in note_on_tables(layers, optimizers.SGD(global_clipnorm=1.0))
    for other, what in (
        (optimizers.Adam(), "the moments of Adam"), (optimizers.SGD(momentum=0.9), "momentum"),
        (optimizers.SGD(weight_decay=0.1), "weight decay"), (optimizers.AdamW(), "weight decay"),
    ):  # fmt: skip
        note = note_on_tables(layers, other)
        assert note.startswith("e: in tables") and what in note and "embedding_tables=False" in note
