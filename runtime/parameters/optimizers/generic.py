"""The user's own Keras optimizer as an update rule: for optimizers without a compiled rule.

It gets the weights, gradients and slots of the rows in question, flattened into one vector, so it must treat every
weight independently, as nearly all optimizers do. (Lamb's norms are those of the given rows.) TensorFlow is imported
only when such a rule is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.parameters.arrays import Array, Rows
from elasticdl_nb.runtime.parameters.optimizers.clipping import Clipping
from elasticdl_nb.runtime.parameters.optimizers.rules import COMPILED, ServerOptimizer, Slot, check_supported

_OPTIONS = (
    "use_ema", "gradient_accumulation_steps", "loss_scale_factor", "clipnorm", "global_clipnorm", "clipvalue",
)  # fmt: skip


def keras_optimizer(config: Mapping[str, Any]) -> Any:
    """Return the Keras optimizer object that a serialized one describes (imports TensorFlow)."""
    import keras

    return keras.optimizers.deserialize(dict(config))


def generic_optimizer(make: Callable[[], Any]) -> ServerOptimizer:
    """Return the optimizer that runs `make()`, a Keras optimizer object that nothing else uses, on rows.

    Raises ModelError for an optimizer whose state does not belong to single weights, and for options that servers do
    not support; the message names the optimizers that work.
    """
    optimizer = make()
    name = type(optimizer).__name__
    options = {option: getattr(optimizer, option, None) for option in _OPTIONS}
    check_supported({"class_name": name, "config": options})
    rate = optimizer._learning_rate
    # Workers have already clipped the whole gradient.
    optimizer.clipnorm = optimizer.global_clipnorm = optimizer.clipvalue = None
    return ServerOptimizer(name, GenericRule(optimizer), _schedule(rate), Clipping.from_config(options))


def _schedule(rate: Any) -> Callable[[int], np.float32]:
    import keras

    if isinstance(rate, keras.Variable):
        fixed = np.float32(rate.numpy())
        return lambda iteration: fixed
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return lambda iteration: np.float32(keras.ops.convert_to_numpy(rate(iteration)))
    return lambda iteration: np.float32(rate())


class GenericRule:
    """A Keras optimizer object bound to one vector of any length; see `rules.Rule`."""

    size = None
    in_parts = False

    def __init__(self, optimizer: Any) -> None:
        import keras
        import tensorflow as tf

        # Two elements, so that state with a single element is recognized as not belonging to a weight.
        variable = keras.Variable(np.zeros(2, np.float32))
        _free_length(tf, variable)
        if not isinstance(optimizer._learning_rate, keras.Variable):
            optimizer._learning_rate = keras.Variable(0.0, trainable=False)
        optimizer.build([variable])
        others = {id(optimizer._iterations), id(optimizer._learning_rate)}
        states = [state for state in optimizer.variables if id(state) not in others]
        for state in states:
            if tuple(state.shape) != (2,):
                raise ModelError(
                    f"optimizer: {type(optimizer).__name__} cannot run on parameter servers (its state {state.name} "
                    f"does not belong to single weights); use one of {', '.join(COMPILED)}, or another strategy than "
                    "ParameterServerStrategy"
                )
        self.slots: tuple[Slot, ...] = tuple(
            Slot(str(state.name).removeprefix(f"{variable.path}_"), float(state.numpy()[0])) for state in states
        )
        self._optimizer = optimizer
        self._step = _step_function(tf, optimizer, variable, states)

    def apply(
        self,
        weights: Array,
        slots: Sequence[Array],
        rows: Rows,
        gradients: Array,
        learning_rate: np.float32,
        step: int,
        sizes: Array | None = None,
        *,
        apart: bool = False,
    ) -> None:
        """See `rules.Rule.apply`."""
        self._optimizer._iterations.assign(step - 1)
        self._optimizer._learning_rate.assign(learning_rate)
        placed = [(weights, slice(None) if apart else rows), *((slot, rows) for slot in slots)]
        results = self._step(gradients.reshape(-1), [array[place].reshape(-1) for array, place in placed])
        for (array, place), result in zip(placed, results, strict=True):
            array[place] = result.numpy().reshape(gradients.shape)


def _free_length(tf: Any, variable: Any) -> None:
    """Let a Keras variable hold vectors of any length: Keras fixes its shape, but the one beneath it need not be."""
    variable._value = tf.Variable(variable.numpy(), shape=tf.TensorShape([None]))


def _step_function(tf: Any, optimizer: Any, variable: Any, states: Sequence[Any]) -> Any:
    """Return the graph that takes (gradient, [weights, *slots]), vectors of any one length, to [weights, *slots]."""
    for state in states:
        _free_length(tf, state)
    vector = tf.TensorSpec([None], tf.float32)

    @tf.function(input_signature=[vector, [vector] * (1 + len(states))])  # type: ignore[untyped-decorator]
    def step(gradient: Any, values: Any) -> Any:
        for held, value in zip((variable, *states), values, strict=True):
            held._value.assign(value)
        optimizer.apply([gradient], [variable])
        return [held._value.read_value() for held in (variable, *states)]

    return step
