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
from elasticdl_nb.widgets.summary import Curve, Happening, curve_in_words, glyph_of, happenings_in_words

CHART_HEIGHT = 196
SPARK_HEIGHT = 34

# Units of the stretched box: more than the pixels that any screen has for a curve of this size.
_WIDTH, _DEPTH = 1000, 300
_TOP, _BOTTOM = 22, 34
_MOST_POINTS = 240
_MOST_SMOOTHED = 100
_MOST_HOVERED = 80
_MOST_DOTS = 30
_FEWEST_TO_SMOOTH = 40
_NOISY_PATH = 4.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve of a chart, where its points lie (0 to 1), and how it is drawn: `edl-line-STYLE`."""

    curve: Curve
    style: str
    points: Sequence[Point]
    smoothed: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Curves over the same steps, and the decisions on how to draw them."""

    lines: tuple[Line, ...]
    across: Axis
    axis: Axis
    logarithmic: bool
    happenings: tuple[Happening, ...] = ()

    @property
    def curve(self) -> Curve:
        """The first curve."""
        return self.lines[0].curve

    @property
    def notes(self) -> str:
        """What a reader must know to understand the chart; may be empty."""
        points = self.lines[0].points
        missing = sum(not math.isfinite(value) for value in self.curve.values)
        notes = ("log scale" if self.logarithmic else "", "line: moving average" if self.lines[0].smoothed else "")
        broken = f"{missing:,} of {len(points):,} values not finite" if missing else ""
        return " · ".join(note for note in (*notes, broken, happenings_in_words(self.happenings)) if note)


STYLES = ("0", "1", "2", "3", "4", "5")
"""How lines are drawn: each has a colour and a pattern of its own."""


def plot(curve: Curve, *others: Curve, happenings: Sequence[Happening] = (), logarithmic: bool | None = None) -> Plot:
    """Return how to draw the curves: their scale, and whether to smooth them.

    `logarithmic` is what the reader wants; None leaves it to the values.
    """
    curves = (curve, *others)
    logarithmic, axis = value_axis([value for one in curves for value in one.values], logarithmic)
    first, last = min(one.steps[0] for one in curves), max(one.steps[-1] for one in curves)
    across = linear_axis(first, last, exact=True)
    lines = []
    for one, style in zip(curves, STYLES, strict=False):
        values = (_log10(value) for value in one.values) if logarithmic else one.values
        points = list(zip(across.shares(one.steps), axis.shares(values), strict=True))
        lines.append(Line(one, style, points, _is_noisy(points)))
    shown = tuple(one for one in happenings if first <= one.step <= last)
    return Plot(tuple(lines), across, axis, logarithmic, shown)


def chart(drawn: Plot, *, hover: bool = False) -> str:
    """Return a chart with axes, as one `<svg>` element; with `hover`, it has the values that a page can show."""
    axis, across = drawn.axis, drawn.across
    inside = CHART_HEIGHT - _TOP - _BOTTOM
    grid = [f'<text x="-8" y="{_TOP - 9}" text-anchor="end">{safe(drawn.curve.name)}</text>']
    for place, label in axis.ticks:
        y = round(_TOP + inside * (1 - axis.share(place)), 1)
        grid.append(f'<text x="-8" y="{y + 3.5:g}" text-anchor="end">{label}</text>')
        grid.append(f'<line class="edl-grid" x2="100%" y1="{y:g}" y2="{y:g}"/>')
    for step, label in step_ticks(*(curve_ends(drawn))):
        share = across.share(step)
        anchor = "start" if share < 0.02 else "end" if share > 0.94 else "middle"
        grid.append(f'<text x="{100 * share:.4g}%" y="{CHART_HEIGHT - 17}" text-anchor="{anchor}">{label}</text>')
    grid.append(f'<text x="50%" y="{CHART_HEIGHT - 2}" text-anchor="middle">step</text>')
    signs = "".join(_sign(one, across, inside) for one in drawn.happenings)
    lines = "".join(_drawing(line, top=_TOP, height=inside) for line in reversed(drawn.lines))
    words = ", ".join(part for part in (*(curve_in_words(line.curve) for line in drawn.lines), drawn.notes) if part)
    values = f' data-hover="{safe(_hover(drawn, inside))}"' if hover else ""
    return (
        f'<svg class="edl-chart" width="100%" height="{CHART_HEIGHT}" role="img" aria-label="{safe(words)}"{values}>'
        f"{''.join(grid)}{signs}{lines}</svg>"
    )


