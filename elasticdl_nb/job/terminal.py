"""Shows a job's progress on stderr: as a live picture on a terminal, or as plain lines elsewhere.

`render` and `PlainLines` only turn statuses into text; `progress_for` prints it to stderr.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from elasticdl_nb.runtime.control.status import (
    elapsed,
    format_count,
    format_duration,
    format_evaluation,
    format_lag,
    format_metrics,
    format_value,
    format_window,
    is_over,
    latest_metrics,
    phase_name,
)
from elasticdl_nb.runtime.protocol import master_pb2 as pb

if TYPE_CHECKING:
    from rich.console import RenderableType

Progress = Callable[[pb.JobStatus], None]

_STYLES = {"succeeded": "green", "failed": "red", "cancelled": "yellow"}


@contextlib.contextmanager
def progress_for(progress: bool | Progress | None) -> Iterator[Progress]:
    """Yield a function that shows each status it gets.

    None shows it only if stderr is a terminal, True always (as plain lines if it is not), False never. A function is
    called with each status.
    """
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda status: None
    elif sys.stderr.isatty():
        with _live_picture() as show:
            yield show
    else:
        lines = PlainLines()

        def show(status: pb.JobStatus) -> None:
            for line in lines.feed(status, time.time()):
                print(line, file=sys.stderr, flush=True)  # noqa: T201

        yield show


@contextlib.contextmanager
def _live_picture() -> Iterator[Progress]:
    from rich.console import Console
    from rich.live import Live

    shown = pb.JobStatus(phase=pb.STARTING, remaining_seconds=-1)
    news = News()
    console = Console(stderr=True, highlight=False)
    # It redraws by itself, so the time advances even if no status arrives. The caller's stdout is left alone.
    live = Live(
        get_renderable=lambda: render(shown, time.time()),
        console=console,
        refresh_per_second=4,
        redirect_stdout=False,
    )

    def show(status: pb.JobStatus) -> None:
        nonlocal shown
        for event in news.of(status):
            console.print(f"{event.source}: {event.text}", style=_event_style(event), markup=False)
        shown = status

    with live:
        yield show


def _event_style(event: pb.Event) -> str:
    return "red" if event.level == "error" else "yellow"


def render(status: pb.JobStatus, now: float) -> RenderableType:
    """Return the picture of a job: what it is, a bar, and the latest numbers."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    phase = phase_name(status)
    title = Text.assemble((status.name or "job", "bold"), "  ", (phase, _STYLES.get(phase, "cyan")), no_wrap=True)
    for part in (status.detail if status.detail != phase else "", _epoch(status)):
        if part:
            title.append(f"  {part}", "dim")
    bar = Table.grid(padding=(0, 2))
    amount = Text(", ".join([f"{status.progress:.0%}", *_amounts(status, now)]))
    pulse = status.phase == pb.STARTING and status.progress == 0
    bar.add_row(ProgressBar(total=1.0, completed=status.progress, width=36, pulse=pulse, animation_time=now), amount)
    numbers = _numbers(status)
    return Group(title, bar, Text(numbers)) if numbers else Group(title, bar)


def _epoch(status: pb.JobStatus) -> str:
    return f"epoch {status.epoch} of {status.num_epochs}" if status.num_epochs > 1 and status.epoch else ""


def _amounts(status: pb.JobStatus, now: float) -> list[str]:
    parts = []
    if status.records_total:
        parts.append(f"{format_count(status.records_done)} of {format_count(status.records_total)} records")
    if status.records_behind:
        parts.append(f"{format_count(status.records_behind)} to come")
    if lag := format_lag(status):
        parts.append(lag)
    if status.records_late:
        parts.append(f"{format_count(status.records_late)} late")
    if status.records_malformed:
        parts.append(f"{format_count(status.records_malformed)} unusable")
    if status.records_per_second > 0:
        parts.append(f"{format_count(status.records_per_second)} records/s")
    if is_over(status) or status.remaining_seconds < 0:
        parts.append(format_duration(elapsed(status, now)))
    elif status.phase == pb.RUNNING:
        parts.append(f"{format_duration(status.remaining_seconds)} left")
    return parts


def _numbers(status: pb.JobStatus) -> str:
    parts = []
    if status.step:
        parts.append(f"step {status.step:,}")
    if status.losses:
        parts.append(f"loss {format_value(status.losses[-1].loss)}")
    if status.windows:
        parts.append(f"tested {format_window(status.windows[-1])}")
    if status.evaluations:
        when = f" (evaluated at step {status.evaluations[-1].step:,})" if status.evaluations[-1].step else ""
        parts.append(format_metrics(latest_metrics(status)) + when)
    return "   ".join(parts)


class News:
    """Picks the warnings and errors that are new since the last status. Others report why a job failed."""

    def __init__(self) -> None:
        self._seen_until = 0.0

    def of(self, status: pb.JobStatus) -> list[pb.Event]:
        """Return the new ones."""
        fresh = [
            event
            for event in status.events
            if event.time > self._seen_until and event.level != "info" and event.text != status.failure.message
        ]
        self._seen_until = max([self._seen_until, *(event.time for event in status.events)])
        return fresh


class PlainLines:
    """The milestones of a job as lines: start, evaluations, every 10 % or 10 seconds, warnings, and end."""

    def __init__(self, every_seconds: float = 10.0, every_progress: float = 0.1) -> None:
        self._every_seconds = every_seconds
        self._every_progress = every_progress
        self._news = News()
        self._last_time: float | None = None
        self._last_progress = 0.0
        self._evaluated_at = -1
        self._tested_to = 0
        self._over = False

    def feed(self, status: pb.JobStatus, now: float) -> list[str]:
        """Return the lines to print after this status."""
        lines: list[str] = []
        if self._last_time is None:
            lines.append(f"{status.kind} job {status.name}")
            self._last_time = now
        lines += [f"{event.level}: {event.source}: {event.text}" for event in self._news.of(status)]
        lines += self._windows(status)
        lines += self._evaluations(status)
        due = now - self._last_time >= self._every_seconds
        due = due or status.progress - self._last_progress >= self._every_progress - 1e-9
        if is_over(status):
            if not self._over:
                took = format_duration(elapsed(status, now))
                lines.append(f"{phase_name(status)} after {took}")
            self._over = True
        elif due:
            lines.append(self._progress(status, now))
            self._last_time, self._last_progress = now, status.progress
        return lines

    def _windows(self, status: pb.JobStatus) -> list[str]:
        fresh = [item for item in status.windows if item.number > self._tested_to]
        self._tested_to = max([self._tested_to, *(item.number for item in fresh)])
        return [f"tested, then learnt, to step {item.step:,}: {format_window(item)}" for item in fresh]

    def _evaluations(self, status: pb.JobStatus) -> list[str]:
        fresh = [item for item in status.evaluations if item.step > self._evaluated_at]
        self._evaluated_at = max([self._evaluated_at, *(item.step for item in fresh)])
        return [
            f"evaluation{f' at step {item.step:,}' if item.step else ''}: {format_evaluation(item)}" for item in fresh
        ]

    @staticmethod
    def _progress(status: pb.JobStatus, now: float) -> str:
        parts = [f"{status.progress:.0%}", *_amounts(status, now), _epoch(status)]
        if status.phase != pb.RUNNING:
            parts.insert(0, status.detail or phase_name(status))
        if status.losses:
            parts.append(f"loss {format_value(status.losses[-1].loss)}")
        return ", ".join(part for part in parts if part)
