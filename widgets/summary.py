"""What the job view says, however it is drawn: a `JobStatus` reduced to bounded, formatted, still unescaped text."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from urllib.parse import urlsplit

from elasticdl_nb.runtime.control.status import (
    elapsed,
    format_count,
    format_duration,
    format_lag,
    format_moment,
    format_value,
    is_over,
)
from elasticdl_nb.runtime.protocol.master_pb2 import (
    CANCELLED,
    FAILED,
    FINISHING,
    RUNNING,
    STARTING,
    SUCCEEDED,
    Event,
    Instance,
    JobStatus,
)
from elasticdl_nb.widgets.format import clock, middle_out, percent, plain, rate, short, size

MAX_METRICS = 12
MAX_HAPPENINGS = 12
MANY_EVALUATIONS = 500
MAX_INSTANCES = 20
MAX_MESSAGES = 8
MAX_OUTPUTS = 12
MAX_TRACEBACK = 6000

# Every tone has a glyph of its own, so that nothing is expressed by colour alone.
_PHASES = {
    STARTING: ("Starting", "idle", "◌"),
    RUNNING: ("Running", "busy", "●"),
    FINISHING: ("Finishing", "busy", "◐"),
    SUCCEEDED: ("Succeeded", "good", "✓"),
    FAILED: ("Failed", "bad", "✕"),
    CANCELLED: ("Cancelled", "idle", "■"),
}
_STATES = {
    "starting": ("idle", "◌"),
    "running": ("busy", "●"),
    "restarting": ("warn", "↻"),
    "finished": ("good", "✓"),
    "failed": ("bad", "✕"),
    "stopped": ("idle", "■"),
}
_LEVELS = {"warning": ("warn", "▲"), "error": ("bad", "✕")}
_HAPPENINGS = {
    "joined": ("+", "worker joined"),
    "left": ("−", "worker left"),
    "rollback": ("↶", "rolled back"),
    "checkpoint": ("◆", "checkpoint"),
    "rate": ("η", "learning rate changed"),
}
_RATE = "learning_rate"
_ROLES = {"master": 0, "ps": 1, "worker": 2}


@dataclass(frozen=True, slots=True)
class Mark:
    """A short text with its tone (idle, busy, good, warn, bad) and glyph."""

    text: str
    tone: str
    glyph: str


@dataclass(frozen=True, slots=True)
class Stat:
    """One figure: `Records 1,200 of 5,000`."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The part of the view that changes all the time."""

    name: str
    about: str
    phase: Mark
    over: bool
    progress: float
    percent: str
    detail: str
    remaining: str
    stats: tuple[Stat, ...]
    url: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity over increasing steps; values may be anything but are never absent."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The value at the last step."""
        return self.values[-1]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a curve's reader should know of: at which step, of which kind, and a sentence."""

    step: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One process of the job; `share` is its throughput as a fraction of the fastest one's."""

    name: str
    state: Mark
    activity: str
    tasks: str
    records: str
    rate: str
    share: float
    restarts: str


