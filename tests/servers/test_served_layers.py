"""Served layers compute what ordinary ones with the same rows do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_models import FORM, NAMES, ROWS, batches, loaded

from elasticdl_nb.runtime.errors import DataError, ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.embeddings.served_step import ServedStep
from elasticdl_nb.runtime.worker.training.rows import BatchRows


def step_of(model: Any, layers: ServedLayers) -> ServedStep:
    def finish(logs: Any, gradients: list[Any]) -> Any:
        return logs["loss"], [tf.convert_to_tensor(one) for one in gradients]

    return ServedStep(model, layers, FORM, finish)


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_are_those_of_an_ordinary_layer(embedded_zoo: Path, name: str) -> None:
    layers = ServedLayers(threshold=1)
    model = loaded(embedded_zoo, name, layers)
    step = step_of(model, layers)
    assert layers.layers and not step.notes
    features, labels = next(batches(1))
    wanted = BatchRows(step.groups, step.ids(features))
    tables = {layer.name: layer.matrix() for layer in layers.layers}
    rows = {table: tables[table][ids] for table, ids in wanted.ids.items()}
    statistics = [variable.numpy() for variable in model.model.non_trainable_variables]
    (loss, dense), of_rows = step.compute((features, labels), wanted.inputs(rows))
    by_table = wanted.gradients(of_rows)

    served = {layer.name: layer.layer for layer in layers.layers}
    layers.unserve()
    for variable, value in zip(model.model.non_trainable_variables, statistics, strict=True):
        variable.assign(value)
    matrices = {table: layer.embeddings for table, layer in served.items()}
    others = [v for v in model.model.trainable_variables if all(v is not matrix for matrix in matrices.values())]
    with tf.GradientTape() as tape:
        expected = model.compute_loss(labels, model.call_model(features, training=True))
    expected_rows, expected_dense = tape.gradient(expected, (matrices, others))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for mine, theirs in zip(dense, expected_dense, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-7)
    for table, (ids, gradients) in by_table.items():
        whole = np.zeros(matrices[table].shape, np.float32)
        whole[ids] = gradients
        np.testing.assert_allclose(whole, tf.convert_to_tensor(expected_rows[table]), rtol=1e-4, atol=1e-7)


def test_a_sequential_model_is_served(embedded_zoo: Path) -> None:
    layers = ServedLayers(threshold=1)
    form = ({"ids": FORM[0]["ids"]}, FORM[1])
    model = loaded(embedded_zoo, "sequential", layers, form)
    assert [layer.name for layer in layers.layers] == ["sequential/only"]
    step = ServedStep(model, layers, form, lambda logs, gradients: logs["loss"])
    assert [group.dim for group in step.groups] == [8]


def test_ids_of_a_vocabulary_that_grows_are_found_at_their_turn(embedded_zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "embedded.py").write_text((embedded_zoo / "embedded.py").read_text() + """
class Growing(keras.Model):
    def __init__(self):
        super().__init__()
        self.words = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
        self.rows, self.out = keras.layers.Embedding(100_000, 8), keras.layers.Dense(1)

    def call(self, features, training=False):
        ids = tf.ensure_shape(tf.cast(features["ids"], tf.int64), [None, 3])
        if training:
            self.words.insert(ids, ids)
        return self.out(keras.ops.mean(self.rows(tf.ensure_shape(self.words.lookup(ids), [None, 3])), axis=1))
