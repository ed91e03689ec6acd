"""Compiling a model as its author meant it: what the job gives, over what the author gave to `compile()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.compile_utils import CompileLoss

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.contract import STEPS
from elasticdl_nb.runtime.model.loading.functionloss import FunctionLoss
from elasticdl_nb.runtime.model.loading.losses import copied, is_of_keras

_ARGUMENTS = (
    "optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly", "steps_per_execution",
    "jit_compile",
)  # fmt: skip


def own_methods(model: Any) -> set[str]:
    """Those of `STEPS` that the model's class, or the model object itself, defines instead of Keras."""
    return {name for name in STEPS if name in vars(model) or not is_of_keras(_owner(type(model), name))}


def check_test_function(model: Any) -> None:
    """Raise ModelError for a model that takes evaluation out of the hands of those who add up its results."""
    if "make_test_function" in own_methods(model):
        raise ModelError(
            f"{type(model).__name__}.make_test_function: jobs evaluate in parts, whose metrics are added up, and do "
            "not call it; override test_step instead"
        )


def _owner(kind: type, name: str) -> type:
    return next((owner for owner in kind.__mro__ if name in vars(owner)), keras.Model)


def compile_model(model: Any, given: Mapping[str, Any]) -> None:
    """Compile a model with these arguments of `compile`, and those of its own `compile()` that they leave.

    A model that needs nothing else than what its author compiled stays as it is. An optimizer that was used before is
    replaced by a new one of the same configuration.
    """
    own: dict[str, Any] = {}
    if model.compiled:
        optimizer = optimizer_as_compiled(model, fresh=False)
        if not given and optimizer is getattr(model, "optimizer", None):
            _count_records(model)
            return
        own = _own_arguments(model) | {"optimizer": optimizer}
        if isinstance(given.get("loss"), FunctionLoss):
            own.pop("loss_weights", None)
    arguments = {"optimizer": None, **own, **given}
    # A class may compile in its own way, which has happened once: what else it keeps must stay.
    method: Callable[..., None] = partial(keras.Model.compile, model) if model.compiled else model.compile
    method(**arguments)
    if isinstance(arguments.get("loss"), FunctionLoss):
        model._compile_loss = arguments["loss"]  # takes all outputs at once
    _count_records(model)


class LossesByRecords(CompileLoss):  # type: ignore[misc]
    """Keras' compiled losses; the mean of each output's loss is over records also in a graph for batches of any size.

    Keras takes the batch's size from the graph, and counts batches where the graph does not say it.
    """

    def call(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the sum of all losses of a batch."""
        self._records = tf.shape(tf.nest.flatten(y_pred)[0])[0]
        return super().call(y_true, y_pred, sample_weight)

    def build(self, y_true: Any, y_pred: Any) -> None:
        """Decide which loss belongs to which output, and make the means."""
        super().build(y_true, y_pred)
        for mean in self.metrics:
            mean.update_state = partial(self._update, type(mean).update_state, mean)

    def _update(self, update: Callable[..., Any], mean: Any, value: Any, sample_weight: Any = None) -> None:
        update(mean, value, sample_weight=self._records)


def _count_records(model: Any) -> None:
    compiled = model._compile_loss
    if type(compiled) is CompileLoss and not compiled.built:
        model._compile_loss = LossesByRecords(
            compiled._user_loss, compiled._user_loss_weights, output_names=compiled.output_names
        )


def optimizer_as_compiled(model: Any, *, fresh: bool) -> Any:
    """Return the optimizer given to the model's `compile()`; a copy with `fresh`, or if it has been used."""
    optimizer = model.optimizer
    if optimizer is None or not (fresh or optimizer.built):
        return optimizer
    return copied(optimizer)


def _own_arguments(model: Any) -> dict[str, Any]:
    config = model._compile_config.config
    arguments = {name: config[name] for name in _ARGUMENTS if name in config}
    wrapped = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return arguments | {"auto_scale_loss": wrapped or model.dtype_policy.name != "mixed_float16"}


class Optimizers:
    """All optimizers that a model has: the one it was compiled with, and those its own steps use."""

    def __init__(self, model: Any) -> None:
        found = [one for one in held_by(model) if isinstance(one, keras.optimizers.Optimizer)]
        inner = {id(getattr(one, "inner_optimizer", None)) for one in found}
        self.all = list({id(one): one for one in found if id(one) not in inner}.values())

    @property
    def variables(self) -> list[Any]:
        """What all of them keep, as far as they are built."""
        return [variable for optimizer in self.all for variable in optimizer.variables]


def held_by(model: Any) -> list[Any]:
    """The values of all attributes of a model and its layers, and what is in those that are lists or dicts."""
    holders = [model, *model._flatten_layers(include_self=False)]
    values = [value for holder in holders for value in vars(holder).values()]
    return [*values, *(one for value in values for one in _items(value))]


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else []


def rate_is_set(optimizer: Any) -> bool:
    """Whether an optimizer's learning rate is a number that can be set, rather than a schedule."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return not isinstance(inner.get_config().get("learning_rate"), dict)
