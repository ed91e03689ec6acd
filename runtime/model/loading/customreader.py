"""A model's `custom_data_reader`: the user's own reader behind the interface of all readers.

The user's object lists shards, `create_shards() -> {name: (start, count)}` or `[(name, start, end)]`, and yields their
records one by one, `read_records(task)`. Its code runs in a thread of its own, as database connections often require.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

from elasticdl_nb.runtime.data.chunks import Chunk, FileRecords, Metadata, Records
from elasticdl_nb.runtime.data.reader import Form
from elasticdl_nb.runtime.errors import DataError, ModelError, OptionError, did_you_mean
from elasticdl_nb.runtime.model.loading.calls import takes_by_name
from elasticdl_nb.runtime.model.loading.modules import user_code

CHUNK_RECORDS = 2048
CHUNK_BYTES = 1 << 20

_METHODS = ("create_shards", "read_records")
_END = object()


@dataclass(frozen=True)
class ShardTask:
    """What `read_records` has to read: records [start, end) of a shard, as the shard numbers them."""

    shard_name: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """The shard's name."""
        return self.shard_name

    @property
    def shard(self) -> ShardTask:
        """The task itself, for readers that use `task.shard.name`, `task.shard.start` and `task.shard.end`."""
        return self


class CustomReader:
    """A `Reader` over the user's reader. A record is text or bytes, or a list of these (one per column)."""

    def __init__(
        self, make: Any, where: str, root: str, data: Sequence[str], params: Mapping[str, Any], records_per_task: int
    ) -> None:
        """Call the user's function `make`, found at `where` in the zoo at `root`, and look at its first record.

        It gets the only item of `data` or a list of them, `records_per_task` if it takes that, and `params`. Raises
        ModelError if the user's code fails or does not follow the contract, OptionError for a parameter that it does
        not take, and DataError if there are no records.
        """
        self._where, self._root = where, root
        self._thread = ThreadPoolExecutor(1, "custom_data_reader")
        self._reader = self._thread.submit(self._make, make, data, params, records_per_task).result()
        self._shards = self._thread.submit(self._list_shards).result()
        self.form: Form = "bytes"
        self.metadata = Metadata()
        self._thread.submit(self._look_at_first).result()

    # ------------------------------------------------------------ the interface of readers

    def check(self) -> None:
        """Do nothing: everything has been checked already."""

    def files(self) -> list[FileRecords]:
        """Return the shards, each with its number of records and the number of its first one."""
        return list(self._shards)

    def read(self, path: str, start: int, end: int) -> Iterator[Chunk]:
        """Read records [start, end) of a shard; raises ModelError if the user's code fails or yields others."""
        chunks = self._chunks(ShardTask(path, start, end))
        try:
            while (chunk := self._thread.submit(next, chunks, None).result()) is not None:
                yield chunk
        finally:
            with contextlib.suppress(RuntimeError):  # at the interpreter's end
                self._thread.submit(chunks.close)

    # ------------------------------------------------------------ the user's code; all of it runs in `_thread`

    def _make(self, make: Any, data: Sequence[str], params: Mapping[str, Any], records_per_task: int) -> Any:
        if not callable(make):
            raise ModelError(f"{self._where} is a {type(make).__name__}, not a function that returns a reader")
        arguments = {**self._records_per_task(make, params, records_per_task), **params}
        with user_code(self._where, self._root):
            reader = make(data[0] if len(data) == 1 else list(data), **arguments)
        missing = [name for name in _METHODS if not callable(getattr(reader, name, None))]
        if missing:
            raise ModelError(f"{self._where} returned a {type(reader).__name__}, which has no method {missing[0]}()")
        return reader

    def _records_per_task(
        self, make: Callable[..., Any], params: Mapping[str, Any], records_per_task: int
    ) -> dict[str, int]:
        names, any_other = takes_by_name(make)
        for name in params:
            if name not in names and not any_other:
                raise OptionError(
                    "data_reader_params", f"{name} is not a parameter of {self._where}.{did_you_mean(name, names)}"
                )
        return {"records_per_task": records_per_task} if any_other or "records_per_task" in names else {}

    def _list_shards(self) -> list[FileRecords]:
        where = f"{self._where}: create_shards()"
        with user_code(where, self._root):
            given = self._reader.create_shards()
            shards = list(given.items() if isinstance(given, Mapping) else given or ())
        try:
            found = [_from_dict(*shard) if isinstance(given, Mapping) else _from_list(*shard) for shard in shards]
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{where} must return a dict {{name: (start, count)}} or a list of (name, start, end); it returned "
                f"{_shown(given)}: {error}"
            ) from None
        found = [shard for shard in found if shard.records]
        if not found:
            raise DataError(f"{where} listed no records; it returned {_shown(given)}")
        return found

    def _look_at_first(self) -> None:
        types = self._attribute("records_output_types")
        if types is not None and getattr(types, "name", types) not in ("string", "str", str, bytes):
            raise ModelError(
                f"{self._where}: records_output_types is {types!r}; expected strings (tf.string) or lists of them"
            )
        shard = self._shards[0]
        task = ShardTask(shard.path, shard.start, shard.start + 1)
        with user_code(self._doing(task), self._root):
            record = next(iter(self._reader.read_records(task)), _END)
        if record is _END:
            raise DataError(f"{self._doing(task)} yielded no record, although create_shards() lists one")
        names = [str(name) for name in getattr(self._attribute("metadata"), "column_names", None) or ()]
        if isinstance(record, (list, tuple)):
            self.form = "strings"
            names = names or [f"column_{number}" for number in range(len(record))]
        self.metadata = Metadata(names, dict.fromkeys(names, "string") if self.form == "strings" else {})
        self._chunk([record], task)

    def _attribute(self, name: str) -> Any:
        with user_code(f"{self._where}: {name}", self._root):
            value = getattr(self._reader, name, None)
            return value() if callable(value) and not isinstance(value, type) else value

    def _chunks(self, task: ShardTask) -> Generator[Chunk, None, None]:
        left = task.end - task.start
        with user_code(self._doing(task), self._root):
            records = iter(self._reader.read_records(task))
        while left:
            some = self._take(records, left, task)
            if not some:
                raise ModelError(f"{self._doing(task)} yielded only {task.end - task.start - left} records")
            left -= len(some)
            yield self._chunk(some, task)
        with user_code(self._doing(task), self._root):
            if next(records, _END) is not _END:
                raise ModelError(
                    f"{self._doing(task)} yielded more than {task.end - task.start} records; it must stop at the "
                    "task's end, as other tasks read the rest"
                )

    def _take(self, records: Iterator[Any], most: int, task: ShardTask) -> list[Any]:
        taken: list[Any] = []
        size, most = 0, min(most, CHUNK_RECORDS)
        with user_code(self._doing(task), self._root):
            for record in records:
                taken.append(record)
                size += len(record) if isinstance(record, (str, bytes)) else 0
                if len(taken) >= most or size >= CHUNK_BYTES:
                    break
        return taken

    def _doing(self, task: ShardTask) -> str:
        return f"{self._where}: read_records() of {task.name!r} from {task.start} to {task.end}"

    # ------------------------------------------------------------ records to chunks

    def _chunk(self, records: list[Any], task: ShardTask) -> Chunk:
        if self.form == "bytes":
            self._check_types(records, (str, bytes), task, "a record")
            return _joined(_encoded(records))
        self._check_types(records, (list, tuple), task, "a record")
        width = len(self.metadata.column_names)
        for record in records:
            if len(record) != width:
                raise ModelError(f"{self._doing(task)} yielded a record with {len(record)} values instead of {width}")
        columns = list(zip(*records, strict=True))
        for name, column in zip(self.metadata.column_names, columns, strict=True):
            self._check_types(column, (str, bytes), task, f"{name!r} of a record")
        arrays = [pa.array(_encoded(column), pa.binary()) for column in columns]
        return pa.RecordBatch.from_arrays(arrays, self.metadata.column_names)

    def _check_types(self, values: Iterable[Any], wanted: tuple[type, ...], task: ShardTask, what: str) -> None:
        for kind in set(map(type, values)):
            if not issubclass(kind, wanted):
                raise ModelError(
                    f"{self._doing(task)} yielded {_type_name(kind)} for {what}; either all records must be str or "
                    "bytes, or all must be lists of str or bytes"
                )


def _from_dict(name: str, span: Sequence[int]) -> FileRecords:
    start, count = span
    return _shard(name, operator.index(start), operator.index(count))


def _from_list(name: str, start: int, end: int) -> FileRecords:
    return _shard(name, operator.index(start), operator.index(end) - operator.index(start))


def _shard(name: str, start: int, count: int) -> FileRecords:
    if not isinstance(name, str):
        raise TypeError(f"the name {name!r} is not a string")
    if start < 0 or count < 0:
        raise ValueError(f"{name!r} starts at {start} and has {count} records")
    return FileRecords(name, count, start)


def _encoded(values: Iterable[str | bytes]) -> list[bytes]:
    return [value.encode() if isinstance(value, str) else value for value in values]


def _joined(records: list[bytes]) -> Records:
    ends = np.fromiter(accumulate(map(len, records)), np.int64, len(records))
    return Records(b"".join(records), np.concatenate([[0], ends[:-1]]).astype(np.int64), ends)


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
