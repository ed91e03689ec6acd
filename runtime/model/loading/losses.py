"""Losses and optimizers in every form that the model contract allows, converted to one form."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError, OptionError, did_you_mean
from elasticdl_nb.runtime.model.loading.calls import is_pair_function, takes_by_name

LossFunction = Callable[[Any, Any], Any]

_patch_lock = threading.Lock()
_patched = 0


@contextlib.contextmanager
def flattening() -> Iterator[None]:
    """Give tensors NumPy's `flatten()` within the block, for losses written as in ElasticDL's guide."""
    global _patched
    with _patch_lock:
        _patched += 1
        if _patched == 1:
            tf.Tensor.flatten = _flatten
    try:
        yield
    finally:
        with _patch_lock:
            _patched -= 1
            if _patched == 0:
                del tf.Tensor.flatten


def _flatten(tensor: Any) -> Any:
    return tf.reshape(tensor, [-1])


def as_loss(given: Any, where: str) -> LossFunction:
    """Return a function (labels, outputs) for a loss: such a function, one that returns it, a Keras loss or its name.

    Raises ModelError, which says `where` it was found, for anything else.
    """
    if isinstance(given, str):
        try:
            return as_loss(keras.losses.get(given), where)
        except ValueError:
            raise ModelError(f"{where}: Keras has no loss named {given!r}") from None
    if isinstance(given, keras.losses.Loss):
        return given  # type: ignore[no-any-return]
    if inspect.isclass(given) and issubclass(given, keras.losses.Loss):
        return as_loss(given(), where)
    if not callable(given):
        raise ModelError(f"{where} is {given!r}; expected a function (labels, outputs), a Keras loss or its name")
    if is_pair_function(given):
        return given  # type: ignore[no-any-return]
    try:
        made = given()
    except TypeError as error:
        raise ModelError(f"{where}: a loss takes (labels, outputs), or nothing and returns a loss: {error}") from error
    if made is given or made is None:
        raise ModelError(f"{where}() returned {made!r}, not a loss")
    return as_loss(made, f"{where}()")


def scalar_loss(function: LossFunction, labels: Any, outputs: Any) -> Any:
    """Call a loss and return its mean over the batch as a scalar float tensor."""
    with flattening():
        value = function(labels, outputs)
    value = tf.convert_to_tensor(value)
    return value if value.shape.rank == 0 else tf.reduce_mean(value)


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
            return type(self._fixed).from_config(self._fixed.get_config())
        assert self._make is not None
        made = self._make(**arguments)
        if isinstance(made, str):
            made = _optimizer_class(made, self.where)()
        if inspect.isclass(made) and issubclass(made, keras.optimizers.Optimizer):
            made = made()
        if not isinstance(made, keras.optimizers.Optimizer):
            raise ModelError(f"{self.where}() returned {made!r}, which is not a Keras optimizer")
        return made


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
