"""Finding the records that are added to a topic while a job trains; only the master looks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.topics.client import Client, Unreachable
from elasticdl_nb.runtime.data.topics.identity import Identity, Mark
from elasticdl_nb.runtime.data.topics.names import name_of, partition_of
from elasticdl_nb.runtime.data.topics.reader import TopicReader

_MOST_AHEAD = 256
"""Tasks that wait to be done, from which no more are made."""

_AT_ONCE = 128
"""Tasks that one look makes of a partition, unless the job is to end."""

_SECONDS = 0.5
"""Between two looks, at least."""

_PARTITIONS_SECONDS = 30.0
"""Between two looks for new partitions."""


class TopicDiscovery:
    """Finds the records that have come to a topic since the job began.

    `reached` are the offsets, by path, up to which the job knows of a partition's records; `earlier` those, by name,
    up to which earlier jobs have used them. Where nobody has, a partition begins where the reader says, and one that
    was not there when the job began, at its beginning. Found are whole tasks of `each` records, or what there is if
    hardly any task waits. What was found is written to `place`.
    """

    def __init__(
        self, reader: TopicReader, reached: Mapping[str, int], earlier: Mapping[str, int], each: int, place: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._reader, self._each, self._place, self._clock = reader, each, place, clock
        topic, begin = reader.topic, reader.known.offsets
        self._reached = {topic.path(number): start for number, (start, _) in begin.items()}
        self._reached |= {path: earlier[name_of(path)] for path in self._reached if name_of(path) in earlier}
        self._earlier = earlier
        for path, offset in reached.items():  # less than before, if only what earlier jobs left is in the plan
            self._reached[path] = max(offset, self._reached.get(path, 0))
        self._ends = dict(self._reached)
        self._client, self._identity = Client(topic), Identity(topic)
        self._checked_at = -_PARTITIONS_SECONDS
        self._looked_at = -_PARTITIONS_SECONDS
        self._problems: list[str] = []
        self._told: dict[str, str] = {}
        self._committed: dict[int, int] = {}
        self.waits = False
        """Whether the brokers did not answer in the last look."""
        self._write()

    @property
    def behind(self) -> int:
        """How many offsets the topic has, as of the last look, that are not found yet."""
        return sum(max(0, self._ends[path] - reached) for path, reached in self._reached.items())

    @property
    def ends(self) -> dict[str, int]:
        """The offsets after the last that can be read, by path, as of the last look."""
        return dict(self._ends)

    def pause_after_look(self, seconds: float) -> float:
        """Return how many seconds to wait after a look that took so many; one that gets no answer takes long enough."""
        return 1.0 if self.waits else max(_SECONDS, seconds)

    def listed_since(self, number: int) -> list[FileRecords]:
        """Return nothing: what the job does not know of is found again."""
        return []

    def problems(self) -> list[str]:
        """Return what went wrong since the last call."""
        problems, self._problems = self._problems, []
        return problems

    def check(self, marks: Mapping[str, Mark]) -> None:
        """Raise DataError if the topic is not the one it was, as records of it show that were used, by path.

        Looks now and then, and after brokers did not answer.
        """
        if marks and (self.waits or self._clock() - self._checked_at >= _PARTITIONS_SECONDS):
            self._identity.check({partition_of(path): mark for path, mark in marks.items()})
            self._checked_at = self._clock()

    def look(self, *, hurry: bool = False, ahead: int = 0) -> list[FileRecords]:
        """Look once; return the new records. In a `hurry`, return all that are there.

        `ahead` tasks are waiting to be done: from some number on, no more are found.
        """
        if ahead >= _MOST_AHEAD and not hurry:
            return []
        try:
            self._look()
        except Unreachable as error:
            self._tell("", f"{error}; new records are looked for again once the brokers answer")
            self.waits = True
            return []
        self.waits = False
        self._told.pop("", None)
        found = [self._taken(path, hurry, idle=not ahead) for path in sorted(self._reached, key=partition_of)]
        new = [one for one in found if one.records]
        for one in new:
            self._reached[one.path] = one.start + one.records
        if new:
            self._write()
        return _interleaved(new, self._each)

    def _look(self) -> None:
        topic = self._reader.topic
        if self._clock() - self._looked_at >= _PARTITIONS_SECONDS:
            for number in self._client.partitions():
                path = topic.path(number)
                if path not in self._reached:
                    low, _ = self._client.watermarks(number)
                    self._reached[path] = self._earlier.get(name_of(path), low)
            self._looked_at = self._clock()
        for path in self._reached:
            _, self._ends[path] = self._client.watermarks(partition_of(path))
            if self._ends[path] < self._reached[path]:
                self._tell(
                    path, f"{path} ends at offset {self._ends[path]}, though offset {self._reached[path]} was there"
                )

    def _taken(self, path: str, hurry: bool, *, idle: bool) -> FileRecords:
        start, there = self._reached[path], max(0, self._ends[path] - self._reached[path])
        if not hurry:
            whole = there // self._each * self._each
            there = min(whole or (there if idle else 0), _AT_ONCE * self._each)
        return FileRecords(path, there, start)

    def _tell(self, of: str, problem: str) -> None:
        """Report a problem, unless there is one of the same already."""
        if of not in self._told:
            self._told[of] = problem
            self._problems.append(problem)

    def _write(self) -> None:
        durable.write(self._place, json.dumps(self._reached).encode())

    def committed(self, offsets: Mapping[str, int]) -> None:
        """Tell the topic's group, if the URL names one, up to which offsets records are used in a checkpoint."""
        numbers = {partition_of(path): offset for path, offset in offsets.items()}
        if self._reader.topic.group and numbers and numbers != self._committed:
            try:
                self._client.commit(numbers)
            except Unreachable as error:
                self._tell(
                    "group", f"the group {self._reader.topic.group} could not be told how far the job is: {error}"
                )
            self._committed = numbers


def _interleaved(found: list[FileRecords], each: int) -> list[FileRecords]:
    """Return the same offsets as tasks, taken from all partitions in turn, as their records came about together."""
    tasks = [
        (start - one.start, place, FileRecords(one.path, min(each, one.start + one.records - start), start))
        for place, one in enumerate(found)
        for start in range(one.start, one.start + one.records, each)
    ]
    return [task for _, _, task in sorted(tasks, key=lambda task: task[:2])]
