"""Whether steps of one form are compiled: decided by the seconds that real steps take. Knows no clock."""

from __future__ import annotations

from enum import Enum
from statistics import median

PATIENCE = 4.0
"""Seconds of steps before a trial: a job that ends sooner has nothing to gain from one."""
WORTH = 10.0
"""Seconds of steps that must be left, where that is known."""
STEPS_BEFORE = 8
"""Steps of one form before a trial: other forms are rare ones, such as the last batch of an epoch."""
BLOCK = 0.1
"""Seconds of steps that are made in one way before the other has its turn."""
BETTER, HOPELESS = 0.95, 1.5
"""The share of the graph's time at which compiled steps win, and at which they have lost at once."""


class Way(Enum):
    """How a step is made."""

    GRAPH = "graph"
    COMPILED = "compiled"


_TURNS = (Way.GRAPH, Way.COMPILED, Way.COMPILED, Way.GRAPH) * 2
"""Interleaved, so that whatever slows the machine down for a while slows down both."""


class Stage(Enum):
    """How far a trial is."""

    WAITING = "waiting"
    WANTED = "wanted"
    """The step should be compiled now."""
    TIMING = "timing"
    DECIDED = "decided"


class Trial:
    """Begins once steps have taken PATIENCE seconds; with `at_once`, whatever compiles is taken, without timing.

    `way` says how the next step is made. `seconds` are the medians of both ways, once both were timed.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._at_once = at_once
        self._spent, self._steps = 0.0, 0
        self._turn, self._in_turn = 0, 0.0
        self._in_block: list[float] = []
        self._times: dict[Way, list[float]] = {way: [] for way in Way}
        self._is_warm = False
        self.way = Way.GRAPH
        self.stage = Stage.WAITING

    @property
    def seconds(self) -> dict[Way, float]:
        """The median seconds of a step, each way; empty unless both were timed."""
        return {way: median(times) for way, times in self._times.items()} if all(self._times.values()) else {}

    def step_made(self, seconds: float, left: float) -> None:
        """A step of this form was made in `way` and took so long; `left` steps are to come (infinity if unknown)."""
        if self.stage is Stage.WAITING:
            self.steps_made(1, seconds if self._steps else 0.0, left)  # the first one has made the graph
        elif self.stage is Stage.TIMING:
            self._timed(seconds)

    def steps_made(self, count: int, seconds: float, left: float) -> None:
        """So many steps were made by the graph, in so many seconds; `left` steps are to come."""
        self._steps += count
        self._spent += seconds
        if self.stage is Stage.WAITING:
            self._look_ahead(left)

    def _look_ahead(self, left: float) -> None:
        mean = self._spent / max(1, self._steps - 1)
        if self._steps >= STEPS_BEFORE and (
            self._at_once or (self._spent >= PATIENCE and left * mean >= WORTH)
        ):  # fmt: skip
            self.stage = Stage.WANTED

    def wanted_now(self) -> None:
        """Do not wait for the first steps."""
        if self.stage is Stage.WAITING:
            self.stage = Stage.WANTED

    def compiled(self) -> None:
        """The step is compiled, and gives the same results."""
        self.stage = Stage.DECIDED if self._at_once else Stage.TIMING
        self.way = Way.COMPILED if self._at_once else _TURNS[0]

    def failed(self) -> None:
        """The step cannot be compiled."""
        self._decide(Way.GRAPH)

    def _timed(self, seconds: float) -> None:
        if self.way is Way.COMPILED and not self._is_warm:
            self._is_warm = True  # what a first call prepares does not count
            return
        self._in_turn += seconds
        self._in_block.append(seconds)
        if self._in_turn < BLOCK or len(self._in_block) < 2:
            return
        self._times[self.way] += self._in_block
        self._in_block, self._in_turn = [], 0.0
        self._turn += 1
        medians = self.seconds
        if medians and medians[Way.COMPILED] > HOPELESS * medians[Way.GRAPH]:
            self._decide(Way.GRAPH)
        elif self._turn < len(_TURNS):
            self.way = _TURNS[self._turn]
        else:
            faster = medians[Way.COMPILED] <= BETTER * medians[Way.GRAPH]
            self._decide(Way.COMPILED if faster else Way.GRAPH)

    def _decide(self, way: Way) -> None:
        self.way, self.stage = way, Stage.DECIDED
