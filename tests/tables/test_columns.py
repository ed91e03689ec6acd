"""What becomes of each kind of column, in frames of each library and in files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import tensorflow as tf
from looking import features, looked

from elasticdl_nb.runtime.errors import ModelError, OptionError

LABEL = [0.5, 1.5, 2.5, 3.5]


def any_size() -> keras.Model:
    return keras.Sequential([keras.layers.Dense(1)])


def vector(root: Path, values: Any, **given: Any) -> Any:
    return features(root, pd.DataFrame({"x": values, "y": LABEL}), "y", any_size(), **given)


def standardized(values: list[float]) -> list[float]:
    return list((np.array(values) - np.mean(values)) / np.std(values))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.0, 2.0, 3.0, 6.0], standardized([1, 2, 3, 6])),
        (pd.array([1, 2, 3, 6], "Int64"), standardized([1, 2, 3, 6])),
        (np.array([1, 2, 3, 250], np.uint8), standardized([1, 2, 3, 250])),
        # Beyond 2**24, where float32 has not every whole number, and beyond what squares can be added of.
        ([2**40 + 1, 2**40 + 2, 2**40 + 3, 2**40 + 6], standardized([1, 2, 3, 6])),
        ([True, False, True, True], standardized([1, 0, 1, 1])),
        ([1.0, None, 3.0, 2.0], [-1.2247449, 0.0, 1.2247449, 0.0]),
        ([1.0, float("inf"), 3.0, 2.0], [-1.2247449, 0.0, 1.2247449, 0.0]),
        (pd.array([True, None, False, False], "boolean"), [2**0.5, 0.0, -(0.5**0.5), -(0.5**0.5)]),
        (pd.array([1, None, 3, 2], "Int64"), [-1.2247449, 0.0, 1.2247449, 0.0]),
        (pd.to_timedelta([1, 2, 3, 6], "h"), standardized([1, 2, 3, 6])),
    ],
)
def test_numbers_are_standardized_and_missing_ones_are_the_mean(tmp_path: Path, values: Any, wanted: Any) -> None:
    np.testing.assert_allclose(vector(tmp_path, values)[:, 0], wanted, atol=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        ["b", "a", "c", "a"],
        pd.Categorical(["b", "a", "c", "a"], categories=["c", "b", "a"]),
        pd.array(["b", "a", "c", "a"], "string"),
    ],
)
def test_texts_are_one_hot_in_the_order_of_the_alphabet(tmp_path: Path, values: Any) -> None:
    assert vector(tmp_path, values).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("values", [["b", None, "a", ""], pd.Categorical(["b", None, "a", None])])
def test_missing_texts_have_a_place_of_their_own(tmp_path: Path, values: Any) -> None:
    assert vector(tmp_path, values).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]


MOMENTS = pd.to_datetime(["2024-01-31 12:00", "2024-02-29 00:00", "2023-12-25 06:00", "1960-07-01 23:00"])


@pytest.mark.parametrize("values", [MOMENTS, MOMENTS.tz_localize("UTC")], ids=["naive", "UTC"])
def test_moments_are_their_time_and_their_parts(tmp_path: Path, values: Any) -> None:
    found = vector(tmp_path, values)
    assert found.shape == (4, 5)
    moments = pd.DatetimeIndex(values)
    seconds = moments.tz_localize(None).astype("datetime64[s]").astype("int64")
    np.testing.assert_allclose(found[:, 0], standardized(list(seconds)), atol=1e-5)
    parts = [moments.month, moments.day, (moments.day_of_week + 1) % 7, moments.hour]
    for place, (part, mean, deviation) in enumerate(
        zip(parts, (6.5, 15.7, 3.0, 11.5), (3.45, 8.8, 2.0, 6.92), strict=True), 1
    ):
        np.testing.assert_allclose(found[:, place], (part - mean) / deviation, atol=1e-5)


def test_dates_have_no_hour(tmp_path: Path) -> None:
    days = [datetime.date(2024, 1, day) for day in (1, 2, 3, 4)]
    assert vector(tmp_path, days).shape == (4, 4)


COLUMNS = {"a": [1, 2, 3, 4], "b": ["u", "v", "u", None], "c": [True, False, None, True], "y": LABEL}


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame(COLUMNS).convert_dtypes(), pl.DataFrame(COLUMNS), pl.LazyFrame(COLUMNS), pa.table(COLUMNS)],
    ids=["pandas", "polars", "polars lazy", "arrow"],
)
def test_frames_of_all_libraries_give_the_same(tmp_path: Path, frame: Any) -> None:
    found = features(tmp_path, frame, "y", any_size())
    wanted = [[-1.3416, 1, 0, 0, 0.7071], [-0.4472, 0, 1, 0, -1.4142], [0.4472, 1, 0, 0, 0], [1.3416, 0, 0, 1, 0.7071]]
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_csv_files_are_read_with_types_and_so_are_those_to_predict(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a;b;y\n1;u;0.5\n2;v;1.5\n3;;2.5\n")
    found = looked(tmp_path / "job", tmp_path / "x.csv", "y", data_reader_params="sep=';'")
    assert found.spec.data_reader_params == found.record.reader == {"sep": ";", "typed": True}
    assert found.bound(any_size()).features(found.columns()).shape == (3, 4)


def test_columns_that_teach_nothing_are_dropped_and_named(tmp_path: Path) -> None:
    rows = 60
    frame = pd.DataFrame(
        {
            "name": [f"n{n}" for n in range(rows)],
            "same": 1,
            "empty": [None] * rows,
            "lists": [[1, 2]] * rows,
            "structs": [{"k": 1}] * rows,
            "number": range(rows),
            "y": np.linspace(0, 1, rows),
        }
    )
    record = looked(tmp_path / "1", frame, "y").record
    assert record.names == ["number"]
    assert [note.split(":")[0].split()[0] for note in record.notes] == [
        "name", "same", "empty", "lists", "structs", "number",
    ]  # fmt: skip
    assert "60 different texts in 60 rows" in record.notes[0]
    assert looked(tmp_path / "2", frame, "y", features="name,number").record.names == ["name", "number"]
    with pytest.raises(OptionError, match="features: 'same' has the same value in all rows"):
        looked(tmp_path / "3", frame, "y", features=["same"])
    with pytest.raises(OptionError, match="no column is left to predict 'y' from"):
        looked(tmp_path / "4", frame[["same", "empty", "y"]], "y")


def test_features_chooses_columns_and_their_order(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["u", "v"], "c": [5, 7], "y": [0, 1]})
    assert looked(tmp_path / "1", frame, "y").record.names == ["a", "b", "c"]
    assert looked(tmp_path / "2", frame, "y", features="c,a").record.names == ["c", "a"]
    for given, problem in (
        ({"features": "a,y"}, "'y' is the label"), ({"features": "a,d"}, "the data has no column 'd'"),
        ({"features": "a,a"}, "'a' appears more than once"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=problem):
            looked(tmp_path / problem, frame, "y", **given)


def test_weights_of_records_are_read_but_are_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "w": [1.0, 3.0], "l": [[1], [2]], "y": [0, 1]})
    found = looked(tmp_path / "1", frame, "y", sample_weight_column="w")
    assert found.record.names == ["a"] and found.columns()["w"].numpy().tolist() == [1.0, 3.0]
    with pytest.raises(OptionError, match="sample_weight_column: 'w' is the label or one of the features"):
        looked(tmp_path / "2", frame, "y", sample_weight_column="w", features="a,w")


def test_data_of_another_kind_than_in_training_is_named(tmp_path: Path) -> None:
    found = looked(tmp_path, pd.DataFrame({"a": [1, 2], "b": ["u", "v"], "y": [0, 1]}), "y")
    table = found.bound(any_size())
    columns = found.columns()
    with pytest.raises(ModelError, match="the data has no column 'a' and 'b', which the model needs"):
        table.features({"y": columns["y"]})
    with pytest.raises(ModelError, match="'a' has texts, but the model was trained with integer values"):
        table.features({**columns, "a": columns["b"]})
    unseen = table.features({**columns, "b": tf.constant(["w", "u"])})
    assert unseen.numpy()[:, 1:].tolist() == [[0, 0], [1, 0]]


def test_many_texts_are_hashed_and_that_is_said(tmp_path: Path) -> None:
    texts = [f"t{n % 12_000}" for n in range(30_000)]
    found = looked(tmp_path, pd.DataFrame({"x": texts, "y": np.linspace(0, 1, 30_000)}), "y")
    assert "hashed into 10,000 ids" in found.record.notes[0]
    table = found.bound(any_size())
    assert any("hashed into 1,000" in note for note in table.notes)
    made = table.features({"x": found.columns()["x"][:64]}).numpy()
    assert made.shape == (64, 1000) and (made.sum(axis=1) == 1).all()
