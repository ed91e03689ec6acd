"""The names that the client knows losses, optimizers and metrics by are Keras' own."""

from __future__ import annotations

import inspect

import keras

from elasticdl_nb.runtime.model.reading import keras_names


def test_every_known_loss_is_one_of_keras_and_its_arguments_are_known() -> None:
    for name in keras_names.LOSSES:
        found = keras.losses.get(name)
        is_class = isinstance(found, keras.losses.Loss)
        taken = set(inspect.signature(type(found) if is_class else found).parameters)
        others = {"name", "dtype"} if is_class else {"y_true", "y_pred", "ref_labels", "ref_embeddings"}
        assert taken - others == keras_names.loss_arguments(name), name


def test_every_optimizer_of_keras_and_its_arguments_are_known() -> None:
    for name in keras_names.OPTIMIZERS:
        taken = set(inspect.signature(type(keras.optimizers.get(name))).parameters) - {"kwargs"}
        assert taken == keras_names.optimizer_arguments(name), name
        assert taken <= keras_names.optimizer_arguments("")


def test_every_metric_of_keras_that_needs_no_arguments_is_known() -> None:
    for name in keras_names.METRICS:
        assert isinstance(keras.metrics.get(name), keras.metrics.Metric)
    for name in dir(keras.metrics):
        kind = getattr(keras.metrics, name)
        if not (inspect.isclass(kind) and issubclass(kind, keras.metrics.Metric)) or name in ("Metric", "Accuracy"):
            continue
        needed = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty and p.kind == 1]
        assert (name in keras_names.METRICS) == (not needed), name
    assert keras_names.METRICS > keras_names.METRICS_OF_TWO_CLASSES | keras_names.METRICS_OF_ONE_HOT
