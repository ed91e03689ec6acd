"""What becomes of columns on their way into a model, against plain Python."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.sql.features.finishing import finish
from elasticdl_nb.sql.features.statistics import Statistics
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.sql.zoo.rows import Rows
from elasticdl_nb.sql.zoo.sqlmodel import SqlModel, with_arguments
from elasticdl_nb.sql.zoo.tableinput import TableInput
from elasticdl_nb.sql.zoo.tablelayers import FeatureModel
from elasticdl_nb.tables.featurerecord import Category, Feature, Number, Source

NOTHING: dict[str, Statistics] = {}


def made(features: list[Feature], columns: dict[str, Any], kinds: dict[str, str] | None = None) -> dict[str, Any]:
    listed = {"": [finish(feature, NOTHING) for feature in features]}
    tensors = {name: tf.constant(values) for name, values in columns.items()}
    result = TableInput(listed, kinds or {}, None)(tensors, Mode.PREDICTION)
    return {name: tensor.numpy() for name, tensor in result.items()}


def ids(source: Source, values: Any, kind: str = "text") -> list[int]:
    found = made([Category(source, "indicator")], {"c": values}, {"c": kind})
    return [int(value) for value in found["ids"][:, 0]]


def test_numbers_are_standardized_and_missing_ones_are_the_mean() -> None:
    feature = finish(Number("c"), {"c": Statistics(rows=3, minimum=0, maximum=4, mean=2.0, deviation=2.0)})
    found = made([feature], {"c": [0.0, 4.0, float("nan"), float("inf")]})
    np.testing.assert_allclose(found["numbers"][:, 0], [-1.0, 1.0, 0.0, 0.0])


def test_texts_that_list_numbers() -> None:
    found = made([Number("c", size=3, delimiter=";")], {"c": ["1;2.5; -3", "4;;", "", "1;;2"]})
    np.testing.assert_allclose(found["numbers"], [[1, 2.5, -3], [4, 0, 0], [0, 0, 0], [1, 0, 2]])


def test_a_list_of_another_length_is_refused() -> None:
    for values in (["1,2,3"], ["1"], ["1,2", "", "1,2,3"]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="without exactly 2 values"):
            made([Number("c", size=2, delimiter=",")], {"c": values})
    assert made([Number("c", size=2, delimiter=",")], {"c": ["", " 1, 2 "]})["numbers"].tolist() == [[0, 0], [1, 2]]


def test_parts_of_dates_are_those_of_the_calendar() -> None:
    random = np.random.default_rng(0)
    seconds = random.integers(-80 * 365 * 86_400, 130 * 365 * 86_400, 5000)
    parts = ("month", "day", "weekday", "hour")
    found = made([Number("c", part=part) for part in parts], {"c": seconds.astype(np.int64)})["numbers"]
    start = datetime.datetime(1970, 1, 1)
    moments = [start + datetime.timedelta(seconds=int(value)) for value in seconds]
    wanted = [[m.month, m.day, m.isoweekday() % 7, m.hour] for m in moments]
    scale = [finish(Number("c", part=part), NOTHING) for part in parts]
    restored = found * [number.deviation for number in scale] + [number.mean for number in scale]
    np.testing.assert_allclose(restored, wanted, atol=1e-3)


def test_a_vocabulary_tells_missing_unseen_and_known_values_apart() -> None:
    assert ids(Source("vocabulary", "c", terms=("x", "y")), ["x", "", "y", "z"]) == [2, 0, 3, 1]
    assert ids(Source("vocabulary", "c"), ["x", ""]) == [1, 0]
    numbers = Source("vocabulary", "c", terms=("7", "12"))
    assert ids(numbers, [7, 12, 3], "integer") == [2, 3, 1]
    # With a NULL among them, whole numbers arrive as floats.
    assert ids(numbers, [7.0, float("nan"), 12.0], "integer") == [2, 0, 3]
    assert ids(Source("vocabulary", "c", terms=("1", "0")), [True, False], "boolean") == [2, 3]


def test_texts_of_dates_are_the_same_where_some_are_missing() -> None:
    source = Source("hash", "c", buckets=100_000)
    for kind in ("date", "timestamp"):
        known = ids(source, [1706659200, -86400], kind)
        assert ids(source, [1706659200.0, float("nan"), -86400.0], kind) == [known[0], 100_000, known[1]]


def test_ids_that_cannot_be_count_as_missing() -> None:
    assert ids(Source("identity", "c", buckets=5), [0, 4, 5, -1], "integer") == [0, 4, 5, 5]
    assert ids(Source("identity", "c", buckets=5), ["3", "", "9"]) == [3, 5, 5]


def test_ranges_begin_with_their_boundary() -> None:
    source = Source("bucket", "c", boundaries=(10.0, 20.0))
    assert ids(source, [9.9, 10.0, 19.0, 20.0, float("nan")], "float") == [0, 1, 1, 2, 3]


def test_hashes_and_crosses_stay_in_their_range() -> None:
    texts = [f"t{n}" for n in range(500)]
    hashed = ids(Source("hash", "c", buckets=7), [*texts, ""])
    assert set(hashed[:-1]) == set(range(7))
    assert hashed[-1] == 7
    one = Source("vocabulary", "c", terms=("a", "b"))
    two = Source("bucket", "d", boundaries=(5.0,))
    cross = Category(Source("cross", buckets=1000, sources=(one, two)), "indicator")
    found = made([cross], {"c": ["a", "a", "b", "a"], "d": [1.0, 9.0, 1.0, 2.0]})["ids"][:, 0]
    assert found[0] == found[3]
    assert len({int(value) for value in found}) == 3


def test_several_ids_a_row_and_their_weights() -> None:
    listed = Category(Source("identity", "c", buckets=9, delimiter=","), "indicator")
    found = made([listed], {"c": ["1, 3,", "", "8"]})
    assert found["ids_0"].tolist()[0][:2] == [1, 3]
    assert found["weights_0"].sum(axis=1).tolist() == [2.0, 0.0, 1.0]
    weighted = Category(
        Source("identity", "c", buckets=9, delimiter=",", pair_delimiter=":"), "indicator", combiner="sum"
    )
    features = {"": [finish(weighted, NOTHING)]}
    model = FeatureModel(tf.keras.layers.Identity(), features, None)
    inputs = TableInput(features, {"c": "text"}, None)({"c": tf.constant(["1:0.5,3:2", "1", ""])}, Mode.PREDICTION)
    outputs = model(inputs).numpy()
    assert outputs[0].tolist() == [0, 0.5, 0, 2.0, 0, 0, 0, 0, 0, 0]
    assert outputs[1].tolist() == [0, 1.0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert outputs[2].sum() == 0


def test_a_server_refuses_classes_that_the_label_does_not_have() -> None:
    def decoded(*classes: Any) -> Any:
        record = SimpleNamespace(kinds={}, columns=list, label=Label("y", "x", "", classes))
        return Rows(record, None).decoded({"prediction": np.eye(3)[[2, 0]]})["prediction"].tolist()

    assert decoded(4, 5, 6) == [6, 4]
    assert decoded("a", "b") == [None, "a"]
    with pytest.raises(ModelError, match="more outputs than its label has classes"):
        decoded(4, 5)


def test_labels_become_numbers_of_classes() -> None:
    features = {"": [Number("c")]}
    texts = TableInput(features, {}, Label("y", "text", "", ("no", "yes")))
    columns = {"c": tf.constant([1.0, 2.0]), "y": tf.constant(["yes", "no"])}
    assert texts(columns, Mode.TRAINING)[1].numpy().tolist() == [[1], [0]]
    numbers = TableInput(features, {}, Label("y", "integer", "", (3, 5, 9)))
    columns["y"] = tf.constant([9, 3], tf.int64)
    assert numbers(columns, Mode.TRAINING)[1].numpy().tolist() == [[2], [0]]
    columns["y"] = tf.constant([9, 4], tf.int64)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not one of the classes"):
        numbers(columns, Mode.TRAINING)


def test_a_loss_takes_the_arguments_of_the_statement() -> None:
    labels, outputs = tf.constant([[0.0], [10.0]]), tf.constant([[1.0], [1.0]])
    expected = float(keras.losses.Huber(delta=5)(labels, outputs))
    for loss in ("huber", keras.losses.huber, keras.losses.Huber()):
        made = with_arguments(loss, {"delta": 5})
        values = made(labels, outputs)
        assert float(tf.reduce_mean(values)) == pytest.approx(expected)
    with pytest.raises(ModelError, match=r"takes no arguments \(delta\)"):
        with_arguments(lambda labels, outputs: labels - outputs, {"delta": 5})


def test_steps_that_would_not_be_called_are_refused() -> None:
    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    model = SqlModel.__new__(SqlModel)
    model.record, model._model = SimpleNamespace(class_name="Own"), Own()
    with pytest.raises(ModelError, match=r"^Own\.train_step: a model that is trained in SQL .* are not called"):
        model.optimizer()
