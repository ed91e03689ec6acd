"""Embeddings of model objects: jobs keep their rows in tables, within bounds, as if the model were made there."""

from __future__ import annotations

import numpy as np
import pytest
from notebook_shell import Loaded, Notebook

from elasticdl_nb.capture import Captured
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.spec.bounds import Bounds

MODEL = """
import keras, numpy as np, elasticdl_nb
ids = keras.Input((1,), dtype="int64")
own = elasticdl_nb.Embedding(4, name="own", min_count=4, max_rows=100)(ids)
plain = elasticdl_nb.Embedding(40, name="plain")(ids)
small = keras.layers.Embedding(50, 4, name="small")(ids)
rest = keras.layers.Embedding(50, 4, name="rest")(ids)
parts = keras.layers.Flatten()(keras.layers.Concatenate()([own, plain, small, rest]))
model = keras.Model(ids, keras.layers.Dense(1)(parts))
"""
OPTIONS = {"small": {"min_count": "3"}}


def loaded(captured: Captured, layers: ServedLayers) -> object:
    with serving(layers):
        return Loaded(captured).value("model")


def test_untrained_embeddings_are_in_tables_within_their_bounds(notebook: Notebook) -> None:
    notebook.run(MODEL)
    captured, layers = notebook.capture("model"), ServedLayers(options=OPTIONS)
    model = loaded(captured, layers)
    assert {spec.name: spec.bounds for spec in layers.specs()} == {
        "own": Bounds(min_count=4, max_rows=100), "plain": None, "small": Bounds(min_count=3),
    }  # fmt: skip
    layers.check_options(model)
    before, rest = notebook.value("model"), "rest"
    np.testing.assert_array_equal(model.get_layer(rest).get_weights(), before.get_layer(rest).get_weights())  # type: ignore[attr-defined]
    assert captured.notes == ()
    x = np.arange(5)[:, None]
    np.testing.assert_array_equal(Loaded(captured).value("model")(x), before(x))  # outside of a job, as it was


def test_bounds_of_embeddings_that_came_with_their_rows_are_refused(notebook: Notebook) -> None:
    train = "model.compile('sgd', 'mse'); model.fit(np.arange(8)[:, None], np.ones(8), verbose=0)"
    notebook.run(MODEL, train)
    for options, name in (({}, "own"), ({**OPTIONS, "own": {"min_count": "1"}}, "small")):
        layers = ServedLayers(options=options)
        model = loaded(notebook.capture("model"), layers)
        with pytest.raises(ModelError, match=f"embedding {name}: .* row_dtype need a table.* its rows"):
            layers.check_options(model)  # type: ignore[arg-type]
    layers = ServedLayers(options={"dense": {"min_count": "3"}})
    with pytest.raises(ModelError, match="the model has no embedding dense"):
        layers.check_options(notebook.value("keras.Sequential([keras.layers.Dense(1, name='dense')])"))
