"""Tasks that have crashed the workers that held them, and those that were set aside for it. A plain object.

A worker holds more than one task at a time, and reads one while it uses another. So a crash makes all of them suspects,
and a suspect is then handed out alone, until it is done or it is certain that it is the cause. A task has the same key
in every attempt, also after the job has gone back to a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from elasticdl_nb.runtime.master.decisions.task import KINDS, KINDS_OF, Span, Task, TaskKind, pieces_message, pieces_of
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb

Key = tuple[TaskKind, int, int]
"""Kind, epoch or evaluation, and index."""

MOST_IN_A_ROW = 3
"""Tasks set aside without one done in between, after which it is not the tasks that are to blame."""


def key_of(task: Task) -> Key:
    """Return what a task has in common with its other attempts."""
    return task.kind, task.epoch if task.kind == "train" else task.evaluation, -1 if task.summarize else task.index


@dataclass(frozen=True)
class Aside:
    """A task that was set aside; the first `skip` of its records are in the model."""

    spans: tuple[Span, ...]
    skip: int
    reason: str

    @property
    def records(self) -> int:
        """How many of its records are not in the model."""
        return sum(end - start for _, start, end in self.spans) - self.skip


class Suspects:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._crashes: dict[Key, int] = {}
        self.aside: dict[Key, Aside] = {}
        self._in_a_row = 0

    def crashed(self, tasks: Iterable[Task]) -> None:
        """A worker that held these tasks has crashed."""
        for task in tasks:
            key = key_of(task)
            self._crashes[key] = self._crashes.get(key, 0) + 1

    def crashes(self, task: Task) -> int:
        """How many workers have crashed with a task."""
        return self._crashes.get(key_of(task), 0)

    def __contains__(self, key: Key) -> bool:
        """Whether any worker has crashed with the task of this key."""
        return key in self._crashes

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._crashes)

    def done(self, task: Task) -> None:
        """A task is done: it is not to blame."""
        self._in_a_row = 0
        if self._crashes:
            self._crashes.pop(key_of(task), None)

    # ------------------------------------------------------------ set aside

    @property
    def may_set_aside(self) -> bool:
        """Whether one more task may be set aside: not if nothing else was done lately."""
        return self._in_a_row < MOST_IN_A_ROW - 1

    def set_aside(self, task: Task, reason: str) -> None:
        """Never hand out a task again."""
        self._crashes.pop(key_of(task), None)
        self.aside[key_of(task)] = Aside(task.spans, task.skip, reason)
        self._in_a_row += 1

    def drops(self, task: Task) -> bool:
        """Whether a task that comes back was set aside; then note how far it is in the model now."""
        aside = self.aside.get(key_of(task)) if self.aside else None
        if aside is not None:
            self.aside[key_of(task)] = Aside(aside.spans, task.skip, aside.reason)
        return aside is not None

    # ------------------------------------------------------------ the journal

    def to_message(self) -> journal.Suspects:
        """Return everything in the journal's form."""
        crashed = [_message(key, crashes=crashes) for key, crashes in self._crashes.items()]
        aside = [
            _message(key, spans=pieces_message([one.spans]), skip=one.skip, reason=one.reason)
            for key, one in self.aside.items()
        ]
        return journal.Suspects(crashed=crashed, set_aside=aside, in_a_row=self._in_a_row)

    @classmethod
    def from_message(cls, message: journal.Suspects) -> Suspects:
        """Return the suspects from a message made by `to_message`."""
        suspects = cls()
        suspects._crashes = {_key(one): one.crashes for one in message.crashed}
        for one in message.set_aside:
            (spans,) = pieces_of(one.spans)
            suspects.aside[_key(one)] = Aside(tuple(spans), one.skip, one.reason)
        suspects._in_a_row = message.in_a_row
        return suspects


def described(spans: Sequence[Span]) -> str:
    """Return the records of a task in words."""
    if not spans:
        return "no records"
    path, start, end = spans[0]
    more = f", and of {len(spans) - 1} more file(s)" if len(spans) > 1 else ""
    return f"records {start:,} to {end - 1:,} of {path}{more}"


def set_aside_messages(suspects: Suspects, most: int) -> list[pb.SetAside]:
    """Return the first tasks that were set aside, as watchers see them."""
    return [
        pb.SetAside(
            ranges=[pb.Range(path=path, start=start, end=end) for path, start, end in one.spans],
            epoch=key[1] + 1,
            reason=one.reason,
        )
        for key, one in list(suspects.aside.items())[:most]
    ]


def _message(key: Key, **more: object) -> journal.Suspect:
    kind, round, index = key
    return journal.Suspect(kind=KINDS[kind], round=round, index=index, **more)  # type: ignore[arg-type]


def _key(message: journal.Suspect) -> Key:
    return KINDS_OF[message.kind], message.round, message.index
