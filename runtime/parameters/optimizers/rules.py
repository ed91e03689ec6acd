"""Update rules made from the configuration of a Keras optimizer, without TensorFlow.

On a dense variable a rule does what Keras does, to within float32's rounding. On an embedding table it does the same to
the rows that have a gradient and leaves all others alone (the lazy form): neither their slots nor, with weight decay,
their values decay, and bias correction uses the step of the whole model. A table may let slots fade by itself: see
`why_slots_stay`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.parameters.arrays import Array, Rows
from elasticdl_nb.runtime.parameters.optimizers import updates
from elasticdl_nb.runtime.parameters.optimizers.clipping import Clipping
from elasticdl_nb.runtime.parameters.optimizers.schedules import Schedule, constant, schedule_from_config
from elasticdl_nb.runtime.parameters.optimizers.updates import Constants, Update

F = np.float32
_ONE = F(1)


class Slot(NamedTuple):
    """State that an optimizer keeps for every weight: its name and the value it starts with."""

    name: str
    initial: float


class Rule(Protocol):
    """How gradients change weights."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What must be kept for every weight."""

    @property
    def size(self) -> Callable[[Array], Array] | None:
        """What it takes as the size of gradients, if it needs any: see `Update`."""

    @property
    def in_parts(self) -> bool:
        """Whether the rows of a step may be updated in several calls, even from several threads."""

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
        """Update some rows in place.

        `weights` and each of `slots` are float32 [capacity, dim], `rows` int32 [n] and all distinct, `gradients`
        float32 [n, dim]. `step` counts from 1. `apart` is as in `Update.apply`, and so are `sizes`, which are only for
        rules with a kernel.
        """


@dataclass(frozen=True)
class CompiledRule:
    """A rule with a kernel; `constants` gives the kernel's constants from learning rate and step."""

    slots: tuple[Slot, ...]
    update: Update
    constants: Callable[[np.float32, int], Constants]
    weight_decay: np.float32 | None = None

    @property
    def size(self) -> Callable[[Array], Array] | None:
        """See `Rule.size`."""
        return self.update.size

    in_parts = True

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
        """See `Rule.apply`."""
        if self.weight_decay is not None:
            updates.DECAY.apply(weights, (), rows, gradients, (self.weight_decay, learning_rate), apart=apart)
        self.update.apply(weights, slots, rows, gradients, self.constants(learning_rate, step), sizes, apart=apart)


@dataclass(frozen=True)
class ServerOptimizer:
    """The user's optimizer as the servers and workers of a job apply it.

    Clipping needs the whole gradient: workers do it before they push, and a server only to a mean of pushes.
    """

    name: str
    rule: Rule
    learning_rate: Schedule
    clipping: Clipping


# ------------------------------------------------------------ the optimizers, by their Keras names


def _sgd(config: Mapping[str, Any]) -> CompiledRule:
    mu = F(config["momentum"])
    if not mu:
        return CompiledRule((), updates.SGD, lambda lr, step: (lr,))
    update = updates.NESTEROV if config["nesterov"] else updates.MOMENTUM
    return CompiledRule((Slot("momentum", 0),), update, lambda lr, step: (lr, mu))


def _adam(config: Mapping[str, Any]) -> CompiledRule:
    beta_1, beta_2 = F(config["beta_1"]), F(config["beta_2"])
    fixed = (F(1 - config["beta_1"]), F(1 - config["beta_2"]), F(config["epsilon"]))

    def constants(lr: np.float32, step: int) -> Constants:
        corrected = lr * np.sqrt(_ONE - beta_2 ** F(step)) / (_ONE - beta_1 ** F(step))
        return (corrected, *fixed)

    slots = (Slot("momentum", 0), Slot("velocity", 0))
    if config["amsgrad"]:
        return CompiledRule((*slots, Slot("velocity_hat", 0)), updates.AMSGRAD, constants)
    return CompiledRule(slots, updates.ADAM, constants)


