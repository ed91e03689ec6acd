"""The live view in a notebook: the renderer's parts as widgets, with buttons, until the job is over."""

from __future__ import annotations

import threading
import time
from typing import Any

import ipywidgets
from IPython.display import display

from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.changes import Changes
from elasticdl_nb.widgets.controls import LOG_SECONDS, Controls, ShownJob
from elasticdl_nb.widgets.liveform import PARTS
from elasticdl_nb.widgets.render import mimebundle
from elasticdl_nb.widgets.theme import STYLE

_FRAME_SECONDS = 0.5


class JobView:
    """Shows a job below the cell that calls `show`, and leaves a picture without widgets when the job is over.

    One thread follows the job. A second one sends what is new to the browser, at most twice a second. Neither keeps the
    kernel from exiting.
    """

    def __init__(self, job: ShownJob) -> None:
        self._job = job
        self._parts = {name: ipywidgets.HTML() for name in PARTS}
        self._controls = Controls(job)
        style = ipywidgets.HTML(f"<style>{STYLE}</style>", layout={"display": "none"})
        head, *others = self._parts.values()
        self.widget = ipywidgets.VBox([style, head, self._controls.box, *others], layout={"max_width": "960px"})
        self._changes = Changes()
        self._news = threading.Condition()
        self._latest = JobStatus(name=job.name, remaining_seconds=-1)
        self._fresh = False
        self._ended = False
        self._finished = threading.Event()
        self._handle: Any = None

    def show(self, place: Any = None) -> JobView:
        """Display the view, start to follow the job, and return at once.

        `place` is the handle of the display that the view replaces; by default a new one.
        """
        self._send(self._latest)
        # For front ends without widgets, where the final picture replaces it, too.
        instead = f"Job {self._job.name} is running; its result will appear here. job.report() shows its current state."
        bundle = {**self.widget._repr_mimebundle_(), "text/plain": instead}
        if place is None:
            place = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            place.update(bundle, raw=True)
        self._handle = place
        for work in (self._follow, self._paint):
            threading.Thread(target=work, name=f"elasticdl-view-{self._job.name}", daemon=True).start()
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the final picture is in the notebook; return whether it is."""
        return self._finished.wait(timeout)

    def _follow(self) -> None:
        trouble = ""
        try:
            for status in self._job.watch(_FRAME_SECONDS):
                with self._news:
                    self._latest, self._fresh = status, True
                    self._news.notify_all()
        except Exception as error:  # Whatever ends the stream, the notebook must say so, as nobody else notices.
            trouble = str(error) or type(error).__name__
        with self._news:
            if not is_over(self._latest):
                self._latest = _unwatched(self._latest, trouble)
            self._ended = True
            self._news.notify_all()

    def _paint(self) -> None:
        logs_due = 0.0
        while True:
            with self._news:
                self._news.wait_for(lambda: self._fresh or self._ended, self._patience(logs_due))
                status, ended, self._fresh = self._latest, self._ended, False
            if ended:
                break
            self._send(status)
            if self._controls.logs_are_open and time.monotonic() >= logs_due:
                self._controls.refresh_logs()
                logs_due = time.monotonic() + LOG_SECONDS
            with self._news:
                self._news.wait_for(lambda: self._ended, _FRAME_SECONDS)
        self._finish(status)

    def _patience(self, logs_due: float) -> float | None:
        """How long to wait for news: until a part that was held back or the logs are due."""
        due = [moment for moment in (self._changes.next_due(),) if moment is not None]
        if self._controls.logs_are_open:
            due.append(logs_due)
        return max(0.0, min(due) - time.monotonic()) if due else LOG_SECONDS

    def _send(self, status: JobStatus) -> None:
        for name, html in self._changes.update(status, time.monotonic()).items():
            self._parts[name].value = f'<div class="edl">{html}</div>' if html else ""
        self._controls.update(status)

    def _finish(self, status: JobStatus) -> None:
        """Replace the widgets with the form that needs no kernel, and release them.

        A page that was reloaded no longer accepts such updates of its outputs; there, a widget keeps the picture.
        """
        bundle = mimebundle(status)
        if self._handle is not None:
            self._handle.update(bundle, raw=True)
        parts, self.widget.children = self.widget.children, (ipywidgets.HTML(bundle["text/html"]),)
        for part in parts:
            _close(part)
        self._finished.set()


def _unwatched(status: JobStatus, trouble: str) -> JobStatus:
    """The last known status, with a message that says why it is the last."""
    last = JobStatus()
    last.CopyFrom(status)
    reason = f": {trouble}" if trouble else ""
    last.events.add(
        time=status.updated_at,
        level="warning",
        source="notebook",
        text=f"this view lost the job{reason}. elasticdl_nb.attach({status.name!r}) shows it again.",
    )
    return last


def _close(widget: ipywidgets.Widget) -> None:
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()
