"""`elasticdl_nb.Embedding` in plain Keras, in training and afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.saving.weights import load_weights, save_weights
from elasticdl_nb.runtime.ps.inprocess import InProcessServers

SGD = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False}}
IDS = [[1, -5, 1 << 60], [7, 7, 1]]


def served(combiner: str | None = None) -> tuple[Any, InProcessServers, ServedLayers]:
    keras.backend.clear_session()
    layers = ServedLayers()
    with serving(layers):
        model = keras.Sequential([elasticdl_nb.Embedding(4, combiner=combiner, name="any")])
        model(tf.constant(IDS, tf.int64))
    servers = InProcessServers()
    servers.initialize(SGD, {}, layers.specs())
    layers.source = servers
    return model, servers, layers


def rows_of(servers: InProcessServers, ids: Any) -> np.ndarray:
    unique, places = np.unique(np.asarray(ids), return_inverse=True)
    return servers.lookup("sequential/any", unique)[places].reshape(*np.shape(ids), 4)


def test_any_int64_is_an_id() -> None:
    model, servers, _ = served()
    np.testing.assert_array_equal(model(tf.constant(IDS, tf.int64)), rows_of(servers, IDS))


@pytest.mark.parametrize(("combiner", "power"), [("sum", 0.0), ("mean", 1.0), ("sqrtn", 0.5)])
def test_combiners_agree_for_dense_ragged_and_sparse_ids(combiner: str, power: float) -> None:
    model, servers, _ = served(combiner)
    layer = model.layers[0]
    expected = rows_of(servers, IDS).sum(axis=1) / 3**power
    np.testing.assert_allclose(layer(tf.constant(IDS, tf.int64)), expected, rtol=1e-5)
    ragged = tf.ragged.constant([IDS[0], [], [7]], dtype=tf.int64)
    expected = np.stack([expected[0], np.zeros(4), rows_of(servers, [7])[0]])
    np.testing.assert_allclose(layer(ragged), expected, rtol=1e-5)
    np.testing.assert_allclose(layer(ragged.to_sparse()), expected, rtol=1e-5)


def test_ragged_ids_without_a_combiner_stay_ragged() -> None:
    model, servers, _ = served()
    result = model.layers[0](tf.ragged.constant([[1], [7, -5]], dtype=tf.int64))
    assert isinstance(result, tf.RaggedTensor)
    np.testing.assert_array_equal(result.flat_values, rows_of(servers, [1, 7, -5]))


def test_what_was_trained_is_loaded_by_name_elsewhere(tmp_path: Path) -> None:
    model, servers, layers = served()
    expected = rows_of(servers, IDS)
    layers.unserve()
    saved = save_weights(model, str(tmp_path / "weights"))
    keras.backend.clear_session()
    other = keras.Sequential([elasticdl_nb.Embedding(4, name="any")])
    other(tf.constant(IDS, tf.int64))
    load_weights(other, str(tmp_path / "weights"), saved)
    for each in (model, other):
        np.testing.assert_array_equal(each(tf.constant(IDS, tf.int64)), expected)
        np.testing.assert_array_equal(each(tf.constant([[2, (1 << 63) - 1, 0]], tf.int64)), np.zeros((1, 3, 4)))


def test_a_trained_model_is_saved_and_loaded_by_keras(tmp_path: Path) -> None:
    model, servers, layers = served("mean")
    expected = rows_of(servers, IDS).mean(axis=1)
    layers.unserve()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(tf.constant(IDS, tf.int64)), expected, rtol=1e-5)


def test_without_a_job_it_trains_as_a_hashed_layer() -> None:
    model = keras.Sequential([elasticdl_nb.Embedding(2, combiner="sum", buckets=64), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    ids = np.random.default_rng(0).integers(-(2**62), 2**62, (64, 3))
    first, *_, last = model.fit(ids, np.sign(ids[:, :1]).astype(np.float32), epochs=20, verbose=0).history["loss"]
    assert last < first
    assert model.layers[0].weights[0].shape == (64, 2)


def test_unknown_combiners_and_sparse_ids_without_one_are_refused() -> None:
    with pytest.raises(ModelError, match="combiner='max'"):
        elasticdl_nb.Embedding(2, combiner="max")
    with pytest.raises(Exception, match="sparse ids need a combiner"):
        elasticdl_nb.Embedding(2)(tf.sparse.from_dense([[1]]))
