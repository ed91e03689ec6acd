"""The live form: HTML in parts that can be replaced one by one. No style attributes, no scripts, no assets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from elasticdl_nb.runtime.control.status import format_value
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets import summary
from elasticdl_nb.widgets.charts import Plot, chart, plot, sparkline
from elasticdl_nb.widgets.format import safe
from elasticdl_nb.widgets.summary import Curve, Mark, Message, Row, Stat


class Part(NamedTuple):
    """A part of the view: how to draw it, and how often (in seconds) it is worth sending."""

    draw: Callable[[JobStatus], str]
    interval: float


def mark(what: Mark, extra: str = "") -> str:
    """Return glyph and text; the glyph is only decoration, as the text says the same."""
    return (
        f'<span class="edl-mark edl-{what.tone}{extra}"><i aria-hidden="true">{what.glyph}</i>{safe(what.text)}</span>'
    )


def heading(inside: str) -> str:
    """Return a part's heading. It is not an `<h3>`, which notebooks style themselves, as `<ul>`, `<dl>` and `<p>`."""
    return f'<div class="edl-h" role="heading" aria-level="3">{inside}</div>'


def draw_head(status: JobStatus) -> str:
    """Return name, phase, progress and figures."""
    head = summary.head(status)
    link = f' · <a href="{safe(head.url)}" target="_blank" rel="noopener noreferrer">dashboard</a>' if head.url else ""
    return (
        f'<div class="edl-head"><span class="edl-name">{safe(head.name)}</span>'
        f'<span class="edl-about">{safe(head.about)}{link}</span>{mark(head.phase, " edl-phase")}</div>'
        f"{bar(head.progress, f' edl-fill-{head.phase.tone}' if head.over else '')}"
        f'<div class="edl-under"><b>{head.percent}</b><span class="edl-detail">{safe(head.detail)}</span>'
        f'<span class="edl-note">{head.remaining}</span></div>'
        f'<div class="edl-stats">{"".join(map(_stat, head.stats))}</div>'
    )


def bar(progress: float, tone: str = "") -> str:
    """Return a bar filled according to `progress`, from 0 to 1; `tone` is a class for its filling, after a space."""
    return (
        f'<svg class="edl-bar" width="100%" height="6" role="progressbar" aria-label="progress" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{100 * progress:.0f}"><rect class="edl-track" width="100%" '
        f'height="6"/><rect class="edl-fill{tone}" width="{100 * progress:.4g}%" height="6"/></svg>'
    )


def _stat(stat: Stat) -> str:
    note = f" <small>{stat.note}</small>" if stat.note else ""
    return f"<div><span>{stat.label}</span><b>{stat.value}{note}</b></div>"


def draw_loss(status: JobStatus, logarithmic: bool | None = None) -> str:
    """Return the loss curve, or nothing while there is none; `logarithmic` as in `charts.plot`."""
    drawn = loss_plot(status, logarithmic)
    if drawn is None:
        return ""
    note = f'<span class="edl-note">{drawn.notes}</span>' if drawn.notes else ""
    legend = "".join(
        f'<span class="edl-note">{_key(line.style)}{line.curve.name} {format_value(line.curve.last)}</span>'
        for line in drawn.lines[1:]
    )
    return f"{heading(f'Loss <b>{format_value(drawn.curve.last)}</b>{legend}{note}')}{chart(drawn, hover=True)}"


def loss_plot(status: JobStatus, logarithmic: bool | None = None) -> Plot | None:
    """Return how the loss is drawn, with that of the evaluations and what happened, or None while there is none."""
    curve, validation = summary.loss(status), summary.validation_loss(status)
    if curve is None:
        return None
    others = () if validation is None else (validation,)
    return plot(curve, *others, happenings=summary.happenings(status), logarithmic=logarithmic)


def _key(style: str) -> str:
    """A piece of a line, for a legend."""
    return (
        f'<svg class="edl-key" aria-hidden="true"><path class="edl-line edl-line-{style}" d="M0 4h22"/>'
        f'<circle class="edl-dot edl-line-{style}" cx="11" cy="4" r="3"/></svg>'
    )


def draw_metrics(status: JobStatus) -> str:
    """Return the evaluation metrics, each with its latest value and its curve, or nothing while there are none."""
    curves, more = summary.metrics(status)
    if not curves:
        return ""
    cells = "".join(_metric(curve, summary.trained_metric(status, curve.name)) for curve in curves)
    left_out = f'<div class="edl-more">and {more:,} more</div>' if more else ""
    return (
        heading(f'Evaluation<span class="edl-note">{summary.evaluated(status)}</span>')
        + f'<div class="edl-metrics">{cells}</div>{left_out}'
    )


