"""Callbacks that go by the steps of the whole job."""

from __future__ import annotations

import keras

from elasticdl_nb.callbacks import LearningRateScheduler, MaxStepsStopping


def model_at(step: int) -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.optimizer = keras.optimizers.SGD(1.0)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(step)
    return model


def test_the_learning_rate_is_that_of_the_step() -> None:
    callback = LearningRateScheduler(lambda step: 0.5 if step < 100 else 0.25)
    for step, rate in ((0, 0.5), (99, 0.5), (100, 0.25)):
        model = model_at(step)
        callback.set_model(model)
        callback.on_train_batch_begin(0)
        assert float(model.optimizer.learning_rate) == rate


def test_training_ends_after_so_many_steps() -> None:
    callback = MaxStepsStopping(150)
    for step, stops in ((1, False), (149, False), (150, True), (153, True)):
        model = model_at(step)
        model.stop_training = False
        callback.set_model(model)
        callback.on_train_batch_end(0)
        assert model.stop_training == stops
