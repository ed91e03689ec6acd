"""Losses and optimizers in every form that the model contract allows, converted to what Keras' `compile` takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from elasticdl_nb.runtime.errors import ModelError, OptionError, did_you_mean
from elasticdl_nb.runtime.model.loading.calls import is_pair_function, takes_by_name
from elasticdl_nb.runtime.model.loading.functionloss import FunctionLoss

_DECIDED_BY_LABELS = ("crossentropy", "ce")
"""Names that stand for one of several losses, according to the forms of labels and outputs."""


def as_keras_loss(given: Any, where: str) -> Any:
    """Return what `compile` takes as a loss, for a loss in any form of the model contract.

    Names, Keras' losses and functions, and dicts and lists of losses (one for each output) stay what they are for
    Keras. The user's own function (labels, outputs), or one that returns a loss, becomes a `FunctionLoss`. Raises
    ModelError, which says `where` it was found, for anything else.
    """
    if isinstance(given, str):
        try:
            keras.losses.get(None if given.lower() in _DECIDED_BY_LABELS else given)
        except ValueError:
            raise ModelError(f"{where}: Keras has no loss named {given!r}") from None
        return given
    if isinstance(given, keras.losses.Loss):
        return given
    if inspect.isclass(given) and issubclass(given, keras.losses.Loss):
        return given()
    if isinstance(given, (Mapping, list, tuple)):
        return given
    if not callable(given):
        raise ModelError(f"{where} is {given!r}; expected a function (labels, outputs), a Keras loss or its name")
    if is_pair_function(given):
        return given if is_of_keras(given) else FunctionLoss(given)
    try:
        made = given()
    except TypeError as error:
        raise ModelError(f"{where}: a loss takes (labels, outputs), or nothing and returns a loss: {error}") from error
    if made is given or made is None:
        raise ModelError(f"{where}() returned {made!r}, not a loss")
    return as_keras_loss(made, f"{where}()")


def is_of_keras(item: Any) -> bool:
    """Whether a function or class is one of Keras' own."""
    return (getattr(item, "__module__", None) or "").split(".")[0] == "keras"


class OptimizerSource:
    """Where the model's optimizers come from: a function, a class, an optimizer, or the name of a Keras optimizer."""

    def __init__(self, given: Any, where: str) -> None:
        self.where = where
        self._fixed: keras.optimizers.Optimizer | None = None
        self._make: Callable[..., Any] | None = None
        if isinstance(given, str):
            given = _optimizer_class(given, where)
        if isinstance(given, keras.optimizers.Optimizer):
            self._fixed = given
        elif callable(given):
            self._make = given
        else:
            raise ModelError(f"{where} is {given!r}; expected a function that returns an optimizer, or a name")

    def arguments(self) -> tuple[list[str], bool]:
        """The names of the arguments that may be given, and whether any others may be, too."""
        if self._make is None:
            return [], False
        names, any_other = takes_by_name(self._make)
        # Keras passes **kwargs on to a base class, which accepts none of them.
        of_keras = inspect.isclass(self._make) and self._make.__module__.startswith("keras.")
        return names, any_other and not of_keras

    def make(self, arguments: Mapping[str, Any]) -> keras.optimizers.Optimizer:
        """Return a new optimizer; raises ModelError if the user's function returns something else."""
        if self._fixed is not None:
            return copied(self._fixed)
        assert self._make is not None
        made = self._make(**arguments)
        if isinstance(made, str):
            made = _optimizer_class(made, self.where)()
        if inspect.isclass(made) and issubclass(made, keras.optimizers.Optimizer):
            made = made()
        if not isinstance(made, keras.optimizers.Optimizer):
            raise ModelError(f"{self.where}() returned {made!r}, which is not a Keras optimizer")
        return made


def copied(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return a new optimizer with the same configuration, and the same variables excluded from weight decay."""
    inner = getattr(optimizer, "inner_optimizer", None)
    parts = [inner, *(getattr(one, "_learning_rate", None) for one in (optimizer, inner))]
    with keras.saving.custom_object_scope({type(one).__name__: type(one) for one in parts if one is not None}):
        copy = type(optimizer).from_config(optimizer.get_config())
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):  # not in the configuration
        if hasattr(optimizer, name):
            setattr(copy, name, getattr(optimizer, name))
    return copy


def _optimizer_class(name: str, where: str) -> type[keras.optimizers.Optimizer]:
    known = {
        item.lower(): value
        for item, value in vars(keras.optimizers).items()
        if inspect.isclass(value) and issubclass(value, keras.optimizers.Optimizer)
    }
    if name.lower() not in known:
        near = did_you_mean(name.lower(), known)
        raise OptionError("optimizer", f"{where}: Keras has no optimizer named {name!r}.{near}")
    return known[name.lower()]