def draw_windows(status: JobStatus) -> str:
    """Return the metrics of records that were tested before they were learnt, or nothing while there are none."""
    curves, more = summary.windows(status)
    if not curves:
        return ""
    left_out = f'<div class="edl-more">and {more:,} more</div>' if more else ""
    return (
        heading(f'Test, then train<span class="edl-note">{safe(summary.tested(status))}</span>')
        + f'<div class="edl-metrics">{"".join(_metric(curve, None) for curve in curves)}</div>{left_out}'
    )


def _metric(curve: Curve, trained: Curve | None) -> str:
    beside = f" <small>training {format_value(trained.last)}</small>" if trained else ""
    lines = (trained, curve) if trained else (curve,)
    line = sparkline(*lines) if max(len(one.steps) for one in lines) > 1 else ""
    return (
        f'<div class="edl-metric"><span title="{safe(curve.name)}">{safe(curve.name)}</span>'
        f"<b>{format_value(curve.last)}{beside}</b>{line}</div>"
    )


def draw_instances(status: JobStatus) -> str:
    """Return a table with a row per process, or nothing while there are none."""
    rows, more = summary.rows(status)
    if not rows:
        return ""
    left_out = f'<div class="edl-more">{safe(more)}</div>' if more else ""
    crew = summary.crew(status)
    note = f'<span class="edl-note">{crew}</span>' if crew else ""
    return (
        heading(f"Processes{note}") + '<div class="edl-scroll"><table><thead><tr><th scope="col">Name</th>'
        '<th scope="col">State</th><th scope="col">Activity</th>'
        '<th scope="col">Tasks</th><th scope="col">Records</th><th scope="col">Records/s</th>'
        f'<th scope="col">Restarts</th></tr></thead><tbody>{"".join(map(_row, rows))}</tbody></table></div>{left_out}'
    )


def _row(row: Row) -> str:
    speed = ""
    if row.share > 0:
        speed = (
            '<svg class="edl-speed" aria-hidden="true"><rect class="edl-track" width="100%" height="5"/>'
            f'<rect class="edl-fill" width="{100 * row.share:.0f}%" height="5"/></svg>'
        )
    return (
        f'<tr><th scope="row">{safe(row.name)}</th><td>{mark(row.state)}</td>'
        f"<td>{safe(row.activity)}</td><td>{row.tasks}</td>"
        f"<td>{row.records}</td>"
        f"<td>{speed}{row.rate}</td><td>{row.restarts}</td></tr>"
    )


def draw_messages(status: JobStatus) -> str:
    """Return the latest messages, or nothing while there are none."""
    messages = summary.messages(status)
    if not messages:
        return ""
    return f'{heading("Messages")}<div class="edl-log" role="list">{"".join(map(_message, messages))}</div>'


def _message(message: Message) -> str:
    text = safe(message.text)
    if message.mark:
        text = f"{mark(message.mark)}: {text}"
    return f'<div role="listitem"><span>{message.time}</span><span>{safe(message.source)}</span><div>{text}</div></div>'


def draw_ending(status: JobStatus) -> str:
    """Return the failure and the outputs, or nothing while there are neither."""
    end = summary.ending(status)
    html = ""
    if end.failure:
        trace = (
            f"<details><summary>Traceback</summary><pre>{safe(end.traceback)}</pre></details>" if end.traceback else ""
        )
        html = f'<div class="edl-failure" role="alert"><div class="edl-reason">{safe(end.failure)}</div>{trace}</div>'
    if end.outputs:
        items = "".join(f'<div role="listitem">{safe(output)}</div>' for output in end.outputs)
        more = f'<div class="edl-more">and {end.more_outputs:,} more</div>' if end.more_outputs else ""
        html += f'{heading("Output")}<div class="edl-outputs" role="list">{items}</div>{more}'
    return html


PARTS: dict[str, Part] = {
    "head": Part(draw_head, 0.5),
    "ending": Part(draw_ending, 1.0),
    "loss": Part(draw_loss, 2.0),
    "windows": Part(draw_windows, 2.0),
    "metrics": Part(draw_metrics, 2.0),
    "instances": Part(draw_instances, 2.0),
    "messages": Part(draw_messages, 1.0),
}
"""The view from top to bottom."""
