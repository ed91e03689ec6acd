"""Which records are in the model: what ranks tell each other before every step. Plain objects."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ENTRY = struct.Struct("<qqiq?qiq?d?")


@dataclass(frozen=True)
class Place:
    """How far a worker is with a task: `records` of it, in its own order, are in the model, which may be all."""

    task: int = 0
    attempt: int = 0
    records: int = 0
    complete: bool = False


NOWHERE = Place()


@dataclass(frozen=True)
class Entry:
    """What a rank brings to a step: the number of records, which is its weight, and where it is after the step.

    `earlier` is its last task before the one at hand: the master may not have heard of its end. `rate` is the learning
    rate it would use, `stops` that training shall end after the step; those of rank 0 count.
    """

    records: int = 0
    current: Place = NOWHERE
    earlier: Place = NOWHERE
    rate: float = 0.0
    stops: bool = False

    def pack(self) -> bytes:
        """Return the entry as bytes, always as many."""
        a, b = self.current, self.earlier
        return _ENTRY.pack(
            self.records, a.task, a.attempt, a.records, a.complete, b.task, b.attempt, b.records, b.complete,
            self.rate, self.stops,
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """Return what `pack` made bytes of."""
        records, *places, rate, stops = _ENTRY.unpack(data)
        return cls(records, Place(*places[:4]), Place(*places[4:]), rate, stops)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the worker is after the step."""
        return tuple(place for place in (self.earlier, self.current) if place.task)
