"""The buttons below the notebook's view: Stop, the number of workers, and the logs.

Each button works in a thread of its own, so that a slow master does not keep the kernel from answering.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import ipywidgets

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.format import plain, safe, short

LOG_LINES = 100
LOG_CHARACTERS = 8000
LOG_SECONDS = 2.0

_BLOCKED = "A cell is waiting for this job. Interrupt the cell to use these buttons; the job continues."
_EVERYTHING = "all processes"
_GONE = ("finished", "failed", "stopped")


class ShownJob(Protocol):
    """What the view needs from a job."""

    @property
    def name(self) -> str:
        """The job's name."""

    @property
    def is_waited_for(self) -> bool:
        """Whether a cell is waiting for the job; until it ends, the kernel does not notice buttons."""

    def watch(self, interval: float = 0.0) -> Iterator[JobStatus]:
        """Yield statuses until the job has ended, at least `interval` seconds apart."""

    def cancel(self) -> object:
        """End the job."""

    def scale(self, workers: int) -> object:
        """Continue with this many workers."""

    def logs(self, role: str | None = None, index: int | None = None, tail: int | None = None) -> str:
        """Return the last lines of the processes' logs."""


def log_end(text: str) -> str:
    """Return the end of a log: at most `LOG_LINES` lines and `LOG_CHARACTERS` printable characters."""
    lines = plain(text[-4 * LOG_CHARACTERS :]).splitlines()[-LOG_LINES:]
    kept = "\n".join(lines)
    return kept if len(kept) <= LOG_CHARACTERS else "…" + kept[1 - LOG_CHARACTERS :]


def workers_wanted(status: JobStatus) -> int:
    """Return how many workers the job should have."""
    return status.num_workers or sum(one.role == "worker" and one.state not in _GONE for one in status.instances)


def can_scale(status: JobStatus) -> bool:
    """Whether the job's number of workers can change, which it cannot for training in one process."""
    return status.kind in ("evaluate", "predict") or status.distribution_strategy not in ("", "Local")


class Controls:
    """The row of buttons and the log pane, as one widget (`box`)."""

    def __init__(self, job: ShownJob) -> None:
        self._job = job
        self._workers = 0
        self._blocked = self._stopping = False
        self._scaling = threading.Lock()
        self._clicks: deque[int] = deque()
        self._stop = _button("Stop", "stop", "End the job", self._on_stop)
        self._fewer = _button("", "minus", "One worker fewer", lambda: self._on_scale(-1), width="36px")
        self._more = _button("", "plus", "One worker more", lambda: self._on_scale(1), width="36px")
        self._count = ipywidgets.Label()
        self._logs = ipywidgets.ToggleButton(description="Logs", icon="align-left", layout={"width": "90px"})
        self._whose = ipywidgets.Dropdown(options=[_EVERYTHING], layout={"width": "150px", "display": "none"})
        self._note = ipywidgets.HTML()
        self._pane = ipywidgets.HTML(layout={"display": "none"})
        self._scale = ipywidgets.HBox(
            [self._fewer, self._count, self._more], layout={"align_items": "center", "display": "none"}
        )
        row = ipywidgets.HBox(
            [self._stop, self._scale, self._logs, self._whose, self._note],
            layout={"flex_flow": "row wrap", "align_items": "center", "margin": "8px 0 0"},
        )
        self.box = ipywidgets.VBox([row, self._pane])
        self._logs.observe(lambda _: self._on_logs(), names="value")
        self._whose.observe(lambda _: _in_background(self.refresh_logs), names="value")

    @property
    def logs_are_open(self) -> bool:
        """Whether the log pane is shown, and `refresh_logs` has to be called every `LOG_SECONDS`."""
        return bool(self._logs.value)

    def update(self, status: JobStatus) -> None:
        """Follow the job: show the number of workers and the processes that have logs."""
        if self._job.is_waited_for != self._blocked:
            self._blocked = not self._blocked
            self._note.value = _said(_BLOCKED) if self._blocked else ""
            self._enable()
        if can_scale(status) and self._scale.layout.display == "none":
            self._scale.layout.display = None
        workers = workers_wanted(status)
        if workers != self._workers and not self._clicks:
            self._workers = workers
            self._show_workers()
        names = [f"{one.role}-{one.index}" if one.role != "master" else "master" for one in status.instances]
        options = (_EVERYTHING, *names)
        if options != tuple(self._whose.options):
            chosen = self._whose.value
            self._whose.options = options
            self._whose.value = chosen if chosen in options else _EVERYTHING

    def refresh_logs(self) -> None:
        """Read the logs again and show their end."""
        role, _, index = ("" if self._whose.value == _EVERYTHING else self._whose.value).rpartition("-")
        if self._whose.value == "master":
            role, index = "master", ""
        try:
            text = self._job.logs(role or None, int(index) if index else None, LOG_LINES)
        except (ElasticDLError, OSError) as error:
            text = str(error)
        value = f'<div class="edl"><div class="edl-tail"><pre>{safe(log_end(text)) or "nothing yet"}</pre></div></div>'
        if value != self._pane.value:
            self._pane.value = value

    def _show_workers(self) -> None:
        self._count.value = "1 worker" if self._workers == 1 else f"{self._workers} workers"
        self._enable()

    def _enable(self) -> None:
        self._stop.disabled = self._blocked or self._stopping
        self._stop.description = "Stopping" if self._stopping else "Stop"
        self._logs.disabled = self._more.disabled = self._blocked
        self._fewer.disabled = self._blocked or self._workers <= 1

    def _on_stop(self) -> None:
        self._stopping, self._note.value = True, ""
        self._enable()

        def work() -> None:
            self._stopping = self._asked(self._job.cancel, "Stop")
            self._enable()

        _in_background(work)

    def _on_scale(self, by: int) -> None:
        self._workers = max(1, self._workers + by)
        self._clicks.append(self._workers)
        self._note.value = ""
        self._show_workers()

        def work() -> None:
            with self._scaling:  # one after the other, so that the last request is that of the last click
                self._asked(lambda: self._job.scale(self._clicks[-1]), "Scale")
                self._clicks.popleft()

        _in_background(work)

    def _on_logs(self) -> None:
        for widget in (self._pane, self._whose):
            widget.layout.display = None if self.logs_are_open else "none"
        if self.logs_are_open:
            _in_background(self.refresh_logs)

    def _asked(self, request: Callable[[], object], name: str) -> bool:
        """Make a button's request and return whether it succeeded; show the reason if it did not."""
        try:
            request()
        except (ElasticDLError, OSError) as error:
            self._note.value = _said(f"{name}: {short(str(error), 300)}")
            return False
        return True


def _said(text: str) -> str:
    return f'<div class="edl edl-flat"><span class="edl-note">{safe(text)}</span></div>'


def _button(text: str, icon: str, hint: str, press: Callable[[], None], width: str = "100px") -> ipywidgets.Button:
    button = ipywidgets.Button(description=text, icon=icon, tooltip=hint, layout={"width": width})
    button.on_click(lambda _: press())
    return button


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="elasticdl-view-button", daemon=True).start()
