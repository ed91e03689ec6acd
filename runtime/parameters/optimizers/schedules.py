"""Keras' learning-rate schedules, evaluated from their configuration without TensorFlow.

Everything is float32 and in Keras' order of operations. Otherwise the learning rate of a long job would drift away from
Keras' own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from elasticdl_nb.runtime.errors import ModelError

Schedule = Callable[[int], np.float32]

_F = np.float32
_ONE = _F(1)


def constant(value: float) -> Schedule:
    """Return a schedule that is always `value`."""
    rate = _F(value)
    return lambda iteration: rate


def schedule_from_config(config: Mapping[str, Any]) -> Schedule:
    """Return the schedule that `keras.optimizers.schedules.serialize` described: from iterations done to a rate.

    Raises ModelError for a schedule that Keras does not come with.
    """
    name = config["class_name"]
    if name not in SCHEDULES or config.get("registered_name"):
        raise ModelError(
            f"optimizer: the learning-rate schedule {config.get('registered_name') or name} cannot be evaluated on "
            f"parameter servers, which know {', '.join(SCHEDULES)}; use one of these, or a LearningRateScheduler "
            "callback"
        )
    return SCHEDULES[name](config["config"])


def _exponential(config: Mapping[str, Any]) -> Schedule:
    initial, steps, rate = _F(config["initial_learning_rate"]), _F(config["decay_steps"]), _F(config["decay_rate"])
    staircase = config.get("staircase", False)

    def schedule(iteration: int) -> np.float32:
        p = _F(iteration) / steps
        return initial * rate ** (np.floor(p) if staircase else p)

    return schedule


def _inverse_time(config: Mapping[str, Any]) -> Schedule:
    initial, steps, rate = _F(config["initial_learning_rate"]), _F(config["decay_steps"]), _F(config["decay_rate"])
    staircase = config.get("staircase", False)

    def schedule(iteration: int) -> np.float32:
        p = _F(iteration) / steps
        return initial / (_ONE + rate * (np.floor(p) if staircase else p))

    return schedule


def _piecewise(config: Mapping[str, Any]) -> Schedule:
    # Keras compares integers here, of the step's type.
    boundaries = [int(boundary) for boundary in config["boundaries"]]
    values = [_F(value) for value in config["values"]]

    def schedule(iteration: int) -> np.float32:
        return values[sum(iteration > boundary for boundary in boundaries)]

    return schedule


def _polynomial(config: Mapping[str, Any]) -> Schedule:
    initial, steps = _F(config["initial_learning_rate"]), _F(config["decay_steps"])
    end, power = _F(config.get("end_learning_rate", 0.0001)), _F(config.get("power", 1.0))
    cycle = config.get("cycle", False)

    def schedule(iteration: int) -> np.float32:
        step, whole = _F(iteration), steps
        if cycle:
            whole = steps * (np.ceil(step / steps) if iteration else _ONE)
        else:
            step = min(step, steps)
        return (initial - end) * (_ONE - step / whole) ** power + end

    return schedule


def _cosine(config: Mapping[str, Any]) -> Schedule:
    initial, steps = _F(config["initial_learning_rate"]), _F(config["decay_steps"])
    alpha = _F(config.get("alpha", 0.0))
    target = config.get("warmup_target")
    warmup = _F(config.get("warmup_steps", 0)) if target is not None else _F(0)
    top = initial if target is None else _F(target)

    def schedule(iteration: int) -> np.float32:
        step = min(_F(iteration), steps + warmup)
        if step < warmup:
            return (top - initial) * (step / warmup) + initial
        fraction = (step - warmup) / steps
        cosine = _F(0.5) * (_ONE + np.cos(_F(math.pi) * fraction))
        return _F(top * ((_ONE - alpha) * cosine + alpha))

    return schedule


def _cosine_restarts(config: Mapping[str, Any]) -> Schedule:
    initial, steps = _F(config["initial_learning_rate"]), _F(config["first_decay_steps"])
    longer, lower = _F(config.get("t_mul", 2.0)), _F(config.get("m_mul", 1.0))
    alpha = _F(config.get("alpha", 0.0))

    def schedule(iteration: int) -> np.float32:
        fraction = _F(iteration) / steps
        if longer == _ONE:
            restart = np.floor(fraction)
            fraction = fraction - restart
        else:
            restart = np.floor(np.log(_ONE - fraction * (_ONE - longer)) / np.log(longer))
            before = (_ONE - longer**restart) / (_ONE - longer)
            fraction = (fraction - before) / longer**restart
        cosine = _F(0.5) * lower**restart * (_ONE + np.cos(_F(math.pi) * fraction))
        return _F(initial * ((_ONE - alpha) * cosine + alpha))

    return schedule


SCHEDULES: dict[str, Callable[[Mapping[str, Any]], Schedule]] = {
    "ExponentialDecay": _exponential,
    "PiecewiseConstantDecay": _piecewise,
    "PolynomialDecay": _polynomial,
    "InverseTimeDecay": _inverse_time,
    "CosineDecay": _cosine,
    "CosineDecayRestarts": _cosine_restarts,
}
