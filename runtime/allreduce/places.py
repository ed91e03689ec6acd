"""Which records are in the model: what ranks tell each other before every step. Plain objects."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ENTRY = struct.Struct("<qqiq?qiq?d??i")


@dataclass(frozen=True)
class Place:
    """How far a worker is with a task: `records` of it, in the task's own order, are in the model, perhaps all."""

    task: int = 0
    attempt: int = 0
    records: int = 0
    complete: bool = False


NOWHERE = Place()


@dataclass(frozen=True)
class Entry:
    """What a rank brings to a step: the number of records, which is its weight, and its place after the step.

    `earlier` is the task before its current one, whose end the master may not have heard of. `rate` is the learning
    rate it would use, `stops` says that training ends after the step, and `gives` that there is no step, but all take
    the rank's model; only those of rank 0 count. `epoch` is that of the records.
    """

    records: int = 0
    current: Place = NOWHERE
    earlier: Place = NOWHERE
    rate: float = 0.0
    stops: bool = False
    gives: bool = False
    epoch: int = 0

    def pack(self) -> bytes:
        """Return the entry as bytes, always of the same number."""
        a, b = self.current, self.earlier
        return _ENTRY.pack(
            self.records, a.task, a.attempt, a.records, a.complete, b.task, b.attempt, b.records, b.complete,
            self.rate, self.stops, self.gives, self.epoch,
        )  # fmt: skip

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """Return the entry that `pack` made into bytes."""
        records, *places, rate, stops, gives, epoch = _ENTRY.unpack(data)
        return cls(records, Place(*places[:4]), Place(*places[4:]), rate, stops, gives, epoch)

    @property
    def places(self) -> tuple[Place, ...]:
        """The worker's place in its tasks after the step."""
        return tuple(place for place in (self.earlier, self.current) if place.task)
