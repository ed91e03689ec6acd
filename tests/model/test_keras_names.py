"""The names that the client knows losses and optimizers by are Keras' own."""

from __future__ import annotations

import inspect

import keras

from elasticdl_nb.runtime.model import keras_names


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
