"""The view that a kernel keeps in a cell's output: the picture of a running job's last known state, up to the last."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from IPython.display import display

from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.liveoutput import live_bundle
from elasticdl_nb.widgets.render import mimebundle

ALONE_SECONDS = 2.0
"""Seconds between two pictures where the kernel alone keeps the output up to date."""

WATCHED_SECONDS = 10.0
"""The same where a page follows the job by itself, and only what is saved matters."""


class ShownJob(Protocol):
    """What the view needs from a job."""

    @property
    def name(self) -> str:
        """The job's name."""

    def watch(self, interval: float = 0.0) -> Iterator[JobStatus]:
        """Yield statuses until the job has ended, at least `interval` seconds apart."""


class JobView:
    """Shows a job below the cell that calls `show`, until it is over; then its final picture stays.

    `identity` distinguishes the job from others of its name, and `is_watched` says whether a page follows it by itself.
    One thread follows the job; it does not keep the kernel from exiting.
    """

    def __init__(self, job: ShownJob, identity: str = "", is_watched: Callable[[], bool] = lambda: False) -> None:
        self._job, self._identity, self._is_watched = job, identity, is_watched
        self._id = secrets.token_hex(8)
        self._latest = JobStatus(name=job.name, remaining_seconds=-1)
        self._drawn: tuple[object, ...] = ()
        self._due = 0.0
        self._finished = threading.Event()
        self._handle: Any = None

    def show(self, place: Any = None) -> JobView:
        """Display the view, start to follow the job, and return at once.

        `place` is the handle of the display that the view replaces; by default a new one.
        """
        self._handle = place
        self._draw(live_bundle(self._latest, self._id, self._identity))
        threading.Thread(target=self._follow, name=f"elasticdl-view-{self._job.name}", daemon=True).start()
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the final picture is in the notebook; return whether it is."""
        return self._finished.wait(timeout)

    def _follow(self) -> None:
        trouble = ""
        try:
            for status in self._job.watch(ALONE_SECONDS / 4):
                self._latest = status
                if not is_over(status) and self._is_due(status, time.monotonic()):
                    self._draw(live_bundle(status, self._id, self._identity))
        except Exception as error:  # Whatever ends the stream, the notebook must say so, as nobody else notices.
            trouble = str(error) or type(error).__name__
        if not is_over(self._latest):
            self._latest = _unwatched(self._latest, trouble)
        self._draw(mimebundle(self._latest))
        self._finished.set()

    def _is_due(self, status: JobStatus, now: float) -> bool:
        """Whether it is time for another picture: at once if the job has come to another phase."""
        happened = (status.phase, status.rollbacks, len(status.evaluations) > 0, len(status.windows) > 0)
        if happened == self._drawn and now < self._due:
            return False
        self._drawn = happened
        self._due = now + (WATCHED_SECONDS if self._is_watched() else ALONE_SECONDS)
        return True

    def _draw(self, bundle: dict[str, str]) -> None:
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)


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
