"""The job's own clock, by which everything is late or on time."""

from __future__ import annotations

LONGEST_STEP = 3.0
"""The most seconds that the clock advances between two readings."""


class JobClock:
    """Seconds that the job's master has been at work, summed over all masters of the job.

    A plain object that is given the readings of a monotonic clock. The date may be set, the machine may sleep, the job
    may wait for another master, perhaps on another machine: none of this counts, so that no process is late because of
    it. The master reads the clock every second; if far more has passed, the master itself was stopped and could not
    hear from anyone.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._time = start
        self._last: float | None = None

    def read(self, monotonic: float) -> float:
        """Return the time now; `monotonic` is the reading of a monotonic clock."""
        if self._last is not None:
            self._time += min(max(0.0, monotonic - self._last), LONGEST_STEP)
        self._last = monotonic
        return self._time
