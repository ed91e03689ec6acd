"""Which bounds the metrics of windows have crossed. A plain object.

A window counts once: after the job has gone back to a checkpoint, those that were compared with the bounds before are
not again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec.alarms import Bound

News = tuple[str, str]
"""Level and text of a message for users."""


class Alarms:
    """The alarms of a job, in the order of its bounds."""

    def __init__(self, bounds: Sequence[str]) -> None:
        self.states = [pb.Alarm(bound=bound) for bound in bounds]
        self.watched = 0

    def watch(self, window: pb.Window) -> Iterator[News]:
        """Compare a window with the bounds; yield a message for each one that it is the first to cross, or not to."""
        if window.number <= self.watched:
            return
        self.watched = window.number
        for state in self.states:
            bound = Bound.of(state.bound)
            value = window.metrics.get(bound.metric)
            if value is None or value != value or bound.is_crossed(value) == state.on:
                continue
            state.on = not state.on
            state.times += state.on
            state.window, state.value = window.number, value
            where = f"{bound.metric} is {value:.4g} in window {window.number}, which ends at step {window.step:,}"
            yield ("warning", f"alarm {bound}: {where}") if state.on else ("info", f"no more alarm {bound}: {where}")

    def load(self, states: Sequence[pb.Alarm], watched: int) -> None:
        """Take what was known before."""
        self.states, self.watched = list(states), watched
