"""Gradients on their way to the optimizers that a model's own training step applies them with.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from elasticdl_nb.runtime.errors import ModelError

Change = Callable[[Any, list[Any], list[Any]], list[Any]]
"""From an optimizer, gradients and their variables to the gradients to apply instead."""


@contextmanager
def changed_gradients(optimizers: Sequence[Any], change: Change) -> Iterator[None]:
    """In this block, these optimizers apply what `change` makes of the gradients that they are given."""
    own = [vars(optimizer).get("apply") for optimizer in optimizers]
    for optimizer in optimizers:
        optimizer.apply = _applying(optimizer, optimizer.apply, change)
    try:
        yield
    finally:
        for optimizer, before in zip(optimizers, own, strict=True):
            del optimizer.apply
            if before is not None:
                optimizer.apply = before


def _applying(optimizer: Any, apply: Callable[..., None], change: Change) -> Callable[..., None]:
    def changed(grads: Any, trainable_variables: Any = None) -> None:
        gradients = list(grads)
        variables = list(optimizer._trainable_variables if trainable_variables is None else trainable_variables)
        apply(change(optimizer, gradients, variables), variables)

    return changed


@contextmanager
def no_other_optimizers(known: Sequence[Any], variables: Sequence[Any]) -> Iterator[None]:
    """Raise ModelError if an optimizer that is not `known` is first used for any of these variables in this block."""
    before = {id(one) for one in _in_use()}
    yield
    of_model = {id(variable) for variable in variables}
    inner = {id(getattr(one, "inner_optimizer", one)) for one in known}
    for optimizer in _in_use():
        is_new = id(optimizer) not in before | inner | {id(one) for one in known}
        if is_new and any(id(variable) in of_model for variable in optimizer._trainable_variables):
            raise ModelError(
                f"train_step: it applies the optimizer {type(optimizer).__name__}, which is no attribute of the model, "
                "so workers cannot find and share its state; assign it to an attribute, such as self.optimizer"
            )


def _in_use() -> list[Any]:
    found = [one for one in gc.get_objects() if issubclass(type(one), keras.optimizers.Optimizer)]
    return [one for one in found if one.built and hasattr(one, "_trainable_variables")]
