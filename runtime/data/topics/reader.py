"""A `Reader` of a topic's partitions: what `reader.open_reader` returns for kafka:// URLs."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elasticdl_nb.runtime.data.chunks import Chunk, FileRecords, Metadata, Records
from elasticdl_nb.runtime.data.columntypes import STRING, Column, normalise
from elasticdl_nb.runtime.data.listing import kept_text
from elasticdl_nb.runtime.data.topics import deadletters, eventtime
from elasticdl_nb.runtime.data.topics.address import Topic, parse
from elasticdl_nb.runtime.data.topics.client import Client, library
from elasticdl_nb.runtime.data.topics.identity import fingerprint
from elasticdl_nb.runtime.data.topics.names import partition_of
from elasticdl_nb.runtime.data.topics.offsets import Gone, Offsets, Tell
from elasticdl_nb.runtime.data.topics.parsing import Bad, Parse, example_parser, json_parser
from elasticdl_nb.runtime.data.topics.schema import SAMPLE, Field, fields_of_examples, fields_of_json, metadata
from elasticdl_nb.runtime.errors import DataError, OptionError, did_you_mean

logger = logging.getLogger(__name__)

_VALUE = "value"
_REMEMBERED = 256
"""Ranges of which it is known what became of their records."""


@dataclass(frozen=True)
class Last:
    """The last of the records that were read of a range of offsets which ends at `end`.

    `event_time` is that of the last one that can be used, in milliseconds since 1970; None if none can.
    """

    path: str
    end: int
    offset: int
    fingerprint: str
    event_time: int | None


@dataclass(frozen=True)
class Account:
    """Of a range of offsets: how many records could not be used, one of them, and how many offsets were gone.

    Also how many came late, one of them, how many of these are passed over, and the last record that was read.
    """

    malformed: int = 0
    example: str = ""
    expired: int = 0
    late: int = 0
    late_example: str = ""
    late_passed: int = 0
    last: Last | None = None


@dataclass(frozen=True)
class _Parsed:
    """Some records: what can be used of them, what cannot, what is late, and the last event time of what can."""

    chunk: Chunk
    bad: Bad
    late: Bad = field(default_factory=list)
    event_time: int | None = None


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
        self._accounts: OrderedDict[tuple[str, int, int], Account] = OrderedDict()

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
        fields = find(values, self._wanted, self.topic.url)
        if self._hides_event_time:
            with contextlib.suppress(OptionError):  # there is no such field
                fields += find(values, [self.topic.event_time], self.topic.url)
        if self.topic.event_time and all(one.column.name != self.topic.event_time for one in fields):
            what = f"event_time={self.topic.event_time}: none of the first {len(values)} records has such a field"
            raise DataError(f"{self.topic.url}: {what}")
        return fields

    @property
    def _hides_event_time(self) -> bool:
        """Whether the field with the event's time is read, but is no column."""
        return bool(self._wanted and self.topic.event_time and self.topic.event_time not in self._wanted)

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
        fields = self.known.fields[:-1] if self._hides_event_time else self.known.fields
        return [*(one.column for one in fields), *self._added]

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
        for known in self.known.fields:
            if known.column.name == self.topic.event_time:
                eventtime.check_column(known.column, is_bool=known.is_bool, where=self.topic.url)
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
        unusable: list[deadletters.Letter] = []
        late: list[deadletters.Letter] = []
        expired, last, event_time = 0, None, None
        for part, future in self._parsed(partition, start, end):
            if isinstance(part, Gone):
                expired += self._lost(path, part)
                continue
            parsed = future.result()
            unusable += [_letter(part[place], reason) for place, reason in sorted(parsed.bad)]
            late += [_letter(part[place], reason) for place, reason in parsed.late]
            last = part[-1] if part else last
            event_time = event_time if parsed.event_time is None else parsed.event_time
            if len(parsed.chunk):
                yield parsed.chunk
        passes = self.topic.late_action == "pass"
        letters = sorted([*unusable, *late]) if passes else unusable
        if letters and self.topic.dead_letters:
            deadletters.write(self.topic.dead_letters, self.topic.name, partition, start, end, letters)
        account = Account(
            len(unusable), _example(path, unusable), expired, len(late), _example(path, late),
            len(late) if passes else 0,
            last and Last(path, end, last.offset(), fingerprint(last), event_time),
        )  # fmt: skip
        with self._lock:
            self._accounts[path, start, end] = account
            self._accounts.move_to_end((path, start, end))
            while len(self._accounts) > _REMEMBERED:
                self._accounts.popitem(last=False)

    def _parsed(self, partition: int, start: int, end: int) -> Iterator[tuple[list[Any] | Gone, Future[_Parsed]]]:
        """Read offsets [start, end); while one part is taken from the connection, the one before is parsed."""
        ahead: deque[tuple[list[Any] | Gone, Future[_Parsed]]] = deque()
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

    def _chunk(self, messages: list[Any]) -> _Parsed:
        values: list[bytes | None] = [message.value() for message in messages]
        if self.topic.format != "bytes":
            arrays, places, bad = self._parse(values)
        else:
            bad = [(n, "it has no value") for n, value in enumerate(values) if value is None]
            places = np.array([n for n, value in enumerate(values) if value is not None], np.int64)
            there = [value for value in values if value is not None]
            if self.form == "bytes":
                return _Parsed(_records(there), bad, event_time=_came(messages, places))
            arrays = [pa.array(there, pa.binary())]
        late: Bad = []
        event_time = _came(messages, places)
        if self.topic.event_time:
            arrays, places, late, event_time = self._in_time(messages, arrays, places, bad)
        chosen = messages if len(places) == len(messages) else [messages[n] for n in places.tolist()]
        if self.topic.key:
            arrays.append(pa.array([message.key() or b"" for message in chosen], pa.binary()))
        if self.topic.timestamp:
            arrays.append(pa.array([message.timestamp()[1] for message in chosen], pa.int64()))
        names = [one.name for one in self._columns]
        arrays = [normalise(array, one) for array, one in zip(arrays, self._columns, strict=True)]
        return _Parsed(pa.RecordBatch.from_arrays(arrays, names), bad, late, event_time)

    def _in_time(
        self, messages: list[Any], arrays: list[pa.Array], places: NDArray[np.int64], bad: Bad
    ) -> tuple[list[pa.Array], NDArray[np.int64], Bad, int | None]:
        """Look at event times: sort out what has none, which is `bad` then, and what is late, if that is not used.

        Returns the columns and places that are left, what is late, and the last event time of what is left.
        """
        topic = self.topic
        found = [one.column.name for one in self.known.fields].index(topic.event_time)
        times = eventtime.times(arrays[found], topic.event_time_unit or "ms")
        keep = times != eventtime.NEVER
        bad += [(int(place), f"field {topic.event_time!r} says no time") for place in places[~keep]]
        late: Bad = []
        if topic.late:
            came = np.array([messages[place].timestamp()[1] for place in places.tolist()], np.int64)
            is_late = keep & (came - times > topic.late_after)
            late = [(int(places[n]), eventtime.why_late(int(times[n]), int(came[n]))) for n in np.flatnonzero(is_late)]
            if topic.late_action == "pass":
                keep &= ~is_late
        if self._hides_event_time:
            arrays = arrays[:-1]
        if not keep.all():
            chosen = pa.array(np.flatnonzero(keep))
            arrays, places, times = [array.take(chosen) for array in arrays], places[keep], times[keep]
        return arrays, places, late, int(times[-1]) if len(times) else None

    def account(self, ranges: Sequence[tuple[str, int, int]]) -> Account:
        """Return what became of ranges that were read."""
        with self._lock:
            found = [self._accounts[one] for one in ranges if one in self._accounts]
        return Account(
            sum(one.malformed for one in found),
            next((one.example for one in found if one.example), ""),
            sum(one.expired for one in found),
            sum(one.late for one in found),
            next((one.late_example for one in found if one.late_example), ""),
            sum(one.late_passed for one in found),
            next((one.last for one in reversed(found) if one.last), None),
        )


def _came(messages: list[Any], places: NDArray[np.int64]) -> int | None:
    """Return Kafka's timestamp of the last of these messages that can be used."""
    if not len(places):
        return None
    kind, milliseconds = messages[int(places[-1])].timestamp()
    return int(milliseconds) if kind else None


def _example(path: str, letters: Sequence[deadletters.Letter]) -> str:
    return f"{path}, offset {letters[0].offset}: {letters[0].reason}" if letters else ""


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
