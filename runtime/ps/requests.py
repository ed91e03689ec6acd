"""The requests of workers to a server: the `meta` and arrays of each request and of its answer.

Pure: requests go in, answers come out; all calls to `Answers` come from one thread.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.effects import TaskPart
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.mapped.form import STORED, Part
from elasticdl_nb.runtime.parameters.store import PushResult
from elasticdl_nb.runtime.parameters.table import RowBlock, TableSpec
from elasticdl_nb.runtime.ps.limits import ModelSize
from elasticdl_nb.runtime.ps.wire import Kind, Limits, Message, Piece, WireError

Content = tuple[dict[str, Any], list[Piece]]

ANY_VERSION = 1 << 62
"""Marks gradients that a server must take however old they are, because another server has decided."""

_OPEN_EXPORTS = 16


class _Reader:
    """Parses a message, checking types."""

    def __init__(self, meta: Mapping[str, Any], arrays: Iterator[Piece]) -> None:
        self._meta, self._arrays = meta, arrays

    def get(self, name: str, kind: type[Any] | tuple[type[Any], ...]) -> Any:
        value = self._meta.get(name)
        if not isinstance(value, kind):
            raise WireError(f"{name}={str(value)[:80]!r}")
        return value

    def number(self, name: str) -> int:
        value = self.get(name, int)
        if not 0 <= value <= ANY_VERSION:
            raise WireError(f"{name}={value}")
        return int(value)

    def names(self, name: str) -> list[str]:
        values = self.get(name, list)
        if not all(isinstance(value, str) for value in values) or len(set(values)) < len(values):
            raise WireError(f"{name} must be different names")
        return list(values)

    def array(self) -> NDArray[Any]:
        array = next(self._arrays, None)
        if not isinstance(array, np.ndarray):
            raise WireError("fewer arrays than it names, or others")
        return array

    def records(self, name: str) -> TaskPart | None:
        """Return the records of a task that the message names."""
        values = self.get(name, (list, type(None)))
        if values is None:
            return None
        numbers = all(type(one) is int and 0 <= one <= ANY_VERSION for one in values)
        if len(values) != len(TaskPart._fields) or not numbers:
            raise WireError(f"{name}={str(values)[:80]!r}")
        return TaskPart(*values)

    def part(self, name: str) -> _Reader | None:
        """Return a reader for a part of the message, or None if it is absent; its arrays come next."""
        meta = self.get(name, (dict, type(None)))
        return None if meta is None else _Reader(meta, self._arrays)

    def named(self, name: str) -> dict[str, NDArray[Any]]:
        return {key: self.array() for key in self.names(name)}

    def slices(self, name: str) -> dict[str, NDArray[Any]]:
        keys = self.names(name)
        return _apart(keys, next(self._arrays, None)) if keys else {}


_READ: dict[Any, Callable[[_Reader, str], Any]] = {
    int: _Reader.number,
    bool: lambda asked, name: asked.get(name, bool),
    str: lambda asked, name: asked.get(name, str),
    TaskPart | None: _Reader.records,
    float | None: lambda asked, name: asked.get(name, (int, float, type(None))),
}
_ARRAYS = ("dense", "rows", "sizes", "counts")
_PLAIN = {name: _READ[kind] for name, kind in get_type_hints(Push).items() if name not in _ARRAYS}
"""How to read each plain field of a push, by its type."""


# ------------------------------------------------------------ asking


def announce(size: ModelSize) -> Content:
    """ANNOUNCE: answered with `address`, where large messages may go, and the `Limits` there."""
    return asdict(size), []


def initialize(
    optimizer: Mapping[str, Any], dense: Mapping[str, Array], tables: Sequence[TableSpec], server: int, servers: int
) -> Content:
    """INITIALIZE: answered with `dense`, the keys of the slices whose values follow, and `version`."""
    specs = [spec.to_json() for spec in tables]
    meta = {"optimizer": dict(optimizer), "tables": specs, "server": server, "servers": servers, "dense": list(dense)}
    return meta, list(dense.values())


def step(request: StepRequest) -> Content:
    """STEP: answered with the push's result, the rows in the order of `lookup`, as held, then the slices of `dense`."""
    push, lookup = request.push, request.lookup
    meta: dict[str, Any] = {"push": None, "lookup": list(lookup), "create": request.create, "pull": request.pull}
    arrays: list[Piece] = []
    if push is not None:
        plain = {name: getattr(push, name) for name in _PLAIN}
        meta["push"] = {**plain, **{name: list(getattr(push, name)) for name in _ARRAYS}}
        arrays = [*_together(push.dense), *(array for pair in push.rows.values() for array in pair)]
        arrays += [*_together(push.sizes), *push.counts.values()]
    return meta, [*arrays, *lookup.values()]


