"""Curves of one job, or of several to compare them, as a picture of its own: what `Job.plot` shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from elasticdl_nb.job.figure import Figure
from elasticdl_nb.runtime.control.status import format_value
from elasticdl_nb.runtime.errors import JobError
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets import summary
from elasticdl_nb.widgets.charts import CHART_HEIGHT, STYLES, Line, Plot, chart, plot
from elasticdl_nb.widgets.format import plain, safe, short
from elasticdl_nb.widgets.liveform import loss_plot
from elasticdl_nb.widgets.summary import Curve, curve_in_words
from elasticdl_nb.widgets.theme import FIGURE_STYLE, PICTURE_COLOURS, PICTURE_STYLE

_WIDTH = 760
_LEFT, _RIGHT = 56, 10
_ROW = 20


def figure(statuses: Sequence[JobStatus], metric: str = "loss", logarithmic: bool | None = None) -> Figure:
    """Return the figure of a metric of these jobs; of one job alone, with training, validation and what happened.

    Raises JobError if a job has no such metric, or if there are more jobs than can be told apart.
    """
    if len(statuses) > len(STYLES):
        raise JobError(f"a figure compares {len(STYLES)} jobs at most, not {len(statuses)}")
    if len(statuses) == 1 and metric == "loss" and (whole := loss_plot(statuses[0], logarithmic)):
        return _drawn(whole, plain(statuses[0].name))
    curves = [_curve(status, metric) for status in statuses]
    trained = summary.trained_metric(statuses[0], metric) if len(statuses) == 1 else None
    first, *others = [trained, curves[0]] if trained else curves
    return _drawn(plot(first, *others, logarithmic=logarithmic), metric)


def _curve(status: JobStatus, metric: str) -> Curve:
    """A job's metric, under the job's name: the training's loss, or what evaluations found, or else windows."""
    found = {curve.name: curve for curve in (*summary.windows(status)[0], *summary.metrics(status)[0])}
    if loss := summary.loss(status):
        found["loss"] = loss
    if metric not in found:
        raise JobError(f"job {status.name} has no {metric!r} yet; it has: {', '.join(found) or 'nothing to plot'}")
    return Curve(short(status.name, 60), found[metric].steps, found[metric].values)


def _drawn(drawn: Plot, title: str) -> Figure:
    svg = re.sub(r"^<svg [^>]*>", "", chart(drawn)).removesuffix("</svg>")
    # The axis is that of the metric, not of the first job.
    named = f'<text y="9">{safe(title)}</text>'
    svg = re.sub("^<text [^>]*>[^<]*</text>", lambda _: named, svg)
    height = CHART_HEIGHT + _ROW * (len(drawn.lines) + bool(drawn.notes)) + 8
    keys = "".join(_key(line, CHART_HEIGHT + _ROW * place + 14) for place, line in enumerate(drawn.lines))
    notes = f'<text x="{_LEFT}" y="{height - 8}">{safe(drawn.notes)}</text>' if drawn.notes else ""
    words = "; ".join(curve_in_words(line.curve) for line in drawn.lines)
    style = PICTURE_STYLE + FIGURE_STYLE + "text{font-size:11px;fill:var(--edl-muted)}"
    for name, colour in PICTURE_COLOURS.items():
        style = style.replace(f"var(--edl-{name})", colour)
    return Figure(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{safe(words)}"><style>{style}</style><svg class="edl-inner" x="{_LEFT}" '
        f'width="{_WIDTH - _LEFT - _RIGHT}" height="{CHART_HEIGHT}" overflow="visible">{svg}</svg>{keys}{notes}</svg>',
        f"{title}: {words}",
        _WIDTH,
        height,
    )


def _key(line: Line, y: int) -> str:
    style = "" if line.style == "0" else f" edl-line-{line.style}"
    return (
        f'<path class="edl-line{style}" d="M{_LEFT} {y - 4}h30"/><text x="{_LEFT + 38}" y="{y}">'
        f"{safe(line.curve.name)} {format_value(line.curve.last)}</text>"
    )
