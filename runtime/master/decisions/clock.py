"""The job's own clock, by which everything is late or on time."""

from __future__ import annotations

LONGEST_STEP = 3.0
"""Seconds that the clock goes forward at most from one look at it to the next."""


class JobClock:
    """Seconds that the job's master has been at work, all masters of the job together.

    A plain object, told what a monotonic clock shows. The date may be set, the machine may sleep, the job may wait for
    another master, perhaps on another machine: none of this counts, so that nobody is late because of it. The master
    looks every second; if it finds that far more has passed, it was stopped itself, and could hear from nobody.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._time = start
        self._last: float | None = None

    def read(self, monotonic: float) -> float:
        """Return the time now; a monotonic clock shows so many seconds."""
        if self._last is not None:
            self._time += min(max(0.0, monotonic - self._last), LONGEST_STEP)
        self._last = monotonic
        return self._time
