"""What is said of an error within a graph: what has happened and where, rather than TensorFlow's stack."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.worker.failures import failure


@pytest.fixture(scope="module")
def step() -> Any:
    inputs = keras.Input((2,), dtype="int64")
    rows = keras.layers.Embedding(5, 3, name="towns")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(rows)), name="m")
    model.compile("sgd", "mse")
    model.make_train_function()
    return lambda x, y: model.train_function(iter(tf.data.Dataset.from_tensors((x, y))))


@pytest.mark.parametrize(
    ("ids", "label", "said"),
    [
        (7, 1.0, r"InvalidArgumentError: indices\[0,0\] = 7 is not in \[0, 5\) \(at m\w*/towns\w*/GatherV2\)"),
        (
            1,
            "a",
            "UnimplementedError: Cast string to float is not supported, in the loss: labels that are texts must .*",
        ),
    ],
)
def test_what_has_happened_comes_first(step: Any, ids: int, label: Any, said: str) -> None:
    with pytest.raises(tf.errors.OpError) as caught:
        step(np.full((2, 2), ids), np.full((2, 1), label))
    told = failure(caught.value)
    assert re.fullmatch(said, told.message)
    assert "Graph execution error" in told.traceback