def _read_step(asked: _Reader) -> StepRequest:
    return StepRequest(
        push=None if (push := asked.part("push")) is None else _read_push(push),
        lookup=asked.named("lookup"), create=asked.get("create", bool), pull=asked.get("pull", bool),
    )  # fmt: skip


def _read_push(asked: _Reader) -> Push:
    dense = asked.slices("dense")
    rows = {table: (asked.array(), asked.array()) for table in asked.names("rows")}
    sizes, counts = asked.slices("sizes"), asked.named("counts")
    return Push(dense, rows, sizes=sizes, counts=counts, **{name: read(asked, name) for name, read in _PLAIN.items()})


def assign(values: Mapping[str, Array]) -> Content:
    """ASSIGN: answered with nothing."""
    return {"dense": list(values)}, list(values.values())


def export(table: str, number: int = 0) -> Content:
    """EXPORT: the first block (number 0), or the next of an export.

    Answered with `export`, its number, and a block: ids, rows; no arrays when there are no more.
    """
    return {"table": table, "export": number}, []


def write(table: str, stem: str, dtype: str, number: int = 0) -> Content:
    """WRITE: the first block of a table's files (number 0), or the next.

    Answered with `write`, its number, and `part`: null until all is written, and then the part as JSON values. A server
    writes only when asked to, so a worker that dies leaves nothing that goes on without it.
    """
    return {"table": table, "stem": stem, "dtype": dtype, "write": number}, []


def position(epoch: int, index: int) -> Content:
    """POSITION: answered with `position`, the number of records of a task that have taken effect; None if complete."""
    return {"epoch": epoch, "index": index}, []


def share(offer: Mapping[str, Any]) -> Content:
    """SHARE: memory that a worker offers (`segment`). Answered with `segment`, its number, or 0 if it is no use."""
    return dict(offer), []


# ------------------------------------------------------------ answering


