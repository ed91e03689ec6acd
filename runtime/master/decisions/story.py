"""The last events of a job, shown with every error: an error alone does not say what led to it."""

from __future__ import annotations

from collections import deque

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master.decisions.events import Event

REMEMBERED = 20
LONGEST = 200
"""How many characters of an event are shown."""


class IllegalTransitionError(ElasticDLError):
    """Something was reported that cannot have happened; its notes show the job's last events."""


class Story:
    """The last `REMEMBERED` events and when they happened."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, Event]] = deque(maxlen=REMEMBERED)

    def add(self, event: Event, now: float) -> None:
        """Note an event."""
        self._events.append((now, event))

    def __str__(self) -> str:
        lines = [f"{now:10.3f} s  {_short(event)}" for now, event in self._events]
        return "\n".join(["The job's last events:", *lines])


def _short(event: Event) -> str:
    text = " ".join(repr(event).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