def _adamax(config: Mapping[str, Any]) -> CompiledRule:
    beta_1, left, beta_2 = F(config["beta_1"]), F(1 - config["beta_1"]), F(config["beta_2"])
    epsilon = F(config["epsilon"])
    return CompiledRule(
        (Slot("momentum", 0), Slot("norm", 0)),
        updates.ADAMAX,
        lambda lr, step: (lr, left, beta_2, _ONE - beta_1 ** F(step), epsilon),
    )


def _nadam(config: Mapping[str, Any]) -> CompiledRule:
    beta_1, beta_2, epsilon = F(config["beta_1"]), F(config["beta_2"]), F(config["epsilon"])
    latest = [(0, _ONE)]

    def schedule(step: int) -> np.float32:
        return beta_1 * (_ONE - F(0.5) * F(0.96) ** F(step))

    def product(step: int) -> np.float32:
        # The product of the schedule so far; it is 0 after a few hundred steps and stays so. Several threads may ask.
        number, value = latest[0] if latest[0][0] <= step else (0, _ONE)
        while number < step and value:
            number += 1
            value = value * beta_1 * (_ONE - F(0.5) * F(0.96) ** F(number))
        latest[0] = (step, value)
        return value

    def constants(lr: np.float32, step: int) -> Constants:
        now, following, so_far = schedule(step), schedule(step + 1), product(step)
        return (
            lr, _ONE - beta_1, _ONE - beta_2, following, _ONE - so_far * following, _ONE - now, _ONE - so_far,
            _ONE - beta_2 ** F(step), epsilon,
        )  # fmt: skip

    return CompiledRule((Slot("momentum", 0), Slot("velocity", 0)), updates.NADAM, constants)


def _adagrad(config: Mapping[str, Any]) -> CompiledRule:
    epsilon = F(config["epsilon"])
    slots = (Slot("accumulator", config["initial_accumulator_value"]),)
    return CompiledRule(slots, updates.ADAGRAD, lambda lr, step: (lr, epsilon))


_RMSPROP = {
    (False, False): updates.RMSPROP,
    (True, False): updates.RMSPROP_MOMENTUM,
    (False, True): updates.RMSPROP_CENTERED,
    (True, True): updates.RMSPROP_CENTERED_MOMENTUM,
}


def _rmsprop(config: Mapping[str, Any]) -> CompiledRule:
    fixed = (F(config["rho"]), F(1 - config["rho"]), F(config["epsilon"]), F(config["momentum"]))
    slots = [Slot("velocity", 0)]
    if config["momentum"] > 0:
        slots.append(Slot("momentum", 0))
    if config["centered"]:
        slots.append(Slot("average_gradient", 0))
    update = _RMSPROP[config["momentum"] > 0, bool(config["centered"])]
    return CompiledRule(tuple(slots), update, lambda lr, step: (lr, *fixed))


def _adadelta(config: Mapping[str, Any]) -> CompiledRule:
    fixed = (F(config["rho"]), F(1 - config["rho"]), F(config["epsilon"]))
    slots = (Slot("accumulated_grad", 0), Slot("accumulated_delta_var", 0))
    return CompiledRule(slots, updates.ADADELTA, lambda lr, step: (lr, *fixed))


def _lion(config: Mapping[str, Any]) -> CompiledRule:
    beta_1, beta_2 = F(config["beta_1"]), F(config["beta_2"])
    fixed = (beta_1, _ONE - beta_1, beta_2, _ONE - beta_2)
    return CompiledRule((Slot("momentum", 0),), updates.LION, lambda lr, step: (lr, *fixed))


def _ftrl(config: Mapping[str, Any]) -> CompiledRule:
    power, l1 = F(-config["learning_rate_power"]), F(config["l1_regularization_strength"])
    l2, beta = F(config["l2_regularization_strength"]), F(config["beta"])
    shrinkage = F(2 * config["l2_shrinkage_regularization_strength"])
    return CompiledRule(
        (Slot("accumulator", config["initial_accumulator_value"]), Slot("linear", 0)),
        updates.FTRL_SQRT if power == F(0.5) else updates.FTRL,
        lambda lr, step: (lr, power, l1, F(2) * (l2 + beta / (F(2) * lr)), shrinkage),
    )


