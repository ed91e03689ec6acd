"""Which rows were not used for longest: they leave first.

Decisions depend only on the rows' ids and the steps of their last uses, so they are the same after a restart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.arrays import Ids, Rows
from elasticdl_nb.runtime.parameters.rows.kernels_numpy import mix
from elasticdl_nb.runtime.parameters.rows.memory import GrowableArray

FREE = np.iinfo(np.int64).max
"""Stands for the last use of a row that no id has."""

_LEAST, _SHARE, _SAMPLE = 1024, 8, 1 << 14

_NO_ROWS = np.empty(0, np.int32)


class Recency:
    """The step of each row's last use, int64 by row; steps only grow.

    The rows to leave next wait in a queue, sorted by last use. It is filled with about an eighth of the rows at a time,
    so that a row that leaves costs little; all others were used later than any row in it. A row of the queue that was
    used again is passed over. Where only some of the rows of a step leave, a hash of their ids decides.
    """

    def __init__(self) -> None:
        self.last = GrowableArray((), np.int64)
        self.forget()

    def forget(self) -> None:
        """Drop the queue: steps were set that are not the latest."""
        self._rows, self._steps = np.empty(0, np.int32), np.empty(0, np.int64)
        self._position = 0
        self._by_hash = self._known_until = -1

    def use(self, rows: Rows, step: int) -> None:
        """Note that rows are used at this step, later than all steps before."""
        self.last.data[rows] = step

    def leave(self, rows: Rows) -> None:
        """Note that rows are free now."""
        self.last.data[rows] = FREE

    def next(self, ids: Ids, used: int, until: int, most: int, over: int) -> Rows:
        """Return rows, int32, whose last use was at step `until` or before, those unused longest first.

        At most `most`, and at least one if there is any: call it again for more. The caller must let them `leave`.
        `ids` are those of the rows, of which `used` are not free. No row will be used at step `over` or before.
        """
        while True:
            if self._position == len(self._rows) and (self._known_until >= until or not self._look(used, over)):
                return _NO_ROWS
            end = int(np.searchsorted(self._steps, until, side="right"))
            if end <= self._position:
                return _NO_ROWS
            # Not all that are left, of which most would be looked at again: so many, and the rest of their step.
            start, end = self._position, min(end, self._position + max(_LEAST, 2 * most))
            end = int(np.searchsorted(self._steps, self._steps[end - 1], side="right"))
            rows, steps = self._rows[start:end], self._steps[start:end]
            places = np.flatnonzero(self.last.data[rows] == steps)
            if places.size > most:
                return self._some(ids, start, places, most)
            self._position = end
            if places.size:
                return rows[places]

    def _some(self, ids: Ids, start: int, places: NDArray[np.intp], most: int) -> Rows:
        """Take so many of those at these places of the queue after `start`."""
        steps = self._steps[start + places]
        step = steps[most - 1]
        if step != self._by_hash:
            first, last = np.searchsorted(steps, step, side="left"), np.searchsorted(steps, step, side="right")
            those = self._rows[start + places[first:last]]
            self._rows[start + places[first:last]] = those[np.argsort(mix(ids[those]))]
            self._by_hash = step
        self._position = start + int(places[most - 1]) + 1
        return self._rows[start + places[:most]]

    def _look(self, used: int, over: int) -> bool:
        """Fill the queue; return whether there are rows."""
        if not used:
            return False
        last = self.last.view
        some = last[:: max(1, len(last) // _SAMPLE)]
        # More rows may be used at a step that is not over.
        threshold = min(int(np.partition(some, (some.size - 1) // _SHARE)[(some.size - 1) // _SHARE]), over)
        rows = np.flatnonzero(last <= threshold).astype(np.int32)
        if not rows.size:
            threshold = over
            rows = np.flatnonzero(last <= threshold).astype(np.int32)
        steps = last[rows]
        order = np.argsort(_short(steps), kind="stable")
        self._rows, self._steps = rows[order], steps[order]
        self._position, self._known_until, self._by_hash = 0, threshold, -1
        return rows.size > 0


def _short(steps: Ids) -> NDArray[Any]:
    """Return steps counted from the first of them, in a type that is sorted in linear time where they fit."""
    if not steps.size:
        return steps
    counted: NDArray[Any] = steps - steps.min()
    return counted.astype(np.uint16) if counted.max() < 1 << 16 else counted


class Departures:
    """The ids whose rows have left, by step, as far back as they are fewer than the rows that stay (or than 1024).

    Nothing is noted before the first `begin`.
    """

    def __init__(self) -> None:
        self._since: int | None = None
        self._steps: list[int] = []
        self._ids: list[Ids] = []
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return 8 * self._count

    def begin(self, step: int) -> None:
        """Note what leaves after this step."""
        if self._since is None:
            self._since = step

    def note(self, step: int, ids: Ids, most: int) -> None:
        """Ids leave in this step; the earliest are forgotten where there are too many."""
        if self._since is None:
            return
        self._steps.append(step)
        self._ids.append(ids.copy())
        self._count += ids.size
        while self._count > max(_LEAST, most):
            self._since = self._steps.pop(0)
            self._count -= self._ids.pop(0).size

    def known_since(self, step: int) -> bool:
        """Whether all that have left after this step are known."""
        return self._since is not None and self._since <= step

    def since(self, step: int) -> Ids:
        """Return the ids that have left after this step, int64."""
        first = int(np.searchsorted(self._steps, step, side="right"))
        return np.concatenate([np.empty(0, np.int64), *self._ids[first:]])


class StepTimes:
    """The times of steps, as few as it takes to tell which steps are `lifetime` seconds old, within 1/256 of that."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self.times: list[float] = []
        self.steps: list[int] = []

    def note(self, step: int, now: float) -> None:
        """Note that a step is made at this time, in seconds. Steps of later times, by the clock, count as made now."""
        if self.times and now < self.times[-1]:
            self.times = [min(time, now) for time in self.times]
        if len(self.times) > 1 and now - self.times[-2] < self._lifetime / 256:
            self.times[-1], self.steps[-1] = now, step  # the one before counts as made now
        else:
            self.times.append(now)
            self.steps.append(step)

    def before(self, now: float) -> int:
        """Return the last noted step that was made `lifetime` seconds ago or earlier, or 0."""
        old = int(np.searchsorted(self.times, now - self._lifetime, side="right"))
        if not old:
            return 0
        del self.times[: old - 1], self.steps[: old - 1]
        return self.steps[0]
