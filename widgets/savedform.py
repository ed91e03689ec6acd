"""The form that stays in a saved notebook: plain elements, inline styles, pictures as `<img>`.

Viewers of untrusted notebooks drop `<svg>`, `<style>`, `aria-*` and every style whose value they do not know (CSS
variables, `calc`). Some drop all styles; what is left still makes sense from top to bottom.
"""

from __future__ import annotations

import time
from base64 import b64encode

from elasticdl_nb.runtime.control.status import format_value, is_over
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets import summary
from elasticdl_nb.widgets.charts import CHART_HEIGHT, SPARK_HEIGHT, chart, sparkline
from elasticdl_nb.widgets.format import safe
from elasticdl_nb.widgets.liveform import loss_plot
from elasticdl_nb.widgets.summary import Curve, Head, Mark, Stat, curve_in_words
from elasticdl_nb.widgets.theme import PICTURE_STYLE

# Legible on white and on black, since the page's theme is unknown.
_TONES = {"idle": "#7d8590", "busy": "#3b82f6", "good": "#2da44e", "warn": "#d9822b", "bad": "#e5534b"}
_MUTED = "opacity:0.7"
_RULE = "1px solid #80808044"
_HEADING = "margin:18px 0 5px 0;font-size:13px"
_CELL = f"padding:3px 14px 3px 0;border:none;border-bottom:{_RULE};background:transparent;font-weight:normal"
_LAST_MOMENT = 2**36  # in the year 4147; platforms differ in what they can name
_ROOT = "max-width:960px;font-size:13px;line-height:1.45;text-align:left"


def render_static(status: JobStatus) -> str:
    """Return the whole view as HTML that survives sanitizing by notebook viewers."""
    return (
        f'<div style="{_ROOT}">{_head(status)}{_as_of(status)}{_ending(status)}{_loss(status)}{_windows(status)}'
        f"{_metrics(status)}{_rest(status)}</div>"
    )


def _mark(what: Mark) -> str:
    return f'<span style="color:{_TONES[what.tone]}">{what.glyph}</span> {safe(what.text)}'


def _heading(text: str, value: str = "", note: str = "") -> str:
    value = f"&nbsp; {value}" if value else ""
    note = f' &nbsp;<span style="{_MUTED};font-weight:normal">{note}</span>' if note else ""
    return f'<div style="{_HEADING}"><b>{text}{value}</b>{note}</div>'


def _head(status: JobStatus) -> str:
    head = summary.head(status)
    about = f' &nbsp;<span style="{_MUTED}">{safe(head.about)}</span>' if head.about else ""
    under = " &nbsp; ".join(part for part in (safe(head.detail), head.remaining) if part)
    under = f' &nbsp;<span style="{_MUTED}">{under}</span>' if under else ""
    return (
        f'<div><b style="font-size:16px">{safe(head.name)}</b>{about}</div>'
        f'<div style="margin-top:2px"><b>{_mark(head.phase)}</b> &nbsp;{head.percent}{under}</div>'
        f"{_bar(head)}<div>{' '.join(map(_stat, head.stats))}</div>"
    )


def _as_of(status: JobStatus) -> str:
    """How old the picture of a running job is, and how to see the job itself."""
    if is_over(status) or not 0 < status.updated_at < _LAST_MOMENT:
        return ""
    moment = time.strftime("%H:%M:%S on %d %B %Y", time.localtime(status.updated_at))
    if not status.started_at:
        return f'<div style="{_MUTED};margin-top:8px">As of {moment}, the job had not started yet.</div>'
    return (
        f'<div style="{_MUTED};margin-top:8px">As of {moment}. To see the job as it is now: '
        f"<code>%load_ext elasticdl_nb</code>, then <code>%elasticdl_attach {safe(status.name)}</code></div>"
    )


def _bar(head: Head) -> str:
    colour = _TONES[head.phase.tone]
    return (
        '<div style="margin:7px 0 4px 0;height:5px;border-radius:3px;overflow:hidden;background:#80808044">'
        f'<div style="width:{100 * head.progress:.1f}%;height:5px;background:{colour}"></div></div>'
    )


def _stat(stat: Stat) -> str:
    note = f' <span style="{_MUTED};font-size:12px">{stat.note}</span>' if stat.note else ""
    return (
        '<div style="display:inline-block;vertical-align:top;min-width:72px;margin:6px 16px 0 0">'
        f'<span style="{_MUTED};font-size:12px">{stat.label}</span><br>'
        f'<b style="font-size:15px">{stat.value}</b>{note}</div>'
    )


