"""Follows jobs for the pages that show them: one thread a job, however many pages."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus

WATCHED_SECONDS = 5.0
"""How often the job's folder is marked as watched."""

_INTERVAL = 0.5


class Watched(Protocol):
    """What following needs from a job."""

    def status(self) -> JobStatus:
        """Return the current status."""

    def watch(self, interval: float = 0.0) -> Iterator[JobStatus]:
        """Yield statuses until the job has ended, at least `interval` seconds apart."""


class Follower:
    """The latest status of a job, as long as somebody holds it. `mark` is called from time to time."""

    def __init__(self, job: Watched, mark: Callable[[], None]) -> None:
        self.latest = job.status()
        self.trouble = ""
        self._job, self._mark = job, mark
        self._marked_at = -WATCHED_SECONDS
        self._left = threading.Event()
        threading.Thread(target=self._follow, name="elasticdl-follower", daemon=True).start()

    def leave(self) -> None:
        """End with the next status."""
        self._left.set()

    def mark_watched(self) -> None:
        """Note that somebody looks at the job; does it rarely enough by itself."""
        if time.monotonic() - self._marked_at >= WATCHED_SECONDS:
            self._marked_at = time.monotonic()
            with contextlib.suppress(OSError):
                self._mark()

    def _follow(self) -> None:
        try:
            for status in self._job.watch(_INTERVAL):
                self.latest, self.trouble = status, ""
                if self._left.is_set():
                    return
        except Exception as error:  # Whatever ends the stream, the page must say so, as nobody else notices.
            self.trouble = f"this view lost the job: {error or type(error).__name__}"
