"""A step in which ranks average values several times before it is over, and not all of them have a batch.

Those with a batch say each time what comes next. It must be the same for all of them; the others take part with zeros.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.allreduce.collective import Array, Collective
from elasticdl_nb.runtime.allreduce.places import Entry

_SAID = struct.Struct("<8sqq")
_NOTHING = _SAID.pack(b"", 0, 0)
KINDS = (np.float32, np.float64)


class Disagreement(Exception):
    """The ranks with a batch do not do the same."""


class Meeting:
    """One step; `entries` has what each rank brings to it. Every method may raise RingBroken."""

    def __init__(self, collective: Collective, entry: Entry) -> None:
        self._collective = collective
        self.entries = [Entry.unpack(one) for one in collective.gather(entry.pack())]
        self._busy = [rank for rank, one in enumerate(self.entries) if one.records]
        total = sum(one.records for one in self.entries)
        self._share = entry.records / total if total else 0.0
        self.spans: list[tuple[float, float]] = []
        """When this rank averaged values: [begin, end), in seconds of the monotonic clock."""

    @property
    def makes_step(self) -> bool:
        """Whether there is a step to be made."""
        return bool(self._busy) and not (self.entries[0].stops or self.entries[0].gives)

    def average(self, what: bytes, values: Sequence[Array], *, exact: bool = False) -> list[Array]:
        """Return means over all records of float32 [n] and float64 [m]; `what` are 8 bytes that tell what they are.

        Raises Disagreement if another rank with a batch says something else.
        """
        began = time.monotonic()
        self._hear(_SAID.pack(what, *map(len, values)))
        means = [self._averaged(one * one.dtype.type(self._share), exact) for one in values]
        self.spans.append((began, time.monotonic()))
        return means

    def follow(self, last: bytes) -> list[Array]:
        """Take part without a batch until the ranks that have one average `last`; return its means."""
        while True:
            what, *lengths = self._hear(_NOTHING)
            zeros = [np.zeros(length, kind) for length, kind in zip(lengths, KINDS, strict=True)]
            means = [self._averaged(one, what == last) for one in zeros]
            if what == last:
                return means

    def hand_out(self, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
        """Return what `read` gives the first rank with a batch, uint8 [n]; None if all ranks have one."""
        if len(self._busy) == len(self.entries):
            return None
        data = read()
        self._collective.broadcast(data, self._busy[0])
        return data

    def _hear(self, mine: bytes) -> tuple[bytes, int, int]:
        said = self._collective.gather(mine)
        heard = {said[rank] for rank in self._busy}
        if len(heard) > 1:
            raise Disagreement
        what, *lengths = _SAID.unpack(heard.pop())
        return (what, *lengths)

    def _averaged(self, values: Array, exact: bool) -> Array:
        if len(values):
            self._collective.allreduce(values, exact=exact)
        return values
