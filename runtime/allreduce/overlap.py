"""How much of the exchange between workers is hidden behind computing: plain arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Exchanged(NamedTuple):
    """Seconds that a process spent on sums with others, waiting for slower ones included, and how many it computed in.

    The difference is what the exchange has cost the process.
    """

    exchanging: float = 0.0
    hidden: float = 0.0

    def with_step(self, spans: Iterable[tuple[float, float]], computed: float) -> Exchanged:
        """Add a step that exchanged in these spans of time, [begin, end), and had computed everything at `computed`."""
        exchanging, hidden = self
        for begin, end in spans:
            exchanging += end - begin
            hidden += max(0.0, min(end, computed) - begin)
        return Exchanged(exchanging, hidden)
