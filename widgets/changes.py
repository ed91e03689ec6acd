"""Which parts of the view to send: the decisions behind the notebook's view and the dashboard's stream."""

from __future__ import annotations

import math

from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.liveform import PARTS, draw_loss


class Changes:
    """What a watcher has, and what it should get.

    Numbers are sent twice a second, charts and tables every other second. A part is drawn only when it is due, and sent
    only if it differs from what the watcher has. Once the job is over, everything is sent at once.
    """

    def __init__(self) -> None:
        self.logarithmic: bool | None = None
        self._sent: dict[str, str] = {}
        self._drawn_at: dict[str, float] = {}
        self._held: set[str] = set()

    def update(self, status: JobStatus, now: float) -> dict[str, str]:
        """Return the parts to send, by name, at the time `now` (seconds of a monotonic clock)."""
        everything = is_over(status)
        self._held = set()
        changed: dict[str, str] = {}
        for name, part in PARTS.items():
            if not everything and now < self._due(name):
                self._held.add(name)
                continue
            html = draw_loss(status, self.logarithmic) if name == "loss" else part.draw(status)
            if html:
                self._drawn_at[name] = now
            if html != self._sent.get(name, ""):
                self._sent[name] = changed[name] = html
        return changed

    def use_scale(self, logarithmic: bool | None) -> None:
        """Draw the loss on this scale from now on, at once; None leaves it to the values."""
        self.logarithmic = logarithmic
        self._drawn_at.pop("loss", None)

    def next_due(self) -> float | None:
        """Return when to call `update` again even without a newer status; None if nothing was held back."""
        return min((self._due(name) for name in self._held), default=None)

    def _due(self, name: str) -> float:
        drawn_at = self._drawn_at.get(name)
        return -math.inf if drawn_at is None else drawn_at + PARTS[name].interval
