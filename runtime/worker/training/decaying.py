"""Learning rates that become nothing, and so end what a training that follows its data can learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.compiling import Optimizers

_DECADES, _IN_A_DECADE = 9, 20
_LAST = 10**_DECADES
"""A step that a training which does not end may well reach."""
_STEPS = "int64"
"""How optimizers count, as they give a schedule its step."""
_NOTHING = 1e-3
"""The share of a schedule's highest rate below which little is learnt."""
_CURE = "a training that follows its data has no last step, so use a constant rate, or a schedule that ends above zero"


def check_rates(model: Any) -> list[str]:
    """Return a sentence for each schedule of a compiled model's optimizers that decays to almost nothing.

    Raises ModelError for one that ends at zero.
    """
    optimizers = [getattr(one, "inner_optimizer", one) for one in Optimizers(model).all]
    schedules = [getattr(one, "_learning_rate", None) for one in optimizers]
    found = [decay_of(one) for one in schedules if isinstance(one, keras.optimizers.schedules.LearningRateSchedule)]
    return [sentence for sentence in found if sentence]


def decay_of(schedule: Any) -> str:
    """Return a sentence if a schedule's rate decays to almost nothing, else an empty text.

    Whatever the schedule is, its rate is looked at, up to step 1,000,000,000. Raises ModelError if it ends at zero.
    """
    steps = np.unique(np.logspace(0, _DECADES, _DECADES * _IN_A_DECADE + 1).astype(np.int64) - 1)
    try:
        rates = _rates(schedule, steps)
        # A schedule that starts again now and then must be looked at more than once.
        end = max(_rates(schedule, np.linspace(_LAST, 2 * _LAST, 101).astype(np.int64)))
    except Exception:  # the user's own code, which need not know such steps
        return ""
    highest = max(rates)
    if not (highest > 0 and end <= _NOTHING * highest):
        return ""
    low = steps[max(place for place, rate in enumerate(rates) if rate > _NOTHING * highest)]
    name = type(schedule).__name__
    if end <= 0:
        raise ModelError(
            f"optimizer: the learning rate of {name} ends at 0, and is less than a thousandth of its highest value "
            f"from about step {low:,} on; {_CURE}"
        )
    return (
        f"optimizer: the learning rate of {name} is less than a thousandth of its highest value from about step "
        f"{low:,} on; {_CURE}"
    )


def _rates(schedule: Any, steps: Sequence[int] | np.ndarray) -> list[float]:
    return [float(keras.ops.convert_to_numpy(schedule(keras.ops.convert_to_tensor(step, _STEPS)))) for step in steps]
