"""Decides up to which watermark rows may be taken: a plain object, without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field

_KEPT = 20
"""How many sights are remembered within a delay, at most, but for those that are asked for."""


@dataclass
class Bounds:
    """Remembers which watermark was the highest at which time.

    A transaction that began before another may commit after it, with rows that have a lower watermark. So a watermark
    is safe only when it has been seen for `delay` seconds: rows up to it that were still to be committed then are
    there.
    """

    delay: float
    _seen: list[tuple[float, str]] = field(default_factory=list)

    def saw(self, highest: str, now: float, *, surely: bool = False) -> None:
        """Note the highest watermark now; empty for none. Times of little interest are left out, unless `surely`."""
        if surely or not self._seen or now - self._seen[-1][0] >= self.delay / _KEPT:
            self._seen.append((now, highest))

    def safe(self, now: float) -> tuple[float, str] | None:
        """Return the newest watermark that is safe, with the time when it was seen; None before the first."""
        passed = [one for one in self._seen if one[0] <= now - self.delay]
        if not passed:
            return None
        self._seen = self._seen[len(passed) - 1 :]
        return self._seen[0]
