"""Axes: which range to show, linear or logarithmic, and where to put round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from elasticdl_nb.runtime.control.status import format_count

# Above this ratio between values, or between the largest and the median, a linear scale hides what matters.
_WIDE_RANGE = 50.0

# Axes stop here, so that their ends can be rounded up and subtracted.
_LARGEST = 1e307


@dataclass(frozen=True, slots=True)
class Axis:
    """The range low..high (in powers of ten if logarithmic) and its labelled positions."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Return the position of `value` on the axis, from 0 at low to 1 at high; NaN if it is not finite."""
        return self.shares((value,))[0]

    def shares(self, values: Iterable[float]) -> list[float]:
        """Return `share` of each value."""
        low, span = self.low, self.high - self.low
        return [
            min(1.0, max(0.0, (value - low) / span)) if -math.inf < value < math.inf else math.nan for value in values
        ]


def value_axis(values: Sequence[float], logarithmic: bool | None = None) -> tuple[bool, Axis]:
    """Return whether to draw the values logarithmically, and their axis. Values that are not finite do not count.

    `logarithmic` is what the reader wants; None leaves the choice to the values. Of values that are not positive, a
    logarithmic axis shows nothing.
    """
    finite = [value for value in values if math.isfinite(value)]
    if logarithmic and (positive := [value for value in finite if value > 0]):
        return True, _log_axis(math.log10(min(positive)), math.log10(max(positive)))
    if not finite:
        return False, linear_axis(0.0, 1.0)
    low, high = min(finite), max(finite)
    if logarithmic is None and low > 0 and (high / low > 2 * _WIDE_RANGE or high / median(finite) > _WIDE_RANGE):
        return True, _log_axis(math.log10(low), math.log10(high))
    return False, linear_axis(low, high)


def linear_axis(low: float, high: float, *, exact: bool = False) -> Axis:
    """Return an axis for values from low to high; unless `exact`, it ends on round numbers."""
    low, high = (min(max(end, -_LARGEST), _LARGEST) for end in (low, high))
    size = max(abs(low), abs(high))
    if not high - low > max(1e-12 * size, 1e-290):
        margin = size / 10 if size > 1e-280 else 0.5
        low, high = low - margin, high + margin
    if exact:
        return Axis(low, high, ())
    step = _round_step((high - low) / 3)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((place * step, _tick_label(place * step, step, decimals)) for place in range(first, last + 1))
    return Axis(first * step, last * step, ticks)


def _round_step(rough: float) -> float:
    """The next round number (1, 2 or 5 times a power of ten) above `rough`."""
    rough = max(rough, 1e-300)
    power = 10.0 ** math.floor(math.log10(rough))
    return next((times * power for times in (1, 2, 5) if times * power >= rough * (1 - 1e-9)), 10 * power)


def _tick_label(value: float, step: float, decimals: int) -> str:
    if abs(value) < step / 2:
        return "0"
    if decimals > 4 or abs(value) >= 1e5:
        return _power_label(value)
    return f"{value:.{decimals}f}".replace("-", "−")


def _power_label(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "−")


def _log_axis(low: float, high: float) -> Axis:
    """An axis over powers of ten; labels at 1, 2 and 5 if there are few of them."""
    if high - low < 0.1:  # what is all but constant
        low, high = low - 0.5, high + 0.5
    decades = high - low
    every = max(1, math.ceil(decades / 4))
    places = [float(power) for power in range(math.floor(low), math.ceil(high) + 1, every)]
    if decades < 2:
        places = sorted(place + math.log10(times) for place in places for times in (1, 2, 5))
    margin = 0.04 * decades
    low, high = low - margin, high + margin
    return Axis(low, high, tuple((place, _plain_power(place)) for place in places if low <= place <= high))


def _plain_power(place: float) -> str:
    value = 10.0**place
    return f"{value:.4g}" if -3.5 < place < 4.5 else _power_label(value)


def step_ticks(first: int, last: int) -> list[tuple[int, str]]:
    """Return two to six round steps from first to last, with labels; of a range without two, its ends."""
    if last <= first:
        return [(first, format_count(first))]
    places = range(0)
    rough = (last - first) / 4
    while len(places) < 3 and rough >= 0.5:
        step = max(1, round(_round_step(rough)))
        places = range(-(-first // step) * step, last + 1, step)
        rough /= 2
    chosen = places if len(places) > 1 else (first, last)
    return [(place, format_count(place)) for place in chosen]
