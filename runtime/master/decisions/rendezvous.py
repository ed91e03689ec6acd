"""Which workers train together: the members of a ring, one generation after another.

A plain object; workers are numbers, times are passed in. When a worker comes, goes, dies or loses its neighbours, all
workers of the ring are ordered to leave it, report how far they are, and then learn of the next one. Among the workers
that are furthest, the oldest gives its model to those that have none, or are one step behind. Newcomers are gathered
for a while, so that many of them cost one interruption.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from elasticdl_nb.runtime.allreduce.places import Place
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb

JOIN_WINDOW = 5.0
"""Seconds that a newcomer waits for others that are about to come while a ring trains."""

FIRST_WINDOW = 60.0
"""The same while no ring trains."""


@dataclass(frozen=True)
class Report:
    """The report of a worker that has left a ring; `places` says where each worker was at this step."""

    step: int = 0
    has_model: bool = False
    places: Mapping[int, tuple[Place, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, message: pb.Halted | journal.Report) -> Report:
        """Return the report in a message."""
        places: dict[int, tuple[Place, ...]] = {}
        for place in message.places:
            before = places.get(place.worker, ())
            places[place.worker] = (*before, Place(place.task, place.attempt, place.records, place.complete))
        return cls(message.step, message.has_model, places)

    def to_message(self, worker: int) -> journal.Report:
        """Return this worker's report in the journal's form."""
        places = [
            pb.Place(worker=where, task=one.task, attempt=one.attempt, records=one.records, complete=one.complete)
            for where, some in self.places.items() for one in some
        ]  # fmt: skip
        return journal.Report(worker=worker, step=self.step, has_model=self.has_model, places=places)


@dataclass(frozen=True)
class Halt:
    """These workers must leave the ring of this generation."""

    generation: int
    workers: tuple[int, ...]


@dataclass(frozen=True)
class Formed:
    """A new ring, workers by rank. `donor` is the rank whose model counts, None if no rank has one.

    `hand_over` means that others need it. `departed` are those that are no longer in the ring, and `places` says where
    workers were at `step`, the model's step.
    """

    generation: int
    workers: tuple[int, ...]
    donor: int | None
    step: int
    hand_over: bool
    departed: tuple[int, ...]
    places: Mapping[int, tuple[Place, ...]]


class Rendezvous:
    """See the module's docstring."""

    def __init__(self, min_workers: int) -> None:
        self.min_workers = min_workers
        self.generation = 0
        self.workers: list[int] = []
        self.forming = False
        self._reports: dict[int, Report] = {}
        self._newcomers: dict[int, float] = {}
        self._departed: list[int] = []
        self._leaving: set[int] = set()

    # ------------------------------------------------------------ what happens

    def arrives(self, worker: int, now: float) -> None:
        """A worker is ready to train but not in a ring yet."""
        if worker not in self.workers:
            self._newcomers.setdefault(worker, now)

    def halts(self, worker: int, generation: int, report: Report) -> None:
        """A worker has left the ring of a generation, without an order if it has lost its neighbours."""
        if worker in self.workers and generation == self.generation:
            self._reports[worker] = report

    def leaves(self, worker: int) -> bool:
        """A worker is no longer wanted; return whether it is in a ring, which it leaves when the next one forms."""
        self._newcomers.pop(worker, None)
        if worker in self.workers:
            self._leaving.add(worker)
        return worker in self.workers

    def gone(self, worker: int) -> bool:
        """A worker's process has ended; return whether it was in a ring."""
        self._newcomers.pop(worker, None)
        self._reports.pop(worker, None)
        self._leaving.discard(worker)
        if worker not in self.workers:
            return False
        self.workers.remove(worker)
        self._departed.append(worker)
        return True

    # ------------------------------------------------------------ what follows

    @property
    def is_formed(self) -> bool:
        """Whether there is a ring, as far as this object knows."""
        return bool(self.workers) and not self.forming

    def has_arrived(self, worker: int) -> bool:
        """Whether a worker is ready to train, in a ring or for the next one."""
        return worker in self.workers or worker in self._newcomers

    def to_halt(self, worker: int) -> bool:
        """Whether a worker was ordered to leave the ring and has not yet confirmed it."""
        return self.forming and worker in self.workers and worker not in self._reports

    @property
    def lacking(self) -> int:
        """How many more workers are needed to form a ring; 0 if it is not waiting for workers."""
        if (self.workers and not self.forming) or not (self.workers or self._newcomers):
            return 0
        return max(0, self.min_workers - len(self.workers) - len(self._newcomers))

    def look(self, now: float, expected: int) -> Halt | Formed | None:
        """Return what to do now, if anything; `expected` workers are alive but not ready to train yet."""
        if not self.forming:
            if not (self._reports or self._departed or self._going() or self._are_due(now, expected)):
                return None
            self.forming = True
            if silent := tuple(worker for worker in self.workers if worker not in self._reports):
                return Halt(self.generation, silent)
        return self._form(now, expected)

    def _are_due(self, now: float, expected: int) -> bool:
        window = JOIN_WINDOW if self.workers else FIRST_WINDOW
        return bool(self._newcomers) and (not expected or now - min(self._newcomers.values()) >= window)

    def _going(self) -> set[int]:
        """The workers that leave now: the last one that has the model stays until another has received it."""
        staying = [worker for worker in self.workers if worker not in self._leaving]
        return set(self.workers if staying else self.workers[1:]) & self._leaving

    def _form(self, now: float, expected: int) -> Formed | None:
        if any(worker not in self._reports for worker in self.workers):
            return None
        going = self._going()
        members = [worker for worker in self.workers if worker not in going]
        holders = [worker for worker in members if self._reports[worker].has_model]
        if not holders and (last := [worker for worker in going if self._reports[worker].has_model]):
            members, holders = [last[0], *members], last[:1]
        if not holders and not self._are_due(now, expected) and not members:
            return None
        members += sorted(self._newcomers)
        if len(members) < self.min_workers or not members:
            return None
        step = max((self._reports[worker].step for worker in holders), default=0)
        donor = next((worker for worker in holders if self._reports[worker].step == step), None)
        needy = [
            worker for worker in members if worker not in holders or self._reports[worker].step < step
        ]  # fmt: skip
        formed = Formed(
            self.generation + 1, tuple(members), None if donor is None else members.index(donor), step,
            bool(needy) and len(members) > 1, (*self._departed, *(w for w in self.workers if w not in members)),
            {} if donor is None else self._reports[donor].places,
        )  # fmt: skip
        self.generation, self.workers, self.forming = formed.generation, members, False
        self._leaving &= set(members)
        self._reports.clear()
        self._newcomers.clear()
        self._departed.clear()
        return formed

    # ------------------------------------------------------------ the journal

    def to_message(self) -> journal.Rendezvous:
        """Return everything that does not follow from the job's options, in the journal's form."""
        return journal.Rendezvous(
            generation=self.generation,
            workers=self.workers,
            forming=self.forming,
            reports=[report.to_message(worker) for worker, report in self._reports.items()],
            newcomers=[journal.Newcomer(worker=worker, since=since) for worker, since in self._newcomers.items()],
            departed=self._departed,
            leaving=self._leaving,
        )

    def load(self, message: journal.Rendezvous) -> None:
        """Restore the state from a message made by `to_message`."""
        self.generation, self.workers, self.forming = message.generation, list(message.workers), message.forming
        self._reports = {report.worker: Report.of(report) for report in message.reports}
        self._newcomers = {newcomer.worker: newcomer.since for newcomer in message.newcomers}
        self._departed, self._leaving = list(message.departed), set(message.leaving)
