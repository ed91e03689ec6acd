"""Which of a model's inputs get which columns, and in what form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from looking import features, looked

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.contract import TABLE_INPUT
from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load

layers = keras.layers
FRAME = pd.DataFrame(
    {"age": [10, 20, 30, 60], "sex": ["m", "f", None, "m"], "fare": [1.5, None, 2.5, 5.0], "y": [0, 1, 0, 1]}
)


def functional(inputs: Any, *used: Any) -> keras.Model:
    """A model of these inputs, whose features are `used` as they are or after layers."""
    tensors = [layers.Flatten()(tensor) for tensor in used or keras.tree.flatten(inputs)]
    whole = layers.Concatenate()(tensors) if len(tensors) > 1 else tensors[0]
    return keras.Model(inputs, layers.Dense(1)(whole))


def test_inputs_named_as_columns_get_them_in_the_models_own_order_and_structure(tmp_path: Path) -> None:
    fare, age = keras.Input((1,), name="fare"), keras.Input((1,), name="age")
    text = keras.Input((1,), name="sex", dtype="string")
    letters = layers.StringLookup(vocabulary=["f", "m"], output_mode="one_hot")
    used = (fare, age, letters(text))
    for number, inputs in enumerate(([fare, age, text], {"fare": fare, "age": age, "sex": text})):
        found = features(tmp_path / str(number), FRAME, "y", functional(inputs, *used))
        named = found if isinstance(found, dict) else dict(zip(("fare", "age", "sex"), found, strict=True))
        assert isinstance(found, tuple if number == 0 else dict)
        assert named["sex"].tolist() == [[b"m"], [b"f"], [b""], [b"m"]]
        np.testing.assert_allclose(named["age"][:, 0], (FRAME.age - 30) / FRAME.age.std(ddof=0), rtol=1e-5)
        assert named["fare"][1, 0] == 0.0


def test_whole_inputs_get_ids_of_texts_and_whole_numbers(tmp_path: Path) -> None:
    sex, age = keras.Input((1,), dtype="int32", name="sex"), keras.Input((1,), dtype="int64", name="age")
    made = functional([sex, age], layers.Embedding(4, 2)(sex), layers.Embedding(61, 2)(age))
    ids, ages = features(tmp_path, FRAME, "y", made)
    assert ids.tolist() == [[3], [2], [0], [3]] and ids.dtype == np.int32
    assert ages.tolist() == [[10], [20], [30], [60]] and ages.dtype == np.int64


def test_what_a_model_preprocesses_itself_gets_as_it_is(tmp_path: Path) -> None:
    adapted = layers.Normalization()
    adapted.adapt(FRAME[["age", "fare"]].fillna(3.0).to_numpy())
    made = keras.Sequential([keras.Input((2,)), adapted, layers.Dense(1)])
    found = features(tmp_path / "1", FRAME, "y", made, features="age,fare")
    assert found.tolist() == [[10, 1.5], [20, 3.0], [30, 2.5], [60, 5.0]]
    age, fare = keras.Input((1,), name="age"), keras.Input((1,), name="fare")
    both = layers.Concatenate()([age, fare])
    ages, fares = features(tmp_path / "2", FRAME, "y", functional([age, fare], adapted(both)))
    assert ages[:, 0].tolist() == [10, 20, 30, 60] and fares[:, 0].tolist() == [1.5, 3.0, 2.5, 5.0]


def test_one_more_input_gets_all_other_columns(tmp_path: Path) -> None:
    sex, rest = keras.Input((1,), dtype="int32", name="sex"), keras.Input((2,), name="numbers")
    ids, numbers = features(tmp_path, FRAME, "y", functional([sex, rest], layers.Embedding(4, 2)(sex), rest))
    assert ids.shape == (4, 1) and numbers.shape == (4, 2)


@pytest.mark.parametrize(("size", "first"), [(5, [0, 1, 0]), (4, [0, 1]), (3, [1.1547])])
def test_a_vector_of_declared_size(tmp_path: Path, size: int, first: list[float]) -> None:
    found = features(tmp_path, FRAME[["sex", "age", "fare", "y"]], "y", functional(keras.Input((size,))))
    assert found.shape == (4, size)
    expected = first if size != 3 else [(3 - 1.5) / (4 / 12**0.5)]
    np.testing.assert_allclose(found[0, : len(expected)], expected, rtol=1e-4)


def test_scalar_inputs_and_half_precision(tmp_path: Path) -> None:
    age = keras.Input((), name="age")
    made = keras.Model(age, layers.Dense(1)(layers.Reshape((1,))(age)))
    found = features(tmp_path, FRAME, "y", made)
    assert made(found).shape == (4, 1)


class Picking(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.dense = layers.Embedding(4, 2), layers.Dense(1)

    def call(self, passenger: Any) -> Any:
        return self.dense(keras.ops.concatenate([passenger["age"], self.embedding(passenger["sex"])[:, 0]], axis=1))


class Taking(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1, activation="sigmoid")

    def call(self, numbers: Any) -> Any:
        return self.dense(numbers)


def test_subclassed_models_get_a_vector_or_what_their_call_picks(tmp_path: Path) -> None:
    found = features(tmp_path / "1", FRAME, "y", Picking())
    assert {name: (value.shape, value.dtype.name) for name, value in found.items()} == {
        "age": ((4, 1), "float32"), "sex": ((4, 1), "int32"),
    }  # fmt: skip
    assert features(tmp_path / "2", FRAME, "y", Taking()).shape == (4, 5)


AGE, SEX = keras.Input((1,), name="age"), keras.Input((1,), name="sex")
WHOLE = keras.Input((1,), name="fare", dtype="int32")
IDS = keras.Input((1,), name="age", dtype="int32")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (functional(keras.Input((7,))), r"takes 7 numbers, but the columns give 5 \(or 3, one for each column\)"),
        (functional([keras.Input((1,), name="a"), keras.Input((1,), name="b")]), "'a', 'b' are named as no column"),
        (functional([AGE, SEX]), "'sex' takes a number, but the column has texts"),
        (functional(WHOLE), "'fare' takes int32, but the column has fractions"),
        (functional(IDS, layers.Embedding(60, 2)(IDS)), "has 60 rows, but the column goes from 10 to 60"),
        (functional(keras.Input((1,), name="big", dtype="int32")), "make it int64"),
        (functional(keras.Input((4, 4), name="age")), "a column is a value for each row"),
        (keras.Model(AGE, [layers.Dense(1)(AGE), layers.Dense(1)(AGE)]), "this one has 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_cure(tmp_path: Path, made: keras.Model, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        looked(tmp_path, FRAME.assign(big=[1, 2, 3, 2**40]) if "int64" in problem else FRAME, "y").bound(made)


MODULE = """
import keras

model = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
compiled = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
compiled.compile("sgd", "mae", metrics=["mse"])
"""


def test_the_loader_compiles_a_model_that_was_not(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.linspace(-1, 1, 128), "late": ["no", "yes"] * 64})
    found = looked(tmp_path, frame, "late")
    (found.zoo / "m.py").write_text(MODULE)
    loaded = load(ModelDefinition(str(found.zoo), "m.model", {"learning_rate": 0.5}, input_fn=TABLE_INPUT))
    chunks = tf.data.Dataset.from_tensors(found.columns())
    form = {"form": "columns", "batch_size": 16, "task_records": 128}
    batches = loaded.batches(chunks, Mode.TRAINING, None, **form, shuffle_seed=0)
    inputs, labels = next(iter(batches))
    assert inputs.shape == (16, 1) and set(labels.numpy().ravel()) <= {0.0, 1.0}
    loaded.build(batches.element_spec[0])
    loaded.compile()
    assert type(loaded.model.optimizer).__name__ == "Adam" and float(loaded.model.optimizer.learning_rate) == 0.5
    assert float(loaded.compute_loss(labels, tf.zeros([16, 1]))) == pytest.approx(np.log(2))
    (only,) = [metric.name for metric in loaded.table.fitting.metrics()]
    assert only == "accuracy"
    rows = loaded.batches(chunks, Mode.PREDICTION, None, **form, shuffle_seed=None)
    assert next(iter(rows)).shape == (16, 1)


def test_the_loader_leaves_a_compiled_model_as_it_is(tmp_path: Path) -> None:
    found = looked(tmp_path, pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 0.0]}), "y")
    (found.zoo / "m.py").write_text(MODULE)
    loaded = load(ModelDefinition(str(found.zoo), "m.compiled", input_fn=TABLE_INPUT))
    assert loaded.table.form == "number" and not [note for note in loaded.table.notes if "compiled" in note]
    loaded.compile()
    assert type(loaded.model.optimizer).__name__ == "SGD" and loaded.model.loss == "mae"
