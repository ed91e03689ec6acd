"""The picture of a job that watchers hold: how updates change it, and how its values are displayed.

Everything here is a function of its arguments; every view (terminal, notebook, report) uses it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping

from elasticdl_nb.runtime.protocol import master_pb2 as pb

ENDED = (pb.SUCCEEDED, pb.FAILED, pb.CANCELLED)

_APPENDED = ("losses", "evaluations", "events", "history", "windows")
_REPLACED = tuple(field.name for field in pb.JobStatus.DESCRIPTOR.fields if field.name not in _APPENDED)
# A watcher that stays for days keeps receiving points; these bound what it keeps.
_MOST_LOSSES = 1000
_MOST_EVENTS = 200


def merge(status: pb.JobStatus, update: pb.JobUpdate) -> pb.JobStatus:
    """Return the picture after `update`; neither argument is changed.

    A full update replaces the picture. Otherwise every field is replaced but `losses`, `evaluations`, `events`,
    `history` and `windows`, which are appended to (old losses are thinned out, old events dropped, once there are very
    many).
    """
    merged = pb.JobStatus()
    if not update.full:
        # Copied as a whole, then emptied: copying point by point would cost thirty times as much.
        merged.CopyFrom(status)
        for name in _REPLACED:
            merged.ClearField(name)
    merged.MergeFrom(update.status)
    if update.full:
        return merged
    if len(merged.losses) > _MOST_LOSSES:
        older = len(merged.losses) - _MOST_LOSSES // 4
        del merged.losses[1:older:2]
    if len(merged.events) > _MOST_EVENTS:
        del merged.events[: len(merged.events) - _MOST_EVENTS]
    return merged


def is_over(status: pb.JobStatus) -> bool:
    """Whether the job has ended, in any way."""
    return status.phase in ENDED


def conclude(status: pb.JobStatus, phase: pb.JobPhase, why: str, date: float) -> None:
    """Make this the last picture of a job that has ended then, and whose master does not say so itself."""
    status.phase, status.detail, status.remaining_seconds, status.dashboard_url = phase, why, 0, ""
    status.finished_at = status.updated_at = date
    for instance in status.instances:
        instance.state, instance.activity = "stopped", ""


def phase_name(status: pb.JobStatus) -> str:
    """Return the phase in lower case: "starting", "running", "finishing", "succeeded", "failed" or "cancelled"."""
    return pb.JobPhase.Name(status.phase).lower()


def latest_metrics(status: pb.JobStatus) -> dict[str, float]:
    """Return the values of the latest evaluation, sorted by name; empty if there was none."""
    if not status.evaluations:
        return {}
    return dict(sorted(status.evaluations[-1].metrics.items()))


def elapsed(status: pb.JobStatus, now: float) -> float:
    """Return how many seconds the job has run until `now`, or ran until its end; 0 before its start."""
    if not status.started_at:
        return 0.0
    return max(0.0, (status.finished_at or now) - status.started_at)


# ------------------------------------------------------------------ values for display


def format_count(number: float) -> str:
    """Return a count for display: 950, 9,500, 12.3K, 1.2M, 350M."""
    if number < 10_000:
        return f"{number:,.0f}"
    for unit in "KMGT":
        number /= 1000
        if number < 999.5 or unit == "T":
            return f"{number:.1f}{unit}" if number < 99.95 else f"{number:.0f}{unit}"
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """Return a duration for display: 0.4s, 12s, 3m 20s, 2h 05m, 3d 4h, or a dash if it is unknown."""
    if not 0 <= seconds < math.inf:
        return "–"
    if seconds < 1:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 1:
        return f"{minutes}m {rest:02d}s"
    days, hours = divmod(hours, 24)
    return f"{hours}h {minutes:02d}m" if days < 1 else f"{days}d {hours}h"


def format_moment(seconds: float) -> str:
    """Return a time since 1970 for display, in UTC: 2026-11-29 17:58:01Z, or a dash if no calendar has it."""
    try:
        moment = datetime.datetime.fromtimestamp(math.floor(seconds), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return "–"
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")


def format_lag(status: pb.JobStatus) -> str:
    """Return how far a job is behind the events that it follows, or an empty string if that is unknown."""
    if is_over(status) or not status.HasField("lag_seconds"):
        return ""
    return f"{format_duration(status.lag_seconds)} behind" if status.lag_seconds > 0 else "up to date"


def format_value(value: float) -> str:
    """Return a loss or metric with four significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    return f"{value:.3e}"


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Return `"accuracy 0.912, auc 0.88"`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in metrics.items())


def format_window(window: pb.Window) -> str:
    """Return the metrics of a window of tested records for display."""
    return f"{format_metrics(dict(sorted(window.metrics.items())))} (of {format_count(window.records)} records)"


def format_evaluation(evaluation: pb.Evaluation) -> str:
    """Return an evaluation's metrics for display, sorted by name."""
    return format_metrics(dict(sorted(evaluation.metrics.items())))