class Answers:
    """Answers requests from a store.

    `announced` makes room for a model's messages, and returns what to answer. `opened` opens the memory that a worker
    offers, and returns its number.
    """

    def __init__(
        self,
        service: StoreService,
        announced: Callable[[ModelSize], dict[str, Any]],
        opened: Callable[[Mapping[str, Any]], int] = lambda offer: 0,
    ) -> None:
        self._service, self._announced, self._opened = service, announced, opened
        self._exports: dict[int, tuple[int, Iterator[RowBlock]]] = {}
        self._numbers = itertools.count(1)
        self._writing: tuple[int, int, Iterator[Part | None]] = (0, 0, iter(()))
        self._answers: dict[Kind, Callable[[_Reader], Content]] = {
            Kind.ANNOUNCE: self._announce,
            Kind.SHARE: self._share,
            Kind.INITIALIZE: self._initialize,
            Kind.STEP: self._step,
            Kind.ASSIGN: self._assign,
            Kind.EXPORT: self._export,
            Kind.WRITE: self._write,
            Kind.SETTLE: self._settle,
            Kind.STATUS: self._status,
            Kind.POSITION: self._position,
        }

    def answer(self, message: Message) -> Content:
        """Return the answer; raises DataError and ModelError as the store does, and WireError for a bad request."""
        answer = self._answers.get(message.kind)
        if answer is None:
            raise WireError(f"{message.kind.name} is not a request")
        return answer(_Reader(message.meta, iter(message.arrays)))

    def _announce(self, asked: _Reader) -> Content:
        size = ModelSize(**{field.name: asked.number(field.name) for field in fields(ModelSize)})
        return self._announced(size), []

    def _share(self, asked: _Reader) -> Content:
        offer = {"process": asked.number("process"), "file": asked.number("file"), "secret": asked.get("secret", str)}
        return {"segment": self._opened(offer)}, []

    def _initialize(self, asked: _Reader) -> Content:
        place = asked.number("server"), asked.number("servers")
        if place != (self._service.server, self._service.servers):
            mine = f"{self._service.server} of {self._service.servers}"
            raise WireError(f"a request for server {place[0]} of {place[1]}; this is {mine}")
        try:
            tables = [TableSpec.from_json(spec) for spec in asked.get("tables", list)]
        except TypeError as error:
            raise WireError(str(error)) from None
        store = self._service.initialize(asked.get("optimizer", dict), asked.named("dense"), tables)
        return _dense({"version": store.version}, store.values(), [])

    def _step(self, asked: _Reader) -> Content:
        store = self._service.store
        request = _read_step(asked)
        done = PushResult(True, store.version) if request.push is None else store.push(request.push)
        found = [store.lookup(table, ids, create=request.create, held=True) for table, ids in request.lookup.items()]
        meta = {"accepted": done.accepted, "reason": done.reason, "version": done.version, "gap": done.gap}
        return _dense(meta, store.values() if request.pull else {}, found)

    def _assign(self, asked: _Reader) -> Content:
        self._service.store.assign(asked.named("dense"))
        return {}, []

    def _export(self, asked: _Reader) -> Content:
        number = asked.number("export")
        if not number:
            number = next(self._numbers)
            self._exports[number] = (self._service.generation, self._service.store.export(asked.get("table", str)))
            self._forget_exports()
        _, blocks = self._exports.get(number, (0, iter(())))
        block = next(blocks, None)
        if block is None:
            self._exports.pop(number, None)
            return {"export": number}, []
        return {"export": number}, [block.ids, block.weights]

    def _write(self, asked: _Reader) -> Content:
        number = asked.number("write")
        if not number:
            number = next(self._numbers)
            dtype, stem = asked.get("dtype", str), Path(asked.get("stem", str))
            if dtype not in STORED or not stem.is_absolute():
                raise WireError(f"a table as {dtype[:80]!r} at {os.fspath(stem)[:80]!r}")
            self._writing = (
                number,
                self._service.generation,
                self._service.store.write(asked.get("table", str), stem, dtype),
            )
        current, generation, steps = self._writing
        if (number, self._service.generation) != (current, generation):
            raise DataError("a table is written for another worker")
        part = next(steps)
        return {"write": number, "part": None if part is None else part.to_json()}, []

    def _forget_exports(self) -> None:
        """Drop exports of earlier generations, and the oldest ones if readers left without reading to the end."""
        current = [number for number, (made, _) in self._exports.items() if made == self._service.generation]
        self._exports = {number: self._exports[number] for number in current[-_OPEN_EXPORTS:]}

    def _settle(self, asked: _Reader) -> Content:
        return {"version": self._service.store.flush()}, []

    def _position(self, asked: _Reader) -> Content:
        return {"position": self._service.store.effects.position(asked.number("epoch"), asked.number("index"))}, []

    def _status(self, asked: _Reader) -> Content:
        meta: dict[str, Any] = {"generation": self._service.generation, "declared": self._service.declared}
        if self._service.declared:
            store = self._service.store
            meta["version"] = store.version
            meta["tables"] = {name: [len(table), table.nbytes] for name, table in store.tables.items()}
        return meta, []


def _dense(meta: dict[str, Any], dense: Mapping[str, Array], first: Sequence[NDArray[Any]]) -> Content:
    return {**meta, "dense": list(dense)}, [*first, *_together(dense)]


def _together(slices: Mapping[str, Array]) -> list[Piece]:
    """Slices next to each other, if there are any: what an array costs would be most of the cost of a small one."""
    return [[*slices.values()]] if slices else []


def _apart(keys: Sequence[str], together: Piece | None) -> dict[str, NDArray[Any]]:
    if not isinstance(together, list) or len(together) != len(keys):
        raise WireError("other slices than it names")
    return dict(zip(keys, together, strict=True))


def read_dense(answer: Message, first: int = 0) -> dict[str, Array]:
    """Return the slices in an answer by key; they come after `first` other arrays."""
    keys = answer.meta["dense"]
    return _apart(keys, answer.arrays[first]) if keys else {}


def read_limits(answer: Message) -> Limits:
    """Return the limits in the answer to an announcement."""
    return Limits(**{field.name: answer.meta[field.name] for field in fields(Limits)})