""")  # fmt: skip
    layers = ServedLayers(threshold=1)
    step = step_of(loaded(tmp_path, "Growing", layers), layers)
    assert step.groups and not step.ids_are_fixed
    layers = ServedLayers(threshold=1)
    assert step_of(loaded(embedded_zoo, NAMES[0], layers), layers).ids_are_fixed


def test_layers_below_the_threshold_and_unfit_ones_stay_ordinary() -> None:
    layers = ServedLayers(threshold=4 * 100 * 8)
    regularizer, constraint = keras.regularizers.L2(0.1), keras.constraints.NonNeg()
    with serving(layers):
        small = keras.layers.Embedding(99, 8)
        large = keras.layers.Embedding(100, 8)
        unfit = [
            keras.layers.Embedding(100, 8, embeddings_regularizer=regularizer),
            keras.layers.Embedding(100, 8, embeddings_constraint=constraint),
            keras.layers.Embedding(100, 8, embeddings_initializer="orthogonal"),
            keras.layers.Embedding(100, 8, weights=np.ones((100, 8), np.float32)),
            keras.layers.Embedding(100, 8, trainable=False),
            keras.layers.Embedding(100, 8, lora_rank=2),
        ]
    for layer in (small, large, *unfit):
        layer(np.array([1]))
    assert [served.layer for served in layers.layers] == [large]
    assert all(layer.embeddings.shape == (100, 8) for layer in unfit)


def test_outside_of_serving_nothing_is_replaced() -> None:
    before = keras.layers.Embedding.build
    with serving(ServedLayers(threshold=1)):
        assert keras.layers.Embedding.build is not before
    assert keras.layers.Embedding.build is before


def test_ids_that_depend_on_rows_make_ordinary_layers(embedded_zoo: Path) -> None:
    layers = ServedLayers(threshold=1)
    model = loaded(embedded_zoo, "Chained", layers)
    step = step_of(model, layers)
    assert [layer.name for layer in layers.layers] == ["chained/first"]
    assert len(step.notes) == 1 and "second" in step.notes[0]
    features, labels = next(batches(1))
    wanted = BatchRows(step.groups, step.ids(features))
    rows = {layer.name: layer.matrix()[wanted.ids[layer.name]] for layer in layers.layers}
    (loss, _), _ = step.compute((features, labels), wanted.inputs(rows))
    assert np.isfinite(loss)


def test_an_id_out_of_range_is_refused_with_the_layer_s_name(embedded_zoo: Path) -> None:
    layers = ServedLayers(threshold=1)
    step = step_of(loaded(embedded_zoo, "functional", layers), layers)
    features, _ = next(batches(1))
    features["ids"] = tf.constant([[0, ROWS, 1]], tf.int64)
    with pytest.raises(DataError, match=rf"embedding first: id {ROWS} is not one of its {ROWS}"):
        BatchRows(step.groups, step.ids(features))


def test_a_saved_model_has_all_rows_under_the_names_of_ordinary_layers(embedded_zoo: Path, tmp_path: Path) -> None:
    layers, none = ServedLayers(threshold=1), ServedLayers(threshold=1 << 40)
    model, plain = loaded(embedded_zoo, "functional", layers).model, loaded(embedded_zoo, "functional", none).model
    matrices = [layer.matrix() for layer in layers.layers]
    model.save_weights(tmp_path / "half.weights.h5")
    layers.unserve()
    assert [v.path for v in model.weights] == [v.path for v in plain.weights]
    plain.load_weights(tmp_path / "half.weights.h5")
    for name, matrix in zip(("first", "second"), matrices, strict=True):
        np.testing.assert_array_equal(plain.get_layer(name).embeddings, matrix)
        np.testing.assert_array_equal(model.get_layer(name).embeddings, matrix)


def test_weights_set_before_training_make_an_ordinary_layer(embedded_zoo: Path) -> None:
    layers = ServedLayers(threshold=1)
    model = loaded(embedded_zoo, "functional", layers).model
    values = np.ones((ROWS, 8), np.float32)
    model.get_layer("first").set_weights([values])
    assert [layer.name for layer in layers.layers] == ["second"]
    np.testing.assert_array_equal(model.get_layer("first").embeddings, values)


def test_weights_cannot_be_set_once_rows_are_in_tables(embedded_zoo: Path) -> None:
    layers = ServedLayers(threshold=1)
    model = loaded(embedded_zoo, "functional", layers).model
    layers.source = object()  # type: ignore[assignment]
    with pytest.raises(ModelError, match="embedding first"):
        model.get_layer("first").set_weights([np.ones((ROWS, 8), np.float32)])
