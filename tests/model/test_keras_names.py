"""The names that the client knows losses, optimizers and metrics by are Keras' own."""

from __future__ import annotations

import inspect

import keras

from elasticdl_nb.runtime.model.reading import keras_names


def test_every_known_loss_is_one_of_keras() -> None:
    for name in keras_names.LOSSES:
        assert keras.losses.get(name) is not None


def test_every_optimizer_of_keras_and_its_arguments_are_known() -> None:
    arguments: set[str] = set()
    for name in keras_names.OPTIMIZERS:
        optimizer = keras.optimizers.get(name)
        arguments |= set(inspect.signature(type(optimizer)).parameters)
    assert arguments >= keras_names.OPTIMIZER_ARGUMENTS
    for name in ("learning_rate", "momentum", "beta_1", "weight_decay"):
        assert name in keras_names.OPTIMIZER_ARGUMENTS & arguments


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
