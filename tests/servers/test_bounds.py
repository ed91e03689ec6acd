"""Embeddings with bounds, from the layer to the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.runtime.errors import ModelError, OptionError
from elasticdl_nb.runtime.model.embeddings.initial import initial_rows
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, own_options, serving
from elasticdl_nb.runtime.model.saving.weights import load_weights, save_weights
from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.initializers import KNOWN, row_initializer
from elasticdl_nb.runtime.ps.inprocess import InProcessServers
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.spec.tableoptions import TableOptions

SGD = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False}}


def built(options: Any, *made: Any) -> tuple[Any, ServedLayers]:
    keras.backend.clear_session()
    layers = ServedLayers(options=options)
    with serving(layers):
        given = keras.Input([3], dtype="int64")
        model = keras.Model(given, [make()(given) for make in made])
    return model, layers


@pytest.mark.parametrize("row_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in KNOWN if "Scaling" not in name and "rot" not in name
                                  and not name.startswith(("He", "Lecun"))] + ["uniform"])  # fmt: skip
def test_graphs_compute_the_same_initial_values(name: str, row_dtype: str) -> None:
    ids = np.array([0, 1, -5, 2**62, -(2**63), 12345])
    config = {"class_name": name, "config": {}} if name in KNOWN else name
    initializer = row_initializer(config, "t", 5, seed=3, row_dtype=row_dtype)
    expected = np.empty((6, 5), np.float32)
    initializer(ids, expected)
    key = np.array(initializer.key, np.uint64).view(np.int64)
    np.testing.assert_allclose(initial_rows(initializer, tf.constant(key), tf.constant(ids), 5), expected, rtol=1e-6)


@pytest.mark.parametrize("row_dtype", ["float32", "bfloat16"])
def test_ids_without_a_row_have_their_initial_values_in_the_trained_model_too(tmp_path: Path, row_dtype: str) -> None:
    keras.backend.clear_session()
    layers = ServedLayers(seed=4, options={"any": {"min_count": 2, "ttl": "7d", "row_dtype": row_dtype}})
    with serving(layers):
        model = keras.Sequential([elasticdl_nb.Embedding(4, name="any", min_count=2, ttl="7d")])
        model(tf.constant([[1, -5]], tf.int64))
    (spec,) = layers.specs()
    assert spec.bounds == Bounds(min_count=2, ttl_seconds=7 * 86400.0)
    layers.source = servers = InProcessServers()
    servers.initialize(SGD, {}, [spec])
    ids, counts = np.array([1, -5, 7]), np.array([2, 1, 1], np.int32)
    push = Push({}, {spec.name: (ids, np.ones((3, 4), np.float32))}, counts={spec.name: counts})
    servers.step(StepRequest(push))
    asked = np.array([[1, -5, 7, 1 << 60]])
    expected = servers.lookup(spec.name, asked[0])[None]
    initial = np.empty((4, 4), np.float32)
    row_initializer(spec.initializer, spec.name, 4, seed=4, row_dtype=row_dtype)(asked[0], initial)
    assert (expected[0, 1:] == initial[1:]).all()
    assert np.abs(expected[0, 0] - (initial[0] - 0.5)).max() <= (0 if row_dtype == "float32" else 2**-8)
    halves = expected.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert (halves == expected).all() == (row_dtype == "bfloat16")
    np.testing.assert_array_equal(model(tf.constant(asked)), expected)
    layers.unserve()
    saved = save_weights(model, str(tmp_path / "weights"))
    model.save(tmp_path / "model.keras")
    keras.backend.clear_session()
    other = keras.Sequential([elasticdl_nb.Embedding(4, name="any", min_count=2, ttl="7d")])
    other(tf.constant(asked))
    load_weights(other, str(tmp_path / "weights"), saved)
    for each in (model, other, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_array_equal(each(tf.constant(asked)), expected)
    signature = [tf.TensorSpec([None, 4], tf.int64)]
    model.export(str(tmp_path / "exported"), input_signature=signature, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_array_equal(loaded.serve(tf.constant(asked)), expected)


def test_options_name_layers_and_put_small_ones_into_tables() -> None:
    options = {"small": {"min_count": 5, "ttl": "7d"}, "own": {"max_rows": 9}}
    model, layers = built(
        options, lambda: keras.layers.Embedding(10, 2, name="small"), lambda: keras.layers.Embedding(10, 2, name="not"),
        lambda: elasticdl_nb.Embedding(2, name="own", min_count=3),
    )  # fmt: skip
    assert {spec.name: spec.bounds for spec in layers.specs()} == {
        "small": Bounds(min_count=5, ttl_seconds=7 * 86400.0), "own": Bounds(max_rows=9)
    }  # fmt: skip
    layers.check_options(model)


def test_all_faces_of_the_type_of_rows() -> None:
    big, small = 1 << 20, 10
    _, layers = built(
        {"given": {"row_dtype": "bfloat16"}, "back": {"row_dtype": "float32"}},
        lambda: keras.layers.Embedding(small, 2, name="given"),
        lambda: keras.layers.Embedding(big, 2, name="large"),
        lambda: keras.layers.Embedding(small, 2, name="back"),  # which an ordinary layer does as well
        lambda: elasticdl_nb.Embedding(2, name="own", row_dtype="bfloat16", max_rows=9),
    )
    assert {spec.name: (spec.row_dtype, spec.bounds) for spec in layers.specs()} == {
        "given": ("bfloat16", None), "large": ("float32", None), "own": ("bfloat16", Bounds(max_rows=9))
    }  # fmt: skip
    layer = elasticdl_nb.Embedding(2, name="l", row_dtype="bfloat16")
    assert elasticdl_nb.Embedding.from_config(layer.get_config()).table_options == TableOptions(None, "bfloat16")
    with pytest.raises(ModelError, match="Embedding l: row_dtype='float16'; use one of float32, bfloat16"):
        elasticdl_nb.Embedding(2, name="l", row_dtype="float16")
    with pytest.raises(ModelError, match="row_dtype need a table, which it cannot have: it is regularized"):
        built(
            {"l": {"row_dtype": "bfloat16"}},
            lambda: keras.layers.Embedding(9, 2, name="l", embeddings_regularizer="l2"),
        )
    with pytest.raises(ModelError, match="row_dtype need a table, which it cannot have: it is not trained"):
        built({}, lambda: elasticdl_nb.Embedding(2, row_dtype="bfloat16", trainable=False))


def test_all_faces_of_the_half_life() -> None:
    small = 10
    _, layers = built(
        {"given": {"slot_half_life": "5_000"}, "both": {"ttl": 3, "slot_half_life": 7}},
        lambda: keras.layers.Embedding(small, 2, name="given"),
        lambda: elasticdl_nb.Embedding(2, name="both", slot_half_life=9),
        lambda: elasticdl_nb.Embedding(2, name="own", slot_half_life=9, max_rows=4),
    )
    assert {spec.name: spec.bounds for spec in layers.specs()} == {
        "given": Bounds(slot_half_life=5000), "both": Bounds(ttl_steps=3, slot_half_life=7),
        "own": Bounds(max_rows=4, slot_half_life=9),
    }  # fmt: skip
    layer = elasticdl_nb.Embedding(2, name="l", slot_half_life=9)
    again = elasticdl_nb.Embedding.from_config(layer.get_config())
    assert again.table_options == TableOptions(Bounds(slot_half_life=9))
    for wrong in ("7d", 0, 2.5, True):
        with pytest.raises(
            ModelError, match=r"Embedding l: slot_half_life=.*; use a whole number of steps, at least 1"
        ):
            elasticdl_nb.Embedding(2, name="l", slot_half_life=wrong)
    with pytest.raises(ModelError, match="slot_half_life and row_dtype need a table, which it cannot have: it is not"):
        built({}, lambda: elasticdl_nb.Embedding(2, slot_half_life=5, trainable=False))
    with pytest.raises(ModelError, match="cannot have: it is regularized"):
        built(
            {"l": {"slot_half_life": 5}},
            lambda: keras.layers.Embedding(9, 2, name="l", embeddings_regularizer="l2"),
        )


def test_options_that_no_embedding_can_follow_are_refused() -> None:
    model, layers = built({"smal": {"min_count": 5}}, lambda: keras.layers.Embedding(10, 2, name="small"))
    with pytest.raises(ModelError, match=r"no embedding smal\. Did you mean 'small'"):
        layers.check_options(model)
    with pytest.raises(ModelError, match="need a table, which it cannot have: it is regularized"):
        built({"l": {"ttl": 5}}, lambda: keras.layers.Embedding(10, 2, name="l", embeddings_regularizer="l2"))
    with pytest.raises(ModelError, match="it is not trained"):
        built({}, lambda: elasticdl_nb.Embedding(2, min_count=3, trainable=False))
    with pytest.raises(ModelError, match="Embedding l: ttl='soon'; use a number of steps"):
        elasticdl_nb.Embedding(2, name="l", ttl="soon")
    _, layers = built({"l": {"ttl": 5}}, lambda: keras.layers.Embedding(10, 2, name="l"))
    with pytest.raises(ModelError, match="cannot have: Ftrl"):
        layers.refuse_options("Ftrl")
    with pytest.raises(ModelError, match="the model's code uses its matrix"):
        layers.of_keras()[0].ordinary("the model's code uses its matrix")


def test_something_else_of_that_name_is_no_option() -> None:
    layer = keras.layers.Embedding(10, 2)
    for something in (None, (0, 1), "wide"):
        layer.table_options = something
        assert own_options(layer) == TableOptions()
    layer.table_options = TableOptions(Bounds(ttl_steps=5), "bfloat16")
    assert own_options(layer) == TableOptions(Bounds(ttl_steps=5), "bfloat16")


def test_the_job_option() -> None:
    def read(value: Any, **others: Any) -> Any:
        return JobSpec.create("train", data="x", model_def="m.f", embedding_options=value, **others).embedding_options

    said = {"deep/user": {"min_count": "5", "ttl": "7d"}, "item": {"max_rows": "1000"}}
    assert read("deep/user: min_count=5, ttl=7d; item: max_rows=1000") == said
    assert read({"a": {"min_count": 5}}) == {"a": {"min_count": 5}}
    assert read("a: row_dtype=bfloat16") == {"a": {"row_dtype": "bfloat16"}}
    for wrong, says in (
        ("min_count=5", "expected NAME:"), ("a: count=5", "count is not one of"), ("a: min_count=x", "min_count='x'"),
        ({"a": 5}, "expected some of"), ("a: ttl=7y", "ttl='7y'"), ("a:", "expected some of"),
        ("a: row_dtype=half", "row_dtype='half'; use one of float32, bfloat16"),
        ("a: slot_half_life=7d", "slot_half_life='7d'; use a whole number of steps, at least 1"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=says):
            read(wrong)
    for others in ({"embedding_tables": False}, {"distribution_strategy": "AllreduceStrategy"}):
        with pytest.raises(OptionError, match="embedding_options: has an effect only with embedding_tables=true"):
            read("a: ttl=5", **others)
