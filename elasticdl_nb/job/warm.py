"""Processes that wait for the next job with everything imported, so that it starts at once."""

from __future__ import annotations

import threading
import time

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

SUPERVISOR = "elasticdl_nb.runtime.platform.supervisor"
_POLL_SECONDS = 0.5
_START_SECONDS = 120.0
"""Seconds after which a job counts as started even if it has not made a step."""


class Pool:
    """The processes of one job, waiting; others take their place once that job has made its first step."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._workers, self._idle = 0, 0.0
        self._waiting: EarlyProcess | None = None
        self._end: threading.Timer | None = None

    def keep(self, workers: int, idle: float) -> None:
        """Keep the processes of a job with so many workers until they are unused for `idle` seconds; 0 keeps none."""
        with self._lock:
            self._workers, self._idle = workers, idle
            self._let_go()
            self._fill()

    def take(self) -> EarlyProcess:
        """Return the processes that wait; otherwise start some."""
        with self._lock:
            found, self._waiting = self._waiting, None
            self._rest()
        if found is not None and not found.is_as_if_started_now():
            found.dismiss()
            found = None
        return found or EarlyProcess(SUPERVISOR)

    def put_back(self, early: EarlyProcess) -> None:
        """Keep processes that no job has needed for the next one, or let them exit."""
        with self._lock:
            if self._waiting is None and early.known == self._known and early.is_as_if_started_now():
                self._waiting = early
            else:
                early.dismiss()
            self._fill()

    def used(self, folder: JobFolder) -> None:
        """Start others for those that this job has taken, when that no longer slows its start."""
        if self._workers:
            threading.Thread(target=self._refill, args=(folder,), name="refill-pool", daemon=True).start()

    def _refill(self, folder: JobFolder) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not folder.is_over():
            status = folder.status()
            if status and status.records_done:
                break
            time.sleep(_POLL_SECONDS)
        with self._lock:
            self._fill()

    def _fill(self) -> None:
        if self._workers and self._waiting is None:
            self._waiting = EarlyProcess(SUPERVISOR, known=self._known)
        self._rest()

    @property
    def _known(self) -> tuple[str, ...]:
        return (str(self._workers),)

    def _rest(self) -> None:
        """Begin to count idle seconds again."""
        if self._end is not None:
            self._end.cancel()
        self._end = None
        if self._workers:
            self._end = threading.Timer(min(self._idle, threading.TIMEOUT_MAX), self.keep, [0, 0.0])
            self._end.daemon = True
            self._end.start()

    def _let_go(self) -> None:
        found, self._waiting = self._waiting, None
        if found is not None:
            found.dismiss()


pool = Pool()


def warm(workers: int = 1, *, idle: float = 1800.0) -> None:
    """Keep the processes of a job waiting, with TensorFlow imported, so that the next job here starts within a second.

    workers: how many workers wait, beside a master. Each holds about 300 MB. 0 lets those that wait exit.
    idle: seconds without a start of a job after which they exit by themselves.

    Returns at once, while they import. A job takes them; once it has made its first step, others come in their place.
    A job with more workers starts the rest as usual. They are not used after the working directory or environment
    variables have changed, and exit when this process ends, however it ends. Raises OptionError for negative numbers.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise OptionError("workers", f"is {workers!r}; give how many workers should wait, or 0 for none")
    if not idle > 0:
        raise OptionError("idle", f"is {idle!r}; give seconds, more than 0")
    pool.keep(workers, idle)
