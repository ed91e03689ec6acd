"""Metrics of tasks, added up, are the metrics of all their records."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.metricstates import MetricSet, make_metrics

random = np.random.default_rng(0)
LABELS = random.integers(0, 3, (50, 1)).astype(np.int32)
OUTPUTS = random.random((50, 3)).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS[:, 0]]
# Batches of unequal size, in two tasks.
TASKS = [[(0, 16), (16, 23)], [(23, 39), (39, 50)]]


def right(labels: Any, outputs: Any) -> Any:
    return tf.equal(tf.argmax(outputs, axis=1), labels.flatten())


def accuracy(predictions: Any, labels: Any) -> Any:
    return {"accuracy": tf.reduce_mean(tf.cast(right(labels, predictions), tf.float32))}


def fill(metrics: MetricSet, tasks: list[list[tuple[int, int]]], labels: np.ndarray, outputs: np.ndarray) -> MetricSet:
    for start, end in [batch for task in tasks for batch in task]:
        loss = float(np.mean(outputs[start:end]))
        metrics.update(tf.constant(labels[start:end]), tf.constant(outputs[start:end]), loss, end - start)
    return metrics


@pytest.mark.parametrize(
    ("form", "labels", "outputs"),
    [
        (lambda: {"auc": keras.metrics.AUC()}, ONE_HOT, OUTPUTS),
        (lambda: {"mean": keras.metrics.Mean()}, LABELS, OUTPUTS),
        (lambda: {"accuracy": keras.metrics.SparseCategoricalAccuracy()}, LABELS, OUTPUTS),
        (lambda: [keras.metrics.F1Score(average="macro", name="f1"), "mse"], ONE_HOT, OUTPUTS),
        (lambda: {"r2": keras.metrics.R2Score()}, ONE_HOT, OUTPUTS),
        (lambda: {"right": right}, LABELS, OUTPUTS),
        (accuracy, LABELS, OUTPUTS),
    ],
    ids=["AUC", "Mean", "SparseCategoricalAccuracy", "F1", "R2", "function", "old form"],
)
def test_states_of_tasks_add_up_to_one_pass(form: Any, labels: np.ndarray, outputs: np.ndarray) -> None:
    whole = fill(make_metrics(form), [[(0, 50)]], labels, outputs).results()
    worker = make_metrics(form)
    states = []
    for task in TASKS:
        worker.reset()
        states.append(fill(worker, [task], labels, outputs).states())
    worker.load(states[0])
    worker.merge(states[1])
    assert list(worker.results()) == list(whole)
    assert worker.results() == pytest.approx(whole, rel=1e-5)
    assert whole["loss"] == pytest.approx(float(np.mean(outputs)), rel=1e-5)


def test_old_and_new_forms_agree_with_keras() -> None:
    expected = float(keras.metrics.SparseCategoricalAccuracy()(LABELS, OUTPUTS))
    for form in (accuracy, lambda: {"accuracy": right}):
        assert fill(make_metrics(form), TASKS, LABELS, OUTPUTS).results()["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "outputs", "metric"),
    [
        (LABELS, OUTPUTS, keras.metrics.SparseCategoricalAccuracy()),
        (ONE_HOT, OUTPUTS, keras.metrics.CategoricalAccuracy()),
        (LABELS > 0, OUTPUTS[:, :1], keras.metrics.BinaryAccuracy()),
    ],
)
def test_accuracy_is_the_one_that_compile_would_choose(labels: Any, outputs: Any, metric: Any) -> None:
    found = fill(make_metrics(lambda: ["accuracy"]), TASKS, labels, outputs).results()
    assert found["accuracy"] == pytest.approx(float(metric(labels.reshape(len(outputs), -1), outputs)))


def test_arguments_are_given_by_their_names() -> None:
    def reversed_names(labels: Any, predictions: Any) -> Any:
        return {"shape": predictions.shape[1]}

    metrics = fill(make_metrics(reversed_names), TASKS, LABELS, OUTPUTS)
    assert metrics.results()["shape"] == 3


def test_a_metric_with_several_values_has_one_entry_for_each() -> None:
    metrics = fill(make_metrics(lambda: [keras.metrics.F1Score(name="f1")]), TASKS, ONE_HOT, OUTPUTS)
    assert list(metrics.results()) == ["loss", "f1_0", "f1_1", "f1_2"]


def test_without_metrics_there_is_the_loss() -> None:
    assert list(fill(make_metrics(None), TASKS, LABELS, OUTPUTS).results()) == ["loss"]
    assert fill(MetricSet(), TASKS, LABELS, OUTPUTS).states()["loss"][0][1] == 50


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda: {"loss": keras.metrics.Mean()}, "'loss' is the name of the mean loss"),
        (lambda: {"x": 3}, "expected a Keras metric or a function"),
        (lambda: 3, "dict or list"),
        (lambda: ["nope"], "no metric named 'nope'"),
        (lambda: ["mse", "mse"], "two metrics are named 'mse'"),
    ],
)
def test_other_forms_are_refused(form: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_metrics(form)


def test_states_of_other_metrics_are_refused() -> None:
    metrics = make_metrics(lambda: {"auc": keras.metrics.AUC()})
    with pytest.raises(ModelError, match="auc"):
        metrics.merge({"auc": [np.zeros(3)]})


def mean_of(labels: Any, outputs: Any) -> Any:
    return np.mean(np.asarray(outputs), axis=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 4))
def test_any_division_of_the_records_gives_the_mean_over_records(sizes: list[int], workers: int) -> None:
    outputs = np.arange(2.0 * sum(sizes)).reshape(-1, 2) ** 2
    total = MetricSet(functions={"mean": mean_of})
    start, each = 0, [MetricSet(functions={"mean": mean_of}) for _ in range(workers)]
    for number, size in enumerate(sizes):
        part = outputs[start : start + size]
        each[number % workers].update(tf.zeros([size]), tf.constant(part), float(np.mean(part)), size)
        start += size
    for metrics in each:
        total.merge(metrics.states())
    assert total.results() == pytest.approx({"loss": np.mean(outputs), "mean": np.mean(outputs)})