def curve_ends(drawn: Plot) -> tuple[int, int]:
    """Return the first and the last step of a chart."""
    steps = [line.curve.steps for line in drawn.lines]
    return min(one[0] for one in steps), max(one[-1] for one in steps)


def _sign(one: Happening, across: Axis, inside: int) -> str:
    x = f"{100 * across.share(one.step):.4g}%"
    return (
        f'<g class="edl-sign"><title>step {one.step:,}: {safe(one.text)}</title>'
        f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{_TOP + inside}"/>'
        f'<text x="{x}" y="{_TOP - 4}" text-anchor="middle">{glyph_of(one)}</text></g>'
    )


def _hover(drawn: Plot, inside: int) -> str:
    """What a page shows next to the pointer: a line per curve, `name|x,y,step,value|…`, x from 0 to 999."""
    curves = []
    for line in drawn.lines:
        curve = line.curve
        stride = max(1, math.ceil(len(curve.steps) / _MOST_HOVERED))
        points = [
            f"{999 * x:.0f},{_TOP + inside * (1 - y):.0f},{step},{value:.4g}"
            for (x, y), step, value in zip(line.points, curve.steps, curve.values, strict=True)
            if math.isfinite(y)
        ]
        kept = [*points[:-1:stride], *points[-1:]]
        curves.append("|".join([curve.name.replace("|", " ").replace("\n", " "), *kept]))
    return "\n".join(curves)


def sparkline(curve: Curve, other: Curve | None = None) -> str:
    """Return a small picture of one or two curves without axes, as one `<svg>` element."""
    curves = [one for one in (curve, other) if one is not None]
    finite = [value for one in curves for value in one.values if math.isfinite(value)] or [0.0]
    axis = linear_axis(min(finite), max(finite), exact=True)
    across = linear_axis(min(one.steps[0] for one in curves), max(one.steps[-1] for one in curves), exact=True)
    drawings = "".join(
        _drawing(Line(one, style, list(zip(across.shares(one.steps), axis.shares(one.values), strict=True))),
                 top=5, height=SPARK_HEIGHT - 10)
        for one, style in zip(curves, STYLES, strict=False)
    )  # fmt: skip
    words = ", ".join(map(curve_in_words, curves))
    return (
        f'<svg class="edl-spark" width="100%" height="{SPARK_HEIGHT}" role="img" aria-label="{safe(words)}">'
        f"{drawings}</svg>"
    )


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan


def _drawing(line: Line, *, top: int, height: int) -> str:
    """The line, and a dot on its last finite point; of few points that are not the first line's, a dot on each."""
    lines = [("edl-line", thinned(line.points, _MOST_POINTS))]
    if line.smoothed:
        lines = [("edl-raw", lines[0][1]), ("edl-line", smoothed(line.points, _MOST_SMOOTHED))]
    finite = [point for point in lines[-1][1] if math.isfinite(point[1])]
    if not finite:
        return '<text x="50%" y="50%" text-anchor="middle">no finite value yet</text>' if line.style == "0" else ""
    style = "" if line.style == "0" else f" edl-line-{line.style}"
    paths = "".join(
        f'<path class="{name}{style}" vector-effect="non-scaling-stroke" d="{_path(points)}"/>'
        for name, points in lines
    )
    dotted = finite if style and len(finite) <= _MOST_DOTS else finite[-1:]
    dots = "".join(
        f'<circle class="edl-dot{style}" cx="{100 * x:.4g}%" cy="{top + height * (1 - y):.4g}" r="3"/>'
        for x, y in dotted
    )
    return (
        f'<svg y="{top}" width="100%" height="{height}" viewBox="0 0 {_WIDTH} {_DEPTH}" preserveAspectRatio="none" '
        f'overflow="visible">{paths}</svg>{dots}'
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
