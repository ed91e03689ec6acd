"""Reading ranges of offsets, however long the brokers are away meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.data.topics.address import Topic
from elasticdl_nb.runtime.data.topics.client import Client, Unreachable, library
from elasticdl_nb.runtime.errors import DataError

Tell = Callable[[str, str], None]
"""Takes level and text of a message for users."""

_MOST = 4096
"""Messages taken at a time."""

_PATIENCE = 5.0
"""Seconds without an answer after which users are told."""

_WAIT = 0.1
_OPEN = 4
"""Connections that are kept."""

_PASSED_OVER = 20_000
"""Records that are rather read than sought past: those of another worker's task."""


@dataclass(frozen=True)
class Gone:
    """Offsets [start, end) that were deleted before they were read."""

    start: int
    end: int


class Offsets:
    """Reads ranges of any of the topic's partitions; safe to use from several threads."""

    def __init__(self, topic: Topic, tell: Tell) -> None:
        self._topic, self._tell = topic, tell
        self._lock = threading.Lock()
        self._idle: list[_Stream] = []

    def read(self, partition: int, start: int, end: int) -> Iterator[list[Any] | Gone]:
        """Yield the messages of offsets [start, end), some thousand at a time, and what is gone of them.

        There may be fewer messages than offsets: transactions and compaction leave gaps. Waits as long as no broker
        answers, and tells users.
        """
        stream = self._taken(partition, start)
        try:
            yield from stream.read(partition, start, end)
        finally:
            with self._lock:
                self._idle.append(stream)
                spare = [self._idle.pop(0) for _ in range(len(self._idle) - _OPEN)]
            for one in spare:
                one.client.close()

    def _taken(self, partition: int, start: int) -> _Stream:
        with self._lock:
            for one in self._idle:
                if (one.partition, one.position) == (partition, start):
                    self._idle.remove(one)
                    return one
            same = next((one for one in self._idle if one.partition == partition), None)
            if same is not None or len(self._idle) >= _OPEN:
                found = same or self._idle[0]
                self._idle.remove(found)
                return found
        return _Stream(self._topic, self._tell)

    def close(self) -> None:
        """End all connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.client.close()


class _Stream:
    """One connection: `position` is the offset in `partition` up to which everything was read."""

    def __init__(self, topic: Topic, tell: Tell) -> None:
        self.client = Client(topic)
        self.partition, self.position = -1, 0
        self._topic, self._tell = topic, tell
        self._kept: list[Any] = []
        self._heard_at, self._told = time.monotonic(), False

    def read(self, partition: int, start: int, end: int) -> Iterator[list[Any] | Gone]:
        """See `Offsets.read`."""
        self._go_to(partition, start)
        self._heard_at = time.monotonic()
        while self.position < end:
            messages, self._kept = self._kept or self._taken(min(end - self.position, _MOST)), []
            wanted, hindrance = self._sorted_out(messages, start, end)
            if wanted:
                yield wanted
            if hindrance is not None and (gone := self._gone(hindrance, start, end)) is not None:
                yield gone

    def _go_to(self, partition: int, start: int) -> None:
        if self.partition == partition and 0 <= start - self.position <= _PASSED_OVER:
            return
        kafka = library()
        self.partition, self.position, self._kept = partition, start, []
        self.client.consumer.assign([kafka.TopicPartition(self._topic.name, partition, start)])

    def _sorted_out(self, messages: list[Any], start: int, end: int) -> tuple[list[Any], Any]:
        """Return the messages of the range, and the one that says why no more will come, if there is one."""
        kafka = library()
        wanted: list[Any] = []
        for number, message in enumerate(messages):
            error, offset = message.error(), message.offset()
            if error is not None and error.code() != kafka.KafkaError._PARTITION_EOF:
                if error.code() in (kafka.KafkaError._AUTO_OFFSET_RESET, kafka.KafkaError.OFFSET_OUT_OF_RANGE):
                    return wanted, message
                self.client.problem = str(error.str())
                continue
            if offset >= end:  # a record after it, or the end of the partition: there are no others in between
                self._kept, self.position = messages[number:], end
                return wanted, None
            if error is None:
                self.position = offset + 1
                if offset >= start:
                    wanted.append(message)
        return wanted, None

    def _taken(self, most: int) -> list[Any]:
        """Wait a moment for messages; if there have been none for long, find out why."""
        messages: list[Any] = self.client.consumer.consume(most, _WAIT)
        now = time.monotonic()
        if messages:
            self._heard_at = now
            if self._told:
                self._told = False
                self._tell("info", f"{self._topic.url} is read again")
        elif now - self._heard_at > _PATIENCE:
            self._ask()
            self._heard_at = time.monotonic()
        return messages

    def _ask(self) -> None:
        """Find out why nothing comes; raise DataError if nothing will."""
        try:
            _, high = self.client.watermarks(self.partition)
        except Unreachable as error:
            if not self._told:
                self._told = True
                self._tell("warning", f"{error}; reading waits until the brokers answer")
            return
        if high < self.position:
            raise self._shrunk(high)

    def _shrunk(self, high: int) -> DataError:
        path, position = self._topic.path(self.partition), self.position
        self.partition = -1
        return DataError(
            f"{path} ends at offset {high}, but offset {position} was there before: was the topic deleted and "
            "created again?"
        )

    def _gone(self, hindrance: Any, start: int, end: int) -> Gone | None:
        """The position is not among the offsets that are there: go on at the first that is, and return what is gone."""
        kafka, partition = library(), self.partition
        try:
            low, high = self.client.watermarks(partition)
        except Unreachable:
            low, high = 0, self.position
        if high < self.position:
            raise self._shrunk(high)
        before = max(start, self.position)
        self.position = max(min(low, end), before)
        self.client.consumer.assign([kafka.TopicPartition(self._topic.name, partition, self.position)])
        return Gone(before, self.position) if self.position > before else None
