"""The buttons below the notebook's view: Stop, the number of workers, and the logs.

A button's work is done in a thread of its own, so that a slow master does not keep the kernel from answering.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import ipywidgets

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.format import plain, safe, short

LOG_LINES = 100
LOG_CHARACTERS = 8000
LOG_SECONDS = 2.0

_EVERYTHING = "all processes"
_GONE = ("finished", "failed", "stopped")


class ShownJob(Protocol):
    """What the view needs of a job. One that also has `scale(workers=n)` gets buttons for it."""

    @property
    def name(self) -> str:
        """The job's name."""

    def watch(self) -> Iterator[JobStatus]:
        """Yield statuses until the job has ended."""

    def cancel(self) -> object:
        """End the job."""

    def logs(self, role: str | None = None, index: int | None = None, tail: int | None = None) -> str:
        """Return the last lines of the processes' logs."""


def log_end(text: str) -> str:
    """Return the end of a log: at most `LOG_LINES` lines and `LOG_CHARACTERS` characters, printable ones."""
    lines = plain(text[-4 * LOG_CHARACTERS :]).splitlines()[-LOG_LINES:]
    kept = "\n".join(lines)
    return kept if len(kept) <= LOG_CHARACTERS else "…" + kept[1 - LOG_CHARACTERS :]


def workers_wanted(status: JobStatus) -> int:
    """Return how many workers the job has or is about to have."""
    return sum(one.role == "worker" and one.state not in _GONE for one in status.instances)


class Controls:
    """The row of buttons and the log pane, as one widget (`box`)."""

    def __init__(self, job: ShownJob) -> None:
        self._job = job
        self._workers = 0
        self._stop = _button("Stop", "stop", "End the job", self._on_stop)
        self._fewer = _button("", "minus", "One worker fewer", lambda: self._on_scale(-1), width="36px")
        self._more = _button("", "plus", "One worker more", lambda: self._on_scale(1), width="36px")
        self._count = ipywidgets.Label()
        self._logs = ipywidgets.ToggleButton(description="Logs", icon="align-left", layout={"width": "90px"})
        self._whose = ipywidgets.Dropdown(options=[_EVERYTHING], layout={"width": "150px", "display": "none"})
        self._note = ipywidgets.HTML()
        self._pane = ipywidgets.HTML(layout={"display": "none"})
        scale = [self._fewer, self._count, self._more] if hasattr(job, "scale") else []
        row = ipywidgets.HBox(
            [self._stop, *scale, self._logs, self._whose, self._note],
            layout={"flex_flow": "row wrap", "align_items": "center"},
        )
        self.box = ipywidgets.VBox([row, self._pane])
        self._logs.observe(lambda _: self._on_logs(), names="value")
        self._whose.observe(lambda _: _in_background(self.refresh_logs), names="value")

    @property
    def logs_are_open(self) -> bool:
        """Whether the log pane is shown, and `refresh_logs` has to be called every `LOG_SECONDS`."""
        return bool(self._logs.value)

    def update(self, status: JobStatus) -> None:
        """Follow the job: the number of workers, and whose logs there are."""
        workers = workers_wanted(status)
        if workers != self._workers:
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
        self._fewer.disabled = self._workers <= 1

    def _on_stop(self) -> None:
        self._stop.disabled = True
        self._stop.description = "Stopping"
        self._ask(self._job.cancel, "Stop")

    def _on_scale(self, by: int) -> None:
        self._workers = workers = max(1, self._workers + by)
        self._show_workers()
        scale = cast(Any, self._job).scale
        self._ask(lambda: scale(workers=workers), "Scale")

    def _on_logs(self) -> None:
        for widget in (self._pane, self._whose):
            widget.layout.display = None if self.logs_are_open else "none"
        if self.logs_are_open:
            _in_background(self.refresh_logs)

    def _ask(self, request: Callable[[], object], name: str) -> None:
        """Do what a button is for; what the job has against it is shown beside the buttons."""
        self._note.value = ""

        def work() -> None:
            try:
                request()
            except (ElasticDLError, OSError) as error:
                self._note.value = f'<span class="edl edl-note">{name}: {safe(short(str(error), 300))}</span>'
                self._stop.disabled, self._stop.description = False, "Stop"

        _in_background(work)


def _button(text: str, icon: str, hint: str, press: Callable[[], None], width: str = "100px") -> ipywidgets.Button:
    button = ipywidgets.Button(description=text, icon=icon, tooltip=hint, layout={"width": width})
    button.on_click(lambda _: press())
    return button


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="elasticdl-view-button", daemon=True).start()
