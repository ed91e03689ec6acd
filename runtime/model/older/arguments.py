"""Arguments that Keras 3 refuses or ignores: optimizers' `lr` and `decay`, `add_weight`'s name by position.

Optimizers also have the attribute `lr`, and those of `keras.optimizers.legacy` are the others.
"""

from __future__ import annotations

import functools
from typing import Any

import keras

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.older.operations import keras_modules

_LEGACY = ("Adagrad", "Adam", "Ftrl", "Optimizer", "RMSprop", "SGD")


def install() -> None:
    """Accept them in every optimizer and layer of this process."""
    _accept(keras.src.optimizers.base_optimizer.BaseOptimizer)
    _accept_name_first(keras.layers.Layer)
    for legacy in keras_modules("optimizers.legacy"):
        for name in _LEGACY:
            setattr(legacy, name, getattr(keras.optimizers, name))


def _accept(base: Any) -> None:
    original = base.__init__

    @functools.wraps(original)
    def make(optimizer: Any, learning_rate: Any, *args: Any, **kwargs: Any) -> None:
        learning_rate = kwargs.pop("lr", learning_rate)
        decay = kwargs.pop("decay", None)
        if decay:
            learning_rate = _decayed(learning_rate, decay)
        original(optimizer, learning_rate, *args, **kwargs)

    base.__init__ = make
    base.lr = property(lambda optimizer: optimizer.learning_rate, _set_learning_rate)


def _set_learning_rate(optimizer: Any, value: Any) -> None:
    optimizer.learning_rate = value


def _accept_name_first(layer: Any) -> None:
    original = layer.add_weight

    @functools.wraps(original)
    def add_weight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], str):
            names = ("name", "shape", "dtype", "initializer", "regularizer", "trainable", "constraint")
            args, kwargs = (), {**dict(zip(names, args, strict=False)), **kwargs}
        return original(self, *args, **kwargs)

    layer.add_weight = add_weight


def _decayed(learning_rate: Any, decay: float) -> Any:
    """What Keras 2 made of `decay`: learning_rate / (1 + decay * step)."""
    if not isinstance(learning_rate, (int, float)):
        raise ModelError(
            f"an optimizer's decay={decay} needs a number as its learning rate, not {type(learning_rate).__name__}; "
            "put the decay into the schedule"
        )
    return keras.optimizers.schedules.InverseTimeDecay(float(learning_rate), decay_steps=1, decay_rate=decay)