@dataclass(frozen=True, slots=True)
class Message:
    """One event; `time` counts from the start of the job."""

    time: str
    source: str
    mark: Mark | None
    text: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The outcome of the job."""

    failure: str
    traceback: str
    outputs: tuple[str, ...]
    more_outputs: int


def head(status: JobStatus) -> Head:
    """Return name, phase, progress and figures."""
    label, tone, glyph = _PHASES.get(status.phase, ("Unknown", "idle", "◌"))
    over = is_over(status)
    progress = min(1.0, max(0.0, status.progress)) if math.isfinite(status.progress) else 0.0
    if status.phase == SUCCEEDED:
        progress = 1.0
    detail = short(status.detail, 160)
    if status.HasField("failure") and detail and detail in short(status.failure.message, 10_000):
        detail = ""
    step = _not_finite_from(status)
    if step is not None and status.phase in (RUNNING, FINISHING, SUCCEEDED):
        tone, glyph = _LEVELS["warning"]
        detail = ". ".join(part for part in (f"The loss is not finite from step {step:,} on", detail) if part)
    if status.phase in (CANCELLED, FAILED) and status.checkpoint_step > 0:
        way = f"Another job can go on from its checkpoint of step {status.checkpoint_step:,}: see job.report()"
        detail = ". ".join(part for part in (detail, way) if part)
    known = not over and 0 <= status.remaining_seconds < math.inf
    return Head(
        name=short(status.name, 80) or "job",
        about=" · ".join(part for part in (short(status.kind, 40), short(status.distribution_strategy, 60)) if part),
        phase=Mark(label, tone, glyph),
        over=over,
        progress=progress,
        percent=percent(progress),
        detail=detail,
        remaining=f"{format_duration(status.remaining_seconds)} left" if known else "",
        stats=tuple(_stats(status)),
        url=status.dashboard_url if _is_web(status.dashboard_url) else "",
    )


def _not_finite_from(status: JobStatus) -> int | None:
    """Return the first step whose loss is not a finite number, or None."""
    return min((point.step for point in status.losses if not math.isfinite(point.loss)), default=None)


def _stats(status: JobStatus) -> list[Stat]:
    passed = elapsed(status, status.updated_at)
    stats = [Stat("Records", format_count(status.records_done), _of(status.records_total))]
    if is_over(status) and passed > 0:
        stats.append(Stat("Records/s", rate(status.records_done / passed), "on average"))
    else:
        stats.append(Stat("Records/s", rate(status.records_per_second)))
    if status.num_epochs > 0:
        stats.append(Stat("Epoch", f"{status.epoch:,}", _of(status.num_epochs)))
    if status.step > 0 or status.kind in ("", "train"):
        stats.append(Stat("Step", f"{status.step:,}"))
    retried = f"{format_count(status.tasks_retried)} retried" if status.tasks_retried > 0 else ""
    notes = ", ".join(note for note in (_of(status.tasks_total), retried) if note)
    stats.append(Stat("Tasks", format_count(status.tasks_done), notes))
    if status.records_behind > 0:
        stats.append(Stat("To come", format_count(status.records_behind), "records of the topic"))
    if status.event_time:
        stats.append(Stat("Event time", format_moment(status.event_time), format_lag(status)))
    if status.records_late > 0:
        done = "passed over" if status.records_late_passed > 0 else "trained on"
        stats.append(Stat("Late", format_count(status.records_late), done))
    if status.records_malformed + status.records_expired > 0:
        deleted = f"and {format_count(status.records_expired)} deleted" if status.records_expired else "records"
        stats.append(Stat("Unusable", format_count(status.records_malformed), deleted))
    if status.tasks_set_aside > 0:
        records = f"with {format_count(status.records_set_aside)} records"
        stats.append(Stat("Set aside", format_count(status.tasks_set_aside), records))
    if status.checkpoint_step > 0 and status.phase != SUCCEEDED:  # then the model itself is what counts
        stats.append(Stat("Checkpoint", f"step {status.checkpoint_step:,}"))
    if exchange := _exchange(status):
        stats.append(exchange)
    if status.rollbacks > 0:
        stats.append(Stat("Rollbacks", format_count(status.rollbacks)))
    stats.append(Stat("Elapsed", format_duration(passed)))
    return stats


def _exchange(status: JobStatus) -> Stat | None:
    """Return how long a worker has exchanged gradients, on average, and how much of that it computed meanwhile."""
    workers = [one for one in status.instances if one.exchanging > 0]
    exchanging, hidden = (sum(getattr(one, name) for one in workers) for name in ("exchanging", "hidden"))
    if not (workers and math.isfinite(exchanging) and math.isfinite(hidden)):
        return None
    share = percent(min(1.0, max(0.0, hidden / exchanging)))
    return Stat("Exchange", format_duration(exchanging / len(workers)), f"{share} hidden behind computing")


def _of(total: int) -> str:
    return f"of {format_count(total)}" if total > 0 else ""


def _times(number: int, name: str) -> str:
    """Return `1 rollback`, `2 rollbacks`, or nothing for none."""
    return f"{format_count(number)} {name}{'s' if number != 1 else ''}" if number > 0 else ""


def _is_web(url: str) -> bool:
    try:
        return len(url) <= 500 and url.isprintable() and urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False


def loss(status: JobStatus) -> Curve | None:
    """Return the loss curve, or None while there is none. Of a step that was repeated, the last value counts."""
    points = {point.step: point.loss for point in status.losses}
    return _curve("loss", points) if points else None


def validation_loss(status: JobStatus) -> Curve | None:
    """Return the loss of the evaluations beside a training, or None if there is none."""
    points = {one.step: one.metrics["loss"] for one in status.evaluations if "loss" in one.metrics}
    return _curve("validation", points) if points and status.kind in ("", "train") else None


def trained_metric(status: JobStatus, name: str) -> Curve | None:
    """Return a metric as the training itself had it, epoch by epoch, or None if it had none of that name."""
    points = {one.step: one.logs[name] for one in status.history if name in one.logs}
    return _curve("training", points) if points else None


def happenings(status: JobStatus) -> tuple[Happening, ...]:
    """Return what happened at which step of the training, the last `MAX_HAPPENINGS` of each kind, in order."""
    points = sorted((point.time, point.step) for point in status.losses if point.time > 0)
    found = []
    for event in status.events:
        if event.mark in _HAPPENINGS and points:
            place = bisect_right(points, (event.time, math.inf)) - 1
            found.append(Happening(points[max(0, place)][1], event.mark, short(event.text, 120)))
    found += [Happening(step, "checkpoint", "a checkpoint that is kept") for step in _checkpoints(status)]
    for before, after in pairwise(status.history):
        rates = before.logs.get(_RATE), after.logs.get(_RATE)
        if None not in rates and rates[0] != rates[1]:
            text = f"learning rate {format_value(after.logs[_RATE])}"
            found.append(Happening(before.step, "rate", text))
    of_kind = (
        [one for one in sorted(found, key=lambda one: one.step) if one.kind == kind][-MAX_HAPPENINGS:]
        for kind in _HAPPENINGS
    )
    return tuple(sorted(chain(*of_kind), key=lambda one: one.step))


def _checkpoints(status: JobStatus) -> list[int]:
    """The steps of the checkpoints that are there; an older master reports only the last one."""
    return [step for step in status.kept_checkpoints or [status.checkpoint_step] if step > 0]


def happenings_in_words(shown: Sequence[Happening]) -> str:
    """Return what the signs in a chart mean: `+ worker joined, ↶ rolled back`."""
    kinds = {one.kind for one in shown}
    return ", ".join(f"{glyph} {name}" for kind, (glyph, name) in _HAPPENINGS.items() if kind in kinds)


def glyph_of(happening: Happening) -> str:
    """Return the sign of a happening in a chart."""
    return _HAPPENINGS[happening.kind][0]


def metrics(status: JobStatus) -> tuple[tuple[Curve, ...], int]:
    """Return the evaluation metrics over time, those of the first evaluation first, and how many were left out."""
    points: dict[str, dict[int, float]] = {}
    for evaluation in status.evaluations:
        for name in sorted(evaluation.metrics):
            points.setdefault(name, {})[evaluation.step] = evaluation.metrics[name]
    curves = [_curve(short(name, 60), of_step) for name, of_step in list(points.items())[:MAX_METRICS]]
    return tuple(curves), max(0, len(points) - MAX_METRICS)


def windows(status: JobStatus) -> tuple[tuple[Curve, ...], int]:
    """Return the metrics of records that were tested before they were learnt, window by window, and how many more."""
    points: dict[str, dict[int, float]] = {}
    for window in status.windows:
        for name in sorted(window.metrics):
            points.setdefault(name, {})[window.step] = window.metrics[name]
    curves = [_curve(short(name, 60), of_step) for name, of_step in list(points.items())[:MAX_METRICS]]
    return tuple(curves), max(0, len(points) - MAX_METRICS)


def tested(status: JobStatus) -> str:
    """Return which records were tested before they were learnt, which alarms are on, and how many were not tested."""
    last = status.windows[-1] if status.windows else None
    parts = [f"the last {_times(last.records, 'record')} of {format_count(last.tested)}"] if last else []
    parts += [f"alarm {short(one.bound, 60)}" for one in status.alarms if one.on]
    if status.records_untested > 0:
        parts.append(f"{_times(status.records_untested, 'record')} learnt untested")
    return ", ".join(parts)


def evaluated(status: JobStatus) -> str:
    """Return when the latest evaluation took place, and how many there were."""
    times, step = len(status.evaluations), status.evaluations[-1].step if status.evaluations else 0
    if times > 1:
        # A status does not keep all of very many.
        often = f"{times:,}" if times < MANY_EVALUATIONS else f"{MANY_EVALUATIONS:,} or more"
        return f"{often} times, last at step {step:,}"
    return f"at step {step:,}" if step > 0 else ""


def _curve(name: str, points: dict[int, float]) -> Curve:
    steps = sorted(points)
    return Curve(name, tuple(steps), tuple(points[step] for step in steps))


def crew(status: JobStatus) -> str:
    """Return how many workers and servers there are, and how many there should be: `1 of 2 workers, 2 servers`.

    Also that their figures are higher than the job's, where they are.
    """
    parts = [] if is_over(status) else _running(status)
    if status.kind in ("", "train") and status.evaluations:
        parts.append("evaluations count, too")
    return ", ".join(parts)


def _running(status: JobStatus) -> list[str]:
    parts = []
    for role, name, wanted in (("worker", "worker", status.num_workers), ("ps", "server", status.num_ps)):
        running = sum(one.role == role and one.state == "running" for one in status.instances)
        if wanted and running < wanted:
            parts.append(f"{running:,} of {_times(wanted, name)}")
        elif running:
            parts.append(_times(running, name))
    return parts


def rows(status: JobStatus) -> tuple[tuple[Row, ...], str]:
    """Return the processes to show, which always include those in trouble, and a line about the others."""
    order = sorted(status.instances, key=lambda one: (_ROLES.get(one.role, 3), one.role, one.index))
    shown = set(sorted(range(len(order)), key=lambda place: (_calmness(order[place]), place))[:MAX_INSTANCES])
    fastest = max((one.records_per_second for one in order if math.isfinite(one.records_per_second)), default=0.0)
    visible = tuple(_row(one, fastest) for place, one in enumerate(order) if place in shown)
    hidden = Counter(one.state for place, one in enumerate(order) if place not in shown)
    if not hidden:
        return visible, ""
    states = ", ".join(f"{number_of} {short(state, 20) or 'unknown'}" for state, number_of in hidden.most_common(6))
    return visible, f"and {hidden.total()} more: {states}"


def _calmness(one: Instance) -> int:
    if one.state in ("failed", "restarting"):
        return 0
    return 1 if one.role == "master" else 2 if one.restarts else 3


def _row(one: Instance, fastest: float) -> Row:
    tone, glyph = _STATES.get(one.state, ("idle", "◌"))
    speed = one.records_per_second if math.isfinite(one.records_per_second) else 0.0
    works = one.role == "worker" or one.tasks_done > 0
    gone = one.state in ("finished", "failed", "stopped")
    return Row(
        name="master" if one.role == "master" else f"{short(one.role, 20)}-{one.index}",
        state=Mark(short(one.state, 20) or "unknown", tone, glyph),
        activity=_activity(one),
        tasks=format_count(one.tasks_done) if works else "",
        records=format_count(one.records_done) if works else "",
        rate=rate(speed) if works and not gone else "",
        share=max(0.0, speed / fastest) if fastest > 0 and not gone else 0.0,
        restarts=format_count(one.restarts) if one.restarts > 0 else "",
    )


def _activity(one: Instance) -> str:
    """What a process does, and what a server holds."""
    idle = one.state in ("finished", "stopped") or one.activity == one.state
    doing = "" if idle else short(one.activity, 40)
    held = f"{_times(one.rows, 'row')}, {size(one.bytes)}" if one.rows > 0 else size(one.bytes)
    if one.admitted > 0:
        held += f", {format_count(one.admitted)} admitted, {format_count(one.evicted)} evicted"
    return ": ".join(part for part in (doing, held if one.role == "ps" or one.rows > 0 else "") if part)


def messages(status: JobStatus, limit: int = MAX_MESSAGES) -> tuple[Message, ...]:
    """Return the last `limit` events, oldest first."""
    return tuple(_message(event, status.started_at) for event in status.events[-limit:])


def _message(event: Event, started_at: float) -> Message:
    level = _LEVELS.get(event.level)
    passed = event.time - started_at
    return Message(
        time=clock(max(0.0, passed)) if started_at > 0 and event.time > 0 and math.isfinite(passed) else "",
        source=short(event.source, 24),
        mark=Mark(event.level, *level) if level else None,
        text=short(event.text, 240),
    )


def ending(status: JobStatus) -> Ending:
    """Return failure and outputs; everything is empty while there are neither."""
    failure = traceback = ""
    if status.HasField("failure") or status.phase == FAILED:
        failure = middle_out(status.failure.message, 1200) or short(status.detail, 400) or "The job failed."
        traceback = middle_out(status.failure.traceback, MAX_TRACEBACK)
    outputs: Sequence[str] = [short(output, 300) for output in status.outputs[:MAX_OUTPUTS]]
    return Ending(failure, traceback, tuple(outputs), max(0, len(status.outputs) - MAX_OUTPUTS))


def curve_in_words(curve: Curve) -> str:
    """Return a sentence that describes the curve's picture."""
    name = plain(curve.name)
    if len(curve.steps) == 1:
        return f"{name} {format_value(curve.last)} at step {curve.steps[0]:,}"
    return (
        f"{name} from {format_value(curve.values[0])} at step {curve.steps[0]:,} "
        f"to {format_value(curve.last)} at step {curve.steps[-1]:,}"
    )
