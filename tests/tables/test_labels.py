"""What becomes of the label, and of records to validate on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from looking import looked

from elasticdl_nb.runtime.errors import ModelError, OptionError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.tables.choosing import class_numbers
from elasticdl_nb.tables.labelform import Head, label_form
from elasticdl_nb.tables.tablerecord import TableLabel, read_record, record_text

X = [1.0, 2.0, 3.0, 4.0]
TEXTS = TableLabel("y", "text", ("a", "b", "c"))
TWO = TableLabel("y", "text", ("a", "b"))
FLAG = TableLabel("y", "integer", (0, 1), 0, 1)
DIGITS = TableLabel("y", "integer", (3, 5, 7), 3, 7)
PRICE = TableLabel("y", "float", (), 10, 500)


@pytest.mark.parametrize(
    ("label", "head", "loss", "form"),
    [
        (TEXTS, Head(3, "softmax"), "", "ids"),
        (TEXTS, Head(3, "linear"), "categorical_crossentropy", "one_hot"),
        (TEXTS, Head(None, ""), "sparse_categorical_crossentropy", "ids"),
        (TWO, Head(1, "sigmoid"), "", "binary"),
        (TWO, Head(1, "linear"), "binary_crossentropy", "binary"),
        (TWO, Head(2, "softmax"), "", "ids"),
        (TWO, Head(2, "softmax"), "binary_crossentropy", "one_hot"),
        (FLAG, Head(1, "linear"), "", "binary"),
        (FLAG, Head(1, "linear"), "mean_squared_error", "number"),
        (DIGITS, Head(3, "softmax"), "", "ids"),
        (DIGITS, Head(10, "softmax"), "", "whole"),
        (DIGITS, Head(10, "softmax"), "sparse_categorical_crossentropy", "whole"),
        (DIGITS, Head(1, "linear"), "", "number"),
        (PRICE, Head(1, "linear"), "", "number"),
        (PRICE, Head(1, "relu"), "mean_absolute_error", "number"),
    ],
)
def test_the_form_of_a_label_follows_from_the_loss_or_the_last_layer(
    label: TableLabel, head: Head, loss: str, form: str
) -> None:
    assert label_form(label, head, loss, own_loss=bool(loss)) == form


@pytest.mark.parametrize(
    ("label", "head", "loss", "problem"),
    [
        (TEXTS, Head(1, "sigmoid"), "", "its last layer needs 3 units"),
        (TEXTS, Head(2, "softmax"), "sparse_categorical_crossentropy", "its last layer needs 3 units"),
        (TEXTS, Head(1, "linear"), "binary_crossentropy", "is for two classes"),
        (TEXTS, Head(1, "linear"), "mean_squared_error", "is for numbers"),
        (PRICE, Head(3, "softmax"), "", "a number with many values"),
        (PRICE, Head(1, "sigmoid"), "", "a sigmoid gives numbers between 0 and 1"),
        (TWO, Head(1, "softmax"), "", "is always 1"),
        (TEXTS, Head(None, ""), "", "compile it"),
    ],
)
def test_what_cannot_work_is_refused_with_a_cure(label: TableLabel, head: Head, loss: str, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        label_form(label, head, loss, own_loss=bool(loss))


def model(units: int, activation: str | None = None, **compiled: Any) -> keras.Model:
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(units, activation=activation)])
    if compiled:
        made.compile(**compiled)
    return made


@pytest.mark.parametrize(
    ("label", "made", "wanted"),
    [
        (["b", "a", "c", "a"], model(3), [[1], [0], [2], [0]]),
        ([True, False, True, True], model(1), [[1], [0], [1], [1]]),
        ([3, 7, 5, 3], model(3), [[0], [2], [1], [0]]),
        ([3, 7, 5, 3], model(10), [[3], [7], [5], [3]]),
        ([3, 7, 5, 3], model(1), [[3], [7], [5], [3]]),
        ([0.5, 7, 5, 3], model(1), [[0.5], [7], [5], [3]]),
        (["b", "a", "b", "a"], model(2, loss=keras.losses.CategoricalCrossentropy()), [[0, 1], [1, 0], [0, 1], [1, 0]]),
        (["b", "a", "b", "a"], model(2, loss=keras.losses.KLDivergence()), [[0, 1], [1, 0], [0, 1], [1, 0]]),
        (["b", "a", "b", "a"], model(1, loss="bce"), [[1], [0], [1], [0]]),
        ([0, 1, 0, 1], model(1, loss="mae"), [[0], [1], [0], [1]]),
        ([0, 1, 0, 1], model(1, loss=lambda labels, outputs: outputs), [[0], [1], [0], [1]]),
    ],
)
def test_labels_are_what_the_loss_takes(tmp_path: Path, label: Any, made: keras.Model, wanted: Any) -> None:
    found = looked(tmp_path, pd.DataFrame({"x": X, "y": label}), "y")
    _, labels = found.bound(made)(found.columns(), Mode.TRAINING)
    assert labels.numpy().tolist() == wanted


@pytest.mark.parametrize(("units", "activation"), [(1, None), (1, "sigmoid"), (3, None), (3, "softmax")])
def test_a_model_without_a_loss_learns_and_predicts_classes_as_they_are_in_the_label(
    tmp_path: Path, units: int, activation: str | None
) -> None:
    keras.utils.set_random_seed(1)
    values = np.random.default_rng(0).uniform(-1, 1, 600)
    names = np.where(values < -0.3, "low", np.where(values < 0.3, "middle", "top")) if units == 3 else values > 0
    found = looked(tmp_path, pd.DataFrame({"x": values, "y": names}), "y")
    made = keras.Sequential([keras.layers.Dense(16, "relu"), keras.layers.Dense(units, activation=activation)])
    table = found.bound(made)
    made.compile(optimizer=keras.optimizers.Adam(0.05), loss=table.fitting.loss, metrics=table.fitting.metrics())
    inputs, labels = table(found.columns(), Mode.TRAINING)
    made.fit(inputs, labels, epochs=15, verbose=0)
    assert made.evaluate(inputs, labels, verbose=0)[1] > 0.95
    rows = table.for_rows(made)
    frame = pd.DataFrame({"x": [-0.9, 0.9]})
    answer = rows.classes(frame)
    assert answer["prediction"].tolist() == (["low", "top"] if units == 3 else [False, True])
    assert (answer["probability"] > 0.8).all() and (answer["probability"] <= 1).all()
    graph = tf.function(lambda inputs: table.predictions(made(inputs)))(table.features({"x": tf.constant([-0.9, 0.9])}))
    np.testing.assert_allclose(graph["probability"], answer["probability"], rtol=1e-4)


def test_records_without_a_label_are_left_out_and_a_share_is_held_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(100), "y": [*range(90), *[None] * 10]})
    found = looked(tmp_path / "1", frame, "y", validation_split=0.2)
    train, check = found.columns()["x"].numpy(), found.columns("validation_data")["x"].numpy()
    assert len(train) == 72 and len(check) == 18 and {*train, *check} == {*range(90)}
    assert found.record.notes[0] == "10 of 100 records have no y and are left out"
    again = looked(tmp_path / "2", frame, "y", validation_split=0.2)
    assert again.columns()["x"].numpy().tolist() == train.tolist()
    whole = looked(tmp_path / "3", frame, "y")
    assert len(whole.columns()["x"]) == 90


def test_texts_missing_in_the_label_and_in_validation_data(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": X, "y": ["a", None, "b", "a"]})
    found = looked(tmp_path / "1", frame, "y", validation_data=frame)
    assert found.columns()["y"].numpy().tolist() == [b"a", b"b", b"a"]
    assert found.columns("validation_data")["x"].numpy().tolist() == [1, 3, 4]
    other = pd.DataFrame({"x": X, "y": ["a", "b", "c", "a"]})
    with pytest.raises(OptionError, match="validation_data: has y = 'c', which the training data lacks"):
        looked(tmp_path / "2", frame, "y", validation_data=other)
    with pytest.raises(OptionError, match="validation_data: has no column 'x'"):
        looked(tmp_path / "3", frame, "y", validation_data=other[["y"]])


def test_a_csv_file_beside_a_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": X, "y": ["a", "b", "b", "a"]})
    frame.to_csv(tmp_path / "v.csv", index=False)
    found = looked(tmp_path / "1", frame, "y", validation_data=tmp_path / "v.csv")
    assert found.columns("validation_data")["x"].numpy().tolist() == X
    found = looked(tmp_path / "2", tmp_path / "v.csv", "y", validation_data=frame)
    assert found.columns("validation_data")["x"].numpy().tolist() == found.columns()["x"].numpy().tolist() == X
    assert found.record.reader == {"typed": True}


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (["a"] * 4, "'y' is 'a' in all rows"),
        ([None] * 4, "'y' is .* expected numbers, booleans or texts|'y' has no values"),
        (pd.to_datetime(["2024-01-01"] * 4), "'y' is a timestamp"),
        ([[1], [2], [3], [4]], "'y' is of no type that a model could predict"),
    ],
)
def test_labels_that_cannot_be_learnt(tmp_path: Path, label: Any, problem: str) -> None:
    with pytest.raises(OptionError, match=f"label: {problem}"):
        looked(tmp_path, pd.DataFrame({"x": X, "y": label}), "y")


def test_a_label_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"label: the data has no column 'specis'\. Did you mean 'species'"):
        looked(tmp_path, pd.DataFrame({"x": X, "species": X}), "specis")


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=4)
    frame = pd.DataFrame({"x": X, "t": ["u", "v", None, "u"], "d": days, "y": [1, 2, 1, 2]})
    record = looked(tmp_path, frame, "y").record
    assert read_record(record_text(record)) == record


@pytest.mark.parametrize(
    ("label", "weights", "found"),
    [
        (TWO, {"a": 1.0, "b": 5.0}, {"0": 1.0, "1": 5.0}),
        (TEXTS, {"c": 2.0}, {"2": 2.0}),
        (TEXTS, {"0": 1.0, "2": 3.0}, {"0": 1.0, "2": 3.0}),
        (TableLabel("y", "text", ("1", "2")), {"1": 3.0, "2": 4.0}, {"0": 3.0, "1": 4.0}),
        (TableLabel("y", "boolean", (False, True)), {"True": 4.0}, {"1": 4.0}),
        (FLAG, {"0": 1.0, "1": 5.0}, {"0": 1.0, "1": 5.0}),
        (TableLabel("y", "float", (0.0, 1.0), 0, 1), {"1": 5.0}, {"1": 5.0}),
        (PRICE, {}, {}),
        (PRICE, {"0": 1.0}, "'y' is a number with many values, so it has no classes"),
        (DIGITS, {"3": 1.0}, r"are the numbers 3, 5, 7, not 0, 1, 2, …; make them texts"),
        (TEXTS, {"3": 1.0}, "the label 'y' has no class '3'"),
        (TableLabel("y", "text", ("high", "low")), {"hihg": 1.0}, "no class 'hihg'. Did you mean 'high'"),
    ],
)
def test_classes_are_weighed_by_name_or_number(label: TableLabel, weights: Any, found: Any) -> None:
    if isinstance(found, dict):
        assert class_numbers(label, weights) == found
    else:
        with pytest.raises(OptionError, match=f"^class_weight: .*{found}"):
            class_numbers(label, weights)
