"""One step's sums, made in a thread of its own while the step is still being computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from elasticdl_nb.runtime.allreduce.collective import Array, Collective, RingBroken
from elasticdl_nb.runtime.allreduce.overlap import Exchanged
from elasticdl_nb.runtime.allreduce.places import Entry


@dataclass(frozen=True)
class Bucket:
    """Values that travel together: how many, of which dtype, and whether compression is ruled out."""

    length: int
    dtype: DTypeLike
    exact: bool = False


class Exchange:
    """Averages buckets over all ranks, weighted by the records that each has used.

    For each step, call `begin`, then `push` every bucket if the rank brings any records, then `result`; the averages
    are in `averages` until the next `begin`. After a step that broke, call `begin` again without a push: what was
    pushed is kept. Between machines, a bucket is on its way while the next ones are computed; on one, that would
    take the processors from computing. `overlaps` decides otherwise. The values are the same either way, and
    `exchanged` says how much time it has hidden.
    """

    overlaps: bool | None = None

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self.buckets = list(buckets)
        self.averages: list[Array] = [np.empty(bucket.length, bucket.dtype) for bucket in buckets]
        self._pushed: list[Array | None] = [None] * len(buckets)
        self.exchanged = Exchanged()
        self._spans: list[tuple[float, float]] = []
        self._changed = threading.Condition()
        self._cancelled = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="exchange")
        self._running: Future[list[Entry]] | None = None

    def begin(self, collective: Collective, entry: Entry, *, again: bool = False) -> None:
        """Begin a step."""
        if not again:
            self._pushed = [None] * len(self.buckets)
        self._cancelled = False
        self._running = self._pool.submit(self._run, collective, entry)

    def push(self, number: int, values: Any) -> None:
        """Add this rank's values of a bucket; from any thread, in any order."""
        with self._changed:
            self._pushed[number] = np.asarray(values)
            self._changed.notify_all()

    def cancel(self) -> None:
        """No more pushes will come."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def result(self) -> list[Entry]:
        """Wait for the end of the step; return what every rank has brought. Raises RingBroken."""
        assert self._running is not None
        computed = time.monotonic()
        entries = self._running.result()
        if self._pushed[-1] is not None:  # who computes nothing has nothing to hide the exchange behind
            self.exchanged = self.exchanged.with_step(self._spans, computed)
        return entries

    def _run(self, collective: Collective, entry: Entry) -> list[Entry]:
        entries = [Entry.unpack(data) for data in collective.gather(entry.pack())]
        total = sum(one.records for one in entries)
        self._spans = []
        if not total or entries[0].stops or entries[0].gives:
            return entries
        if entry.records and not (not collective.near if self.overlaps is None else self.overlaps):
            self._wait_for(len(self.buckets) - 1)
        for number, (bucket, average) in enumerate(zip(self.buckets, self.averages, strict=True)):
            values = self._wait_for(number) if entry.records else None
            began = time.monotonic()
            if values is None:
                average.fill(0)
            else:
                np.multiply(values, average.dtype.type(entry.records / total), out=average)
            collective.allreduce(average, exact=bucket.exact)
            self._spans.append((began, time.monotonic()))
        return entries

    def _wait_for(self, number: int) -> Array:
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._pushed[number] is not None)
            values = self._pushed[number]
        if values is None:
            raise RingBroken("the step has failed in this process")
        return values
