"""Bounds for metrics, such as auc<0.7: how they are written, and which values are beyond them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import forms

_FORM = re.compile(r"\s*([^<>=\s][^<>=]*?)\s*([<>])\s*(\S+)\s*")


@dataclass(frozen=True)
class Bound:
    """An alarm for values of a metric below a limit or, with `above`, over it."""

    metric: str
    above: bool
    limit: float

    @classmethod
    def of(cls, text: str) -> Bound:
        """Return the bound that a text stands for; raises ValueError if it is none."""
        found = _FORM.fullmatch(text)
        limit = forms.number(found[3]) if found else None
        if found is None or limit is None or not math.isfinite(limit):
            raise ValueError(
                "expected a metric, < or >, and a number, such as auc<0.7; several are separated by commas"
            )
        return cls(found[1], found[2] == ">", float(limit))

    def __str__(self) -> str:
        return f"{self.metric}{'>' if self.above else '<'}{self.limit:.12g}"

    def is_crossed(self, value: float) -> bool:
        """Whether a value is beyond the bound; NaN never is."""
        return value > self.limit if self.above else value < self.limit


def alarms(value: Any) -> tuple[str, ...]:
    """Bounds as texts: a list of them, or text that separates them by commas."""
    bounds = [str(Bound.of(one)) for one in forms.names(value)]
    if twice := [one for one in bounds if bounds.count(one) > 1]:
        raise ValueError(f"{twice[0]} is there twice")
    return tuple(bounds)


def check_metrics(given: tuple[str, ...], known: list[str]) -> None:
    """Raise OptionError if there is a bound for a metric that a model does not have."""
    for bound in map(Bound.of, given):
        if bound.metric not in known:
            raise OptionError(
                "alarm", f"{bound}: the model has no metric {bound.metric}.{did_you_mean(bound.metric, known)} It has "
                f"{', '.join(known)}",
            )  # fmt: skip
