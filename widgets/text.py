"""The view as plain text: the `text/plain` of a mime bundle."""

from __future__ import annotations

import math

from elasticdl_nb.runtime.control.status import format_value
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets import summary
from elasticdl_nb.widgets.summary import Curve

_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 32


def render_text(status: JobStatus) -> str:
    """Return the job's view as a few lines of text, without a final newline."""
    head = summary.head(status)
    first = [head.name, head.about, head.phase.text.lower(), head.percent, head.detail, head.remaining]
    stats = (" ".join(part for part in (stat.label.lower(), stat.value, stat.note) if part) for stat in head.stats)
    lines = [", ".join(part for part in first if part), "  " + ", ".join(stats)]
    curve = summary.loss(status)
    if curve is not None:
        lines.append(_curve(curve))
    curves, more = summary.windows(status)
    if curves:
        lines.append(f"  test, then train: {summary.tested(status)}")
        lines += ["  " + _curve(metric) for metric in curves]
        lines += [f"    and {more:,} more"] if more else []
    curves, more = summary.metrics(status)
    if curves:
        lines.append(f"  evaluation {summary.evaluated(status)}".rstrip())
        lines += ["  " + _curve(metric) for metric in curves]
        lines += [f"    and {more:,} more"] if more else []
    rows, rest = summary.rows(status)
    for row in rows:
        facts = (
            row.activity,
            _of(row.tasks, "tasks"),
            _of(row.rate, "records/s"),
            _of(row.restarts, "restart" if row.restarts == "1" else "restarts"),
        )
        lines.append(f"  {row.name}: " + ", ".join(fact for fact in (row.state.text, *facts) if fact))
    lines += [f"  {rest}"] if rest else []
    lines += [
        f"  {message.time} {message.source}: {message.mark.text + ': ' if message.mark else ''}{message.text}"
        for message in summary.messages(status)
    ]
    end = summary.ending(status)
    lines += ["  " + line for line in (end.failure + "\n" + end.traceback).strip().splitlines()]
    lines += [f"  output: {output}" for output in end.outputs]
    if not head.over and status.updated_at > 0 and status.started_at > 0:
        lines.append(f"  to see the job as it is now: %elasticdl_attach {head.name}")
    return "\n".join(lines)


def _of(value: str, name: str) -> str:
    return f"{value} {name}" if value else ""


def _curve(curve: Curve) -> str:
    line = f" {_blocks(curve.values)}" if len(curve.values) > 1 else ""
    return f"  {curve.name} {format_value(curve.last)}{line}"


def _blocks(values: tuple[float, ...]) -> str:
    """A line of blocks with the values' heights, and spaces for values that are not finite."""
    stride = max(1, math.ceil(len(values) / _SPARK_WIDTH))
    chosen = [*values[:-1:stride], values[-1]]
    finite = [value for value in chosen if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite) / 2, max(finite) / 2
    top = len(_BLOCKS) - 1
    return "".join(
        (_BLOCKS[round(top * ((value / 2 - low) / (high - low)))] if high > low else _BLOCKS[0])
        if math.isfinite(value)
        else " "
        for value in chosen
    )
