"""What tells a topic from another that was made later under the same name: one record of each partition."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from elasticdl_nb.runtime.data.topics.address import Topic
from elasticdl_nb.runtime.data.topics.client import TIMEOUT, Client, Unreachable, library
from elasticdl_nb.runtime.errors import DataError


def fingerprint(message: Any) -> str:
    """Return a hash of a record's timestamp, key and value."""
    digest = hashlib.blake2b(digest_size=12)
    for part in (str(message.timestamp()[1]).encode(), message.key(), message.value()):
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return digest.hexdigest()


Mark = tuple[int, str]
"""An offset, and the fingerprint of the record that was there."""

_LITTLE: dict[str, Any] = {"queued.min.messages": 1, "queued.max.messages.kbytes": 256, "fetch.max.bytes": 1 << 20}
"""Settings of a connection that takes few records."""


class Identity:
    """Looks whether a topic still has the records that it had. Keeps a connection."""

    def __init__(self, topic: Topic) -> None:
        self._topic, self._client = topic, Client(topic, **{**_LITTLE, **dict(topic.settings)})

    def check(self, marks: Mapping[int, Mark]) -> None:
        """Raise DataError if, in any of these partitions, the record at an offset is another one.

        Where there is none any more, or none to be had for now, nothing can be told, and nothing is.
        """
        found = self._found({number: offset for number, (offset, _) in marks.items()})
        for number, text in found.items():
            offset, expected = marks[number]
            if text != expected:
                raise DataError(
                    f"{self._topic.path(number)}: the record at offset {offset} is not the one that was trained on: "
                    "was the topic deleted and created again, or is this another cluster?"
                )

    def _found(self, offsets: Mapping[int, int]) -> dict[int, str]:
        """Return the fingerprints of the records at these offsets, of those that come in time."""
        kafka = library()
        wanted: dict[int, int] = {}
        for number, offset in offsets.items():
            try:
                low, high = self._client.watermarks(number)
            except Unreachable:
                continue
            if low <= offset < high:
                wanted[number] = offset
        found: dict[int, str] = {}
        consumer, until = self._client.consumer, time.monotonic() + TIMEOUT
        consumer.assign([kafka.TopicPartition(self._topic.name, number, at) for number, at in wanted.items()])
        while wanted and time.monotonic() < until:
            for message in consumer.consume(len(wanted), 0.1):
                number = message.partition()
                if message.error() is None and message.offset() == wanted.get(number):
                    found[number] = fingerprint(message)
                wanted.pop(number, None)
        consumer.assign([])
        return found

    def close(self) -> None:
        """End the connection."""
        self._client.close()
