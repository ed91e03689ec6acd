"""A `Reader` of a topic's partitions: what `reader.open_reader` returns for kafka:// URLs."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from elasticdl_nb.runtime.data.chunks import Chunk, FileRecords, Metadata, Records
from elasticdl_nb.runtime.data.columntypes import STRING, Column, normalise
from elasticdl_nb.runtime.data.listing import kept_text
from elasticdl_nb.runtime.data.topics import deadletters
from elasticdl_nb.runtime.data.topics.address import Topic, parse
from elasticdl_nb.runtime.data.topics.client import Client, library
from elasticdl_nb.runtime.data.topics.names import partition_of
from elasticdl_nb.runtime.data.topics.offsets import Gone, Offsets, Tell
from elasticdl_nb.runtime.data.topics.parsing import Bad, Parse, example_parser, json_parser
from elasticdl_nb.runtime.data.topics.schema import SAMPLE, Field, fields_of_examples, fields_of_json, metadata
from elasticdl_nb.runtime.errors import DataError, OptionError, did_you_mean

logger = logging.getLogger(__name__)

_VALUE = "value"
_REMEMBERED = 256
"""Ranges of which it is known how many records could not be used."""


@dataclass(frozen=True)
class Unusable:
    """Of a range of offsets: how many records could not be used, one of them, and how many offsets were gone."""

    malformed: int = 0
    example: str = ""
    expired: int = 0


@dataclass(frozen=True)
class _Known:
    """What was found when the job began: the offsets [start, end) of each partition, and the fields of values."""

    offsets: dict[int, tuple[int, int]]
    fields: tuple[Field, ...]

    def to_text(self) -> str:
        """Return it as text that `of_text` reads."""
        offsets = {str(number): ends for number, ends in self.offsets.items()}
        return json.dumps({"offsets": offsets, "fields": [one.to_json() for one in self.fields]})

    @classmethod
    def of_text(cls, text: str) -> _Known:
        """Return it from what `to_text` returned."""
        found = json.loads(text)
        offsets = {int(number): (ends[0], ends[1]) for number, ends in found["offsets"].items()}
        return cls(offsets, tuple(map(Field.from_json, found["fields"])))


def _log(level: str, text: str) -> None:
    logger.log(logging.WARNING if level == "warning" else logging.INFO, "%s", text)


class TopicReader:
    """See the module's docstring, and reader.py for the interface.

    `beside` is a job's folder for what is known of its data. `tell` takes level and text of messages for users.
    """

    def __init__(self, topic: Topic, columns: Sequence[str], beside: Path | None, option: str, *, follow: bool) -> None:
        self.topic, self._wanted, self._follow = topic, columns, follow
        self._place = None if beside is None else beside / f"{option}.topic.json"
        self.tell: Tell = _log
        self.form: Literal["bytes", "strings", "columns"] = (
            "bytes" if topic.format == "bytes" and not self._added else "columns"
        )
        self._offsets = Offsets(topic, lambda level, text: self.tell(level, text))
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "topic")
        self._unusable: OrderedDict[tuple[str, int, int], Unusable] = OrderedDict()

    # ------------------------------------------------------------ what there is

    @cached_property
    def known(self) -> _Known:
        """What was found when the job began."""
        if self._place is None:
            return self._found()
        return _Known.of_text(kept_text(self._place, lambda: self._found().to_text()))

    def _found(self) -> _Known:
        client = Client(self.topic)
        try:
            offsets = {number: self._range(client, number) for number in client.partitions()}
        finally:
            client.close()
        return _Known(offsets, tuple(self._fields(offsets)))

    def _range(self, client: Client, partition: int) -> tuple[int, int]:
        low, high = client.watermarks(partition)
        if self.topic.since == "latest":
            return high, high
        if self.topic.since == "earliest":
            return low, high
        found = client.at_time(partition, int(self.topic.since))
        return (high if found is None else min(max(found, low), high)), high

    def _fields(self, offsets: Mapping[int, tuple[int, int]]) -> list[Field]:
        if self.topic.format == "bytes":
            return []
        values = self._sample(offsets)
        if not values:
            where = "" if self.topic.since == "earliest" else f" from {self.topic.since} on, nor before"
            raise DataError(f"{self.topic.url}: there are no records{where}, so nothing says what their fields are")
        find = fields_of_json if self.topic.format == "json" else fields_of_examples
        return find(values, self._wanted, self.topic.url)

    def _sample(self, offsets: Mapping[int, tuple[int, int]]) -> list[bytes | None]:
        """Return some values from each partition: the first that are to be used, or else the last before those."""
        values: list[bytes | None] = []
        each = -(-SAMPLE // max(1, len(offsets)))
        client = Client(self.topic)
        try:
            for number, (start, end) in offsets.items():
                low, _ = client.watermarks(number)
                start = start if start < end else max(low, end - each)
                for part in self._offsets.read(number, start, min(end, start + each)):
                    values += [] if isinstance(part, Gone) else [message.value() for message in part]
        finally:
            client.close()
        return values

    # ------------------------------------------------------------ columns

    @property
    def _added(self) -> list[Column]:
        """Columns that are not in the values."""
        topic = self.topic
        return [Column(topic.key, STRING)] * bool(topic.key) + [Column(topic.timestamp, "int64")] * bool(
            topic.timestamp
        )

    @cached_property
    def _columns(self) -> list[Column]:
        if self.topic.format == "bytes":
            return [Column(_VALUE, STRING), *self._added] if self._added else []
        return [*(one.column for one in self.known.fields), *self._added]

    @property
    def metadata(self) -> Metadata:
        """Names, dtypes and shapes of the columns."""
        return metadata(self._columns)

    @cached_property
    def _parse(self) -> Parse:
        make = json_parser if self.topic.format == "json" else example_parser
        return make(self.known.fields)

    def check(self) -> None:
        """Raise DataError if there is no such topic, or nothing in it that can be used."""
        names = [one.name for one in self._columns]
        for one in self._added:
            if names.count(one.name) > 1:
                raise DataError(f"{self.topic.url}: its records have a field {one.name!r}, too; choose another name")
        if not self._follow and not any(end > start for start, end in self.known.offsets.values()):
            raise DataError(f"there are no records in {self.topic.url}")

    def files(self) -> list[FileRecords]:
        """Return every partition with the number of offsets that it had when the job began."""
        found = sorted(self.known.offsets.items())
        return [FileRecords(self.topic.path(number), end - start, start) for number, (start, end) in found]

    # ------------------------------------------------------------ reading

    def read(self, path: str, start: int, end: int) -> Iterator[Chunk]:
        """Read what can be used of offsets [start, end) of a partition."""
        partition = partition_of(path)
        letters: list[deadletters.Letter] = []
        expired = 0
        for part, parsed in self._parsed(partition, start, end):
            if isinstance(part, Gone):
                expired += self._lost(path, part)
                continue
            chunk, bad = parsed.result()
            letters += [_letter(part[place], reason) for place, reason in sorted(bad)]
            if len(chunk):
                yield chunk
        if letters and self.topic.dead_letters:
            deadletters.write(self.topic.dead_letters, self.topic.name, partition, start, end, letters)
        if letters or expired:
            example = f"{path}, offset {letters[0].offset}: {letters[0].reason}" if letters else ""
            with self._lock:
                self._unusable[path, start, end] = Unusable(len(letters), example, expired)
                while len(self._unusable) > _REMEMBERED:
                    self._unusable.popitem(last=False)

    def _parsed(
        self, partition: int, start: int, end: int
    ) -> Iterator[tuple[list[Any] | Gone, Future[tuple[Chunk, Bad]]]]:
        """Read offsets [start, end); while one part is taken from the connection, the one before is parsed."""
        ahead: deque[tuple[list[Any] | Gone, Future[tuple[Chunk, Bad]]]] = deque()
        for part in self._offsets.read(partition, start, end):
            ahead.append((part, self._pool.submit(self._chunk, [] if isinstance(part, Gone) else part)))
            if len(ahead) > 1:
                yield ahead.popleft()
        yield from ahead

    def _lost(self, path: str, gone: Gone) -> int:
        what = f"{path}: offsets {gone.start} to {gone.end - 1} were deleted before they were used"
        if self.topic.expired == "fail" or not (self._follow or self.topic.expired):
            raise DataError(f"{what}; keep records longer, or go on without them: expired=tell in the URL")
        return gone.end - gone.start

    def _chunk(self, messages: list[Any]) -> tuple[Chunk, Bad]:
        values: list[bytes | None] = [message.value() for message in messages]
        if self.topic.format != "bytes":
            arrays, places, bad = self._parse(values)
        else:
            bad = [(n, "it has no value") for n, value in enumerate(values) if value is None]
            places = np.array([n for n, value in enumerate(values) if value is not None], np.int64)
            there = [value for value in values if value is not None]
            if self.form == "bytes":
                return _records(there), bad
            arrays = [pa.array(there, pa.binary())]
        chosen = messages if len(places) == len(messages) else [messages[n] for n in places.tolist()]
        if self.topic.key:
            arrays.append(pa.array([message.key() or b"" for message in chosen], pa.binary()))
        if self.topic.timestamp:
            arrays.append(pa.array([message.timestamp()[1] for message in chosen], pa.int64()))
        names = [one.name for one in self._columns]
        arrays = [normalise(array, one) for array, one in zip(arrays, self._columns, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, names), bad

    def unusable(self, ranges: Sequence[tuple[str, int, int]]) -> Unusable:
        """Return what could not be used of ranges that were read."""
        with self._lock:
            found = [self._unusable[one] for one in ranges if one in self._unusable]
        example = next((one.example for one in found if one.example), "")
        return Unusable(sum(one.malformed for one in found), example, sum(one.expired for one in found))


def _records(values: list[bytes]) -> Records:
    ends = np.cumsum([len(value) for value in values], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends
    return Records(b"".join(values), starts, ends)


def _letter(message: Any, reason: str) -> deadletters.Letter:
    return deadletters.Letter(message.offset(), message.timestamp()[1], message.key(), message.value(), reason)


def open_topic(
    paths: Sequence[str], params: Mapping[str, Any], option: str, beside: Path | None, *, follow: bool,
    columns: Callable[[Mapping[str, Any]], list[str] | None],
) -> TopicReader:  # fmt: skip
    """Return the reader of the topic that an option names; raise OptionError if the URL or a parameter is wrong."""
    topic = parse(paths, option)
    library()
    for name in params:
        if name != "columns" or topic.format == "bytes":
            what = f"{name} is not a parameter of records of a topic in the format {topic.format}"
            raise OptionError("data_reader_params", what + did_you_mean(name, ["columns"]))
    return TopicReader(topic, columns(params) or (), beside, option, follow=follow)
