"""Coordinators that are told the same, one of which is taken out of a journal now and then: they must not differ."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from google.protobuf.message import Message

from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.events import Event
from elasticdl_nb.runtime.master.decisions.kinds import coordinator_of
from elasticdl_nb.runtime.master.entries import from_entry, to_entry
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.spec import JobSpec

DATE = 1_700_000_000.0
"""The time of day at which the clocks of these jobs show zero."""

EVERY = 7
"""Events after which one of the twins is taken out of a journal again."""

NOT_KEPT = {"actions", "_story"}
"""Of a coordinator: actions have been carried out, and the story begins anew."""

UNORDERED = {"_free_since", "_departed", "metrics"}
"""Dicts whose order means nothing."""


def restored(job: Coordinator) -> Coordinator:
    """Return the coordinator that another master has in place of this one."""
    state = job.to_message().SerializeToString()
    other = type(job)(job.spec)
    other.load(journal.State.FromString(state))
    return other


def differences(a: Any, b: Any, where: str = "job") -> Iterator[str]:
    """Yield where two objects differ in any attribute, however deep inside."""
    if isinstance(a, bool | int | float | str | None):
        if type(a) is not type(b) or a != b:
            yield f"{where}: {a!r} and {b!r}"
    elif type(a) is not type(b) and not (np.isscalar(a) or isinstance(a, np.ndarray)):
        yield f"{where}: {type(a)} and {type(b)}"
    elif isinstance(a, np.ndarray | np.generic):
        if not np.array_equal(a, b, equal_nan=True):
            yield f"{where}: {a} and {b}"
    elif isinstance(a, Message):
        if a.SerializeToString(deterministic=True) != b.SerializeToString(deterministic=True):
            yield f"{where}: {a} and {b}"
    elif isinstance(a, Counter):
        if a != b:
            yield f"{where}: {a} and {b}"
    elif isinstance(a, Mapping):
        keys = (sorted, sorted) if where.rpartition(".")[2] in UNORDERED else (list, list)
        if keys[0](a) != keys[1](b):
            yield f"{where}: the keys {list(a)} and {list(b)}"
        else:
            for key in a:
                yield from differences(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, list | tuple | deque):
        if len(a) != len(b):
            yield f"{where}: {a} and {b}"
        elif not (isinstance(a, tuple) and a == b):
            for number, (one, other) in enumerate(zip(a, b, strict=True)):
                yield from differences(one, other, f"{where}[{number}]")
    elif attributes := attributes_of(a):
        if set(attributes) != set(attributes_of(b)):
            yield f"{where}: the attributes {sorted(attributes)} and {sorted(attributes_of(b))}"
        else:
            for name in attributes:
                yield from differences(getattr(a, name), getattr(b, name), f"{where}.{name}")
    elif a != b:  # a set, say
        yield f"{where}: {a!r} and {b!r}"


def attributes_of(thing: Any) -> list[str]:
    """The names of an object's attributes, those apart that no journal keeps; none if it is a plain value."""
    if isinstance(thing, JobSpec | Message):
        return []
    names = [one.name for one in fields(thing)] if is_dataclass(thing) else list(getattr(thing, "__dict__", ()))
    return [name for name in names if not isinstance(thing, Coordinator) or name not in NOT_KEPT]


class Keeping:
    """Finds what no journal keeps: looks at every attribute of every object that a coordinator is made of.

    A plain value is changed, to see whether the change arrives on the other side. Anything else must have been seen
    with something in it, which did.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._kept: set[str] = set()

    def look(self, job: Coordinator) -> None:
        """Look at a coordinator; to be done whenever something has happened."""
        common = vars(Coordinator(job.spec))
        assert not list(differences(job, restored(job)))
        for owner, name in _attributes(job, set()):
            place = f"{'Coordinator' if owner is job and name in common else type(owner).__name__}.{name}"
            self._seen.add(place)
            value = getattr(owner, name)
            if place in self._kept or place in FOLLOWS:
                continue
            if not isinstance(value, bool | int | float | str):
                empty = value is None or (hasattr(value, "__len__") and not len(value))
                self._kept |= set() if empty else {place}
                continue
            object.__setattr__(owner, name, _other(value))
            try:
                self._kept |= set() if list(differences(job, restored(job))) else {place}
            finally:
                object.__setattr__(owner, name, value)

    def forgotten(self, *classes: str) -> list[str]:
        """The attributes that were not seen to be kept, those of these classes if any are named."""
        places = sorted(self._seen - self._kept - FOLLOWS)
        return [place for place in places if not classes or place.partition(".")[0] in classes]


FOLLOWS = {
    "Coordinator.worker_holds_model", "EvaluationSchedule.steps", "Rendezvous.min_workers", "Rate.window",
    "Member.role", "Membership.role",
    "TrainingPlan.num_epochs", "TrainingPlan.minibatch_size", "TrainingPlan.max_step", "TrainingPlan.shuffle",
    "TrainingPlan.seed", "TrainingPlan.grows", "Saved._keep", "Member.index", "EvaluationRound.number",
    "Windows.size",
}  # fmt: skip
"""What follows from the job's options, or from where it stands."""


def _attributes(thing: Any, seen: set[int]) -> Iterator[tuple[Any, str]]:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    for name in attributes_of(thing):
        if not isinstance(getattr(thing, name), JobSpec):
            yield thing, name
            yield from _attributes(getattr(thing, name), seen)
    inner = thing.values() if isinstance(thing, Mapping) else thing if isinstance(thing, list | tuple | deque) else ()
    for one in inner:
        yield from _attributes(one, seen)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + {int: 1, float: 0.5, str: "~"}[type(value)]


class Twins:
    """In a test, instead of a coordinator: what is not here is that of the one that was never in a journal."""

    def __init__(self, spec: JobSpec) -> None:
        self._original, self._other = coordinator_of(spec), coordinator_of(spec)
        self._count = 0
        self.keeping: Keeping | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def handle(self, event: Event, now: float) -> bool:
        before = len(self._original.actions)
        changed = self._original.handle(event, now, DATE + now)
        entry = journal.Entry.FromString(to_entry(event, now, DATE + now).SerializeToString())
        assert (entry.now, entry.date) == (now, DATE + now)
        assert self._other.handle(from_entry(entry), now, DATE + now) == changed
        assert self._other.actions == self._original.actions[before:]
        self._other.actions.clear()
        if self.keeping:
            self.keeping.look(self._original)
        self._count += 1
        if self._count % EVERY == 0:
            self._other = self._checked()
        return changed

    def _checked(self) -> Coordinator:
        other = restored(self._original)
        assert not list(differences(self._original, other))
        return other

    def another_master(self) -> None:
        """Go on with what a journal tells; actions are those that were asked for."""
        actions = self._original.actions
        self._original, self._other = self._checked(), restored(self._original)
        self._original.actions = actions
