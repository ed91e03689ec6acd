"""How many steps are made in one call: decided by the seconds that they take. Knows no clock."""

from __future__ import annotations

MOST = 64
AT_ONCE = 0.1
"""Seconds that a call may take: progress is reported in between, and a job that ends waits for one."""
SPENT = 0.25
"""Seconds of steps before several are made: shorter training does not make up for their graph."""


class Number:
    """Of steps that are all of one kind; it grows while calls are short."""

    def __init__(self) -> None:
        self._is_first = True
        self._spent = self._mean = 0.0
        self.now = 1
        """How many steps the next call may make."""

    @property
    def is_worth_it(self) -> bool:
        """Whether steps are short enough, and were made for long enough."""
        return not self._is_first and self._spent >= SPENT and 2 * self._mean <= AT_ONCE

    def made(self, steps: int, seconds: float) -> None:
        """So many steps were made, in so many seconds, with the time it took to get their batches."""
        if self._is_first:  # it has made the graph
            self._is_first = False
            return
        self._spent += seconds
        self._mean = seconds / steps
        self.now = max(1, min(MOST, 2 * max(self.now, steps), int(AT_ONCE / max(self._mean, 1e-9))))
