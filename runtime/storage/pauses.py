"""When to try again what could not be written: soon at first, then ever more rarely. No clock in here."""

from __future__ import annotations

FIRST, LONGEST = 10.0, 600.0
"""Seconds of the first pause, and of the longest."""


def pause_after(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row, at least one."""
    return min(FIRST * 2.0 ** min(failures - 1, 30), LONGEST)
