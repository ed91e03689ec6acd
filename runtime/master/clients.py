"""Whether anyone is still waiting for a job that runs in the foreground."""

from __future__ import annotations

from pathlib import Path

LIMIT = 60.0
"""Seconds that a job continues after the last client that waited for it has gone."""


class WaitingClients:
    """Watches for clients that wait for a job in the foreground; the file `mark` records that there was one."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark
        self._had_one = mark.exists()
        self._gone_at: float | None = None

    def are_gone(self, waiting: int, now: float) -> bool:
        """Whether the waiting clients have been gone for too long; `waiting` of them are there now."""
        if waiting:
            if not self._had_one:
                self._mark.touch()
            self._had_one, self._gone_at = True, None
        elif self._had_one:
            self._gone_at = now if self._gone_at is None else self._gone_at
            return now - self._gone_at > LIMIT
        return False