_RULES: dict[str, Callable[[Mapping[str, Any]], CompiledRule]] = {
    "SGD": _sgd,
    "Adam": _adam,
    "AdamW": _adam,
    "Adamax": _adamax,
    "Nadam": _nadam,
    "Adagrad": _adagrad,
    "RMSprop": _rmsprop,
    "Adadelta": _adadelta,
    "Lion": _lion,
    "Ftrl": _ftrl,
}

COMPILED: tuple[str, ...] = tuple(_RULES)

_IMPOSSIBLE = {
    "Adafactor": "its state does not belong to single weights",
    "Muon": "it works on whole matrices",
    "ScheduleFreeAdamW": "it keeps two versions of every weight",
    "LossScaleOptimizer": "mixed precision is not supported there; use the optimizer inside it",
    "MultiOptimizer": "it gives each variable another optimizer",
}


_KEEP = {
    "Adadelta": "its steps are small where it keeps little, so rows that come back would adapt more slowly",
    "Ftrl": "it computes each weight from what it keeps, so the weight itself would fade",
}


def why_slots_stay(config: Mapping[str, Any]) -> str:
    """Return why what a serialized optimizer keeps cannot fade to any purpose; empty if it can.

    Squares of gradients, their norms and maxima can, and so can moving averages of gradients.
    """
    name, values = config["class_name"], config["config"]
    if not has_compiled_rule(config):
        return "what it keeps for a weight is not known here to mean anything once it has faded"
    if name == "SGD" and not values["momentum"]:
        return "without momentum, it keeps nothing"
    return _KEEP.get(name, "")


def has_compiled_rule(config: Mapping[str, Any]) -> bool:
    """Whether a serialized optimizer is one of Keras' own in `COMPILED`; subclasses and the user's own are not."""
    return config["class_name"] in _RULES and not config.get("registered_name")


def check_supported(config: Mapping[str, Any]) -> None:
    """Raise ModelError if neither a compiled rule nor the generic path can do the work of a serialized optimizer."""
    name, values = config["class_name"], config["config"]
    use = f"use one of {', '.join(COMPILED)}, or another strategy than ParameterServerStrategy"
    if name in _IMPOSSIBLE:
        raise ModelError(f"optimizer: {name} cannot run on parameter servers ({_IMPOSSIBLE[name]}); {use}")
    for option in ("use_ema", "gradient_accumulation_steps", "loss_scale_factor"):
        if values.get(option):
            raise ModelError(
                f"optimizer: {option}={values[option]!r} of {name} does not work on parameter servers; leave it out, "
                "or use another strategy than ParameterServerStrategy"
            )


def optimizer_from_config(config: Mapping[str, Any]) -> ServerOptimizer:
    """Return the compiled form of what `keras.optimizers.serialize` described (`has_compiled_rule` must be true).

    Raises ModelError, naming what is available, for an optimizer, option or schedule that is not.
    """
    check_supported(config)
    name, values = config["class_name"], config["config"]
    if not has_compiled_rule(config):
        raise ModelError(
            f"optimizer: {config.get('registered_name') or name} has no compiled update rule, as "
            f"{', '.join(COMPILED)} have"
        )
    rule = _RULES[name](values)
    if values.get("weight_decay") is not None:
        rule = CompiledRule(rule.slots, rule.update, rule.constants, F(values["weight_decay"]))
    return ServerOptimizer(name, rule, learning_rate_from_config(values), Clipping.from_config(values))


def learning_rate_from_config(values: Mapping[str, Any]) -> Schedule:
    """Return the learning rate of an optimizer's `config` as a function of the iterations done; raises ModelError."""
    rate = values["learning_rate"]
    if isinstance(rate, Mapping):
        return schedule_from_config(rate)
    if not isinstance(rate, (int, float)):
        raise ModelError(
            f"optimizer: a learning rate of {rate!r} does not work on parameter servers; a number or one of Keras' "
            "schedules does"
        )
    return constant(rate)
