"""Curves as SVG. Colours and fonts come from classes (`theme.py`), sizes from the available width.

A curve lies in a `viewBox` that is stretched to the space next to the axis, while its stroke keeps its width. Text and
dots are placed in pixels, labels in the padding. So one picture works at 400 and at 1,200 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter

from elasticdl_nb.widgets.format import safe
from elasticdl_nb.widgets.scale import Axis, linear_axis, step_ticks, value_axis
from elasticdl_nb.widgets.summary import Curve, curve_in_words

CHART_HEIGHT = 168
SPARK_HEIGHT = 34

# Units of the stretched box: more than the pixels that any screen has for a curve of this size.
_WIDTH, _DEPTH = 1000, 300
_TOP, _BOTTOM = 8, 20
_MOST_POINTS = 240
_MOST_SMOOTHED = 100
_FEWEST_TO_SMOOTH = 40
_NOISY_PATH = 4.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plot:
    """A curve and the decisions on how to draw it."""

    curve: Curve
    axis: Axis
    logarithmic: bool
    smoothed: bool
    points: Sequence[Point]

    @property
    def notes(self) -> str:
        """What a reader must know to understand the chart; may be empty."""
        missing = sum(not math.isfinite(value) for value in self.curve.values)
        notes = ("log scale" if self.logarithmic else "", "line: moving average" if self.smoothed else "")
        broken = f"{missing:,} of {len(self.points):,} values not finite" if missing else ""
        return " · ".join(note for note in (*notes, broken) if note)


def plot(curve: Curve) -> Plot:
    """Return how to draw the curve: its scale, and whether to smooth it."""
    logarithmic, axis = value_axis(curve.values)
    values = (_log10(value) for value in curve.values) if logarithmic else curve.values
    points = list(zip(_across(curve).shares(curve.steps), axis.shares(values), strict=True))
    return Plot(curve, axis, logarithmic, _is_noisy(points), points)


def chart(drawn: Plot) -> str:
    """Return a chart with axes, as one `<svg>` element."""
    curve, axis = drawn.curve, drawn.axis
    across = _across(curve)
    inside = CHART_HEIGHT - _TOP - _BOTTOM
    grid = []
    for place, label in axis.ticks:
        y = round(_TOP + inside * (1 - axis.share(place)), 1)
        grid.append(f'<text x="-8" y="{y + 3.5:g}" text-anchor="end">{label}</text>')
        grid.append(f'<line class="edl-grid" x2="100%" y1="{y:g}" y2="{y:g}"/>')
    for step, label in step_ticks(curve.steps[0], curve.steps[-1]):
        share = across.share(step)
        anchor = "start" if share < 0.02 else "end" if share > 0.94 else "middle"
        grid.append(f'<text x="{100 * share:.4g}%" y="{CHART_HEIGHT - 3}" text-anchor="{anchor}">{label}</text>')
    words = ", ".join(part for part in (curve_in_words(curve), drawn.notes) if part)
    return (
        f'<svg class="edl-chart" width="100%" height="{CHART_HEIGHT}" role="img" aria-label="{safe(words)}">'
        f"{''.join(grid)}{_drawing(drawn.points, drawn.smoothed, top=_TOP, height=inside)}</svg>"
    )


def _across(curve: Curve) -> Axis:
    return linear_axis(curve.steps[0], curve.steps[-1], exact=True)


def sparkline(curve: Curve) -> str:
    """Return a small picture of the curve without axes, as one `<svg>` element."""
    finite = [value for value in curve.values if math.isfinite(value)] or [0.0]
    axis = linear_axis(min(finite), max(finite), exact=True)
    points = list(zip(_across(curve).shares(curve.steps), axis.shares(curve.values), strict=True))
    return (
        f'<svg class="edl-spark" width="100%" height="{SPARK_HEIGHT}" role="img" '
        f'aria-label="{safe(curve_in_words(curve))}">'
        f"{_drawing(points, False, top=5, height=SPARK_HEIGHT - 10)}</svg>"
    )


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan


def _drawing(points: Sequence[Point], smooth: bool, *, top: int, height: int) -> str:
    """The line, and a dot on its last finite point."""
    lines = [("edl-line", thinned(points, _MOST_POINTS))]
    if smooth:
        lines = [("edl-raw", lines[0][1]), ("edl-line", smoothed(points, _MOST_SMOOTHED))]
    finite = [point for point in lines[-1][1] if math.isfinite(point[1])]
    if not finite:
        return '<text x="50%" y="50%" text-anchor="middle">no finite value yet</text>'
    paths = "".join(
        f'<path class="{name}" vector-effect="non-scaling-stroke" d="{_path(line)}"/>' for name, line in lines
    )
    x, y = finite[-1]
    return (
        f'<svg y="{top}" width="100%" height="{height}" viewBox="0 0 {_WIDTH} {_DEPTH}" preserveAspectRatio="none" '
        f'overflow="visible">{paths}</svg>'
        f'<circle class="edl-dot" cx="{100 * x:.4g}%" cy="{top + height * (1 - y):.4g}" r="3"/>'
    )


def _is_noisy(points: Sequence[Point]) -> bool:
    """Whether the line is long and goes up and down several times its range (the range being 1)."""
    heights = [y for _, y in points if math.isfinite(y)]
    if len(heights) < _FEWEST_TO_SMOOTH:
        return False
    return sum(abs(after - before) for before, after in pairwise(heights)) > _NOISY_PATH


def smoothed(points: Sequence[Point], most: int) -> list[Point]:
    """Return the moving average at no more than `most` + 1 of the points; values that are not finite do not count.

    A point without finite points around it stays NaN.
    """
    reach = max(2, len(points) // 30)
    finite = [math.isfinite(y) for _, y in points]
    sums = list(accumulate((y if good else 0.0 for (_, y), good in zip(points, finite, strict=True)), initial=0.0))
    counts = list(accumulate(finite, initial=0))
    last = len(points) - 1
    result = []
    for place in (*range(0, last, math.ceil(len(points) / most)), last):
        start, end = max(0, place - reach), min(last, place + reach) + 1
        number = counts[end] - counts[start]
        result.append((points[place][0], (sums[end] - sums[start]) / number if number else math.nan))
    return result


def thinned(points: Sequence[Point], most: int) -> Sequence[Point]:
    """Return at most about `most` of the points: the lowest, the highest and a gap in each stretch, and both ends."""
    if len(points) <= most:
        return points
    stretch = math.ceil(2 * (len(points) - 2) / (most - 2))
    kept = [points[0]]
    for start in range(1, len(points) - 1, stretch):
        part = points[start : min(start + stretch, len(points) - 1)]
        whole = [point for point in part if math.isfinite(point[1])]
        chosen = {min(whole, key=_height), max(whole, key=_height)} if whole else set()
        if len(whole) < len(part):
            chosen.add(next(point for point in part if not math.isfinite(point[1])))
        kept += sorted(chosen)
    kept.append(points[-1])
    return kept


_height = itemgetter(1)


def _path(points: Sequence[Point]) -> str:
    """The `d` of a path through the points in whole units, interrupted where a value is not finite."""
    parts: list[str] = []
    here: tuple[int, int] | None = None
    for x, y in points:
        if not math.isfinite(y):
            here = None
            continue
        there = round(x * _WIDTH), round((1 - y) * _DEPTH)
        if here is None:
            # A line of zero length, so that a value between two gaps is visible as a dot.
            parts.append(f"M{there[0]} {there[1]}h0")
        elif there != here:
            dx, dy = there[0] - here[0], there[1] - here[1]
            parts.append(f"l{dx}{dy}" if dy < 0 else f"l{dx} {dy}")
        here = there
    return "".join(parts)