def _picture(svg: str, curve: Curve, width: int, height: int, shown: str) -> str:
    # In a frame that lays it out as a page would, including padding.
    document = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="100%" height="{height}"><style>{PICTURE_STYLE}</style>'
        f'<foreignObject width="100%" height="100%">{svg.replace("<svg", _INNER, 1)}</foreignObject></svg>'
    )
    data = b64encode(document.encode()).decode()
    return (
        f'<img alt="{safe(curve_in_words(curve))}" width="{width}" height="{height}" '
        f'style="display:block;width:{shown};height:{height}px;max-width:{shown};margin:0" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


_INNER = '<svg xmlns="http://www.w3.org/2000/svg"'


def _loss(status: JobStatus) -> str:
    drawn = loss_plot(status)
    if drawn is None:
        return ""
    validation = ", ".join(f"{line.curve.name} {format_value(line.curve.last)} (dashed)" for line in drawn.lines[1:])
    notes = " · ".join(note for note in (validation, drawn.notes) if note)
    picture = _picture(chart(drawn), drawn.curve, 640, CHART_HEIGHT, "100%")
    return _heading("Loss", format_value(drawn.curve.last), notes) + picture


def _metrics(status: JobStatus) -> str:
    curves, more = summary.metrics(status)
    if not curves:
        return ""
    cells = "".join(_metric(curve, summary.trained_metric(status, curve.name)) for curve in curves)
    left_out = f'<div style="{_MUTED}">and {more:,} more</div>' if more else ""
    return f"{_heading('Evaluation', note=summary.evaluated(status))}<div>{cells}</div>{left_out}"


def _windows(status: JobStatus) -> str:
    curves, more = summary.windows(status)
    if not curves:
        return ""
    left_out = f'<div style="{_MUTED}">and {more:,} more</div>' if more else ""
    cells = "".join(_metric(curve, None) for curve in curves)
    return f"{_heading('Test, then train', note=safe(summary.tested(status)))}<div>{cells}</div>{left_out}"


def _metric(curve: Curve, trained: Curve | None) -> str:
    beside = (
        f'<br><span style="{_MUTED};font-size:12px">training {format_value(trained.last)}</span>' if trained else ""
    )
    lines = (trained, curve) if trained else (curve,)
    drawn = max(len(one.steps) for one in lines) > 1
    return (
        '<div style="display:inline-block;vertical-align:top;width:160px;margin:0 20px 8px 0">'
        f'<span style="{_MUTED};font-size:12px">{safe(curve.name)}</span><br>'
        f'<b style="font-size:15px">{format_value(curve.last)}</b>{beside}'
        f"{_picture(sparkline(*lines), curve, 160, SPARK_HEIGHT, '160px') if drawn else ''}</div>"
    )


def _rest(status: JobStatus) -> str:
    """Processes and messages, collapsed if the job is over."""
    body = _instances(status) + _messages(status)
    if not body or not is_over(status):
        return body
    names = " and ".join(
        name for name, there in (("processes", status.instances), ("messages", status.events)) if there
    )
    return (
        f'<details style="margin-top:14px"><summary style="cursor:pointer;{_MUTED}">{names.capitalize()}</summary>'
        f"{body}</details>"
    )


def _instances(status: JobStatus) -> str:
    rows, more = summary.rows(status)
    if not rows:
        return ""
    left, right = f'style="{_CELL};text-align:left"', f'style="{_CELL};text-align:right"'
    names = "".join(
        f"<th {right if name in _NUMBERS else left}>{name}</th>" for name in ("Name", "State", "Activity", *_NUMBERS)
    )
    lines = "".join(
        f"<tr><td {left}>{safe(row.name)}</td><td {left}>{_mark(row.state)}</td><td {left}>{safe(row.activity)}</td>"
        + "".join(f"<td {right}>{value}</td>" for value in (row.tasks, row.records, row.rate, row.restarts))
        + "</tr>"
        for row in rows
    )
    left_out = f'<div style="{_MUTED};margin-top:4px">{safe(more)}</div>' if more else ""
    return (
        f"{_heading('Processes', note=summary.crew(status))}"
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:0;font-size:13px">'
        f"<thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>{left_out}"
    )


_NUMBERS = ("Tasks", "Records", "Records/s", "Restarts")


def _messages(status: JobStatus) -> str:
    messages = summary.messages(status)
    if not messages:
        return ""
    lines = "".join(
        f'<div><span style="{_MUTED}">{message.time} &nbsp;{safe(message.source)}</span> &nbsp;'
        f"{_mark(message.mark) + ': ' if message.mark else ''}{safe(message.text)}</div>"
        for message in messages
    )
    return f"{_heading('Messages')}{lines}"


def _ending(status: JobStatus) -> str:
    end = summary.ending(status)
    html = ""
    if end.failure:
        trace = (
            f'<details><summary style="cursor:pointer;{_MUTED};margin-top:4px">Traceback</summary>'
            f'<pre style="font-size:12px;margin:4px 0 0 0;overflow:auto;white-space:pre">{safe(end.traceback)}</pre>'
            "</details>"
            if end.traceback
            else ""
        )
        html = (
            f'<div style="border-left:3px solid {_TONES["bad"]};padding:2px 0 2px 12px;margin:14px 0 0 0">'
            f'<div style="white-space:pre-wrap;overflow-wrap:break-word">{safe(end.failure)}</div>{trace}</div>'
        )
    if end.outputs:
        items = "".join(f'<div><code style="font-size:12px">{safe(output)}</code></div>' for output in end.outputs)
        more = f'<div style="{_MUTED}">and {end.more_outputs:,} more</div>' if end.more_outputs else ""
        html += f"{_heading('Output')}{items}{more}"
    return html
