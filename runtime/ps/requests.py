"""What workers ask of a server: each request's `meta` and arrays, as they are made and as they are answered.

Pure: requests in, answers out; all calls to `Answers` come from one thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.api import Array, RowGradients
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.rows.kernels import Ids
from elasticdl_nb.runtime.parameters.store import Gradients
from elasticdl_nb.runtime.parameters.table import RowBlock, TableSpec
from elasticdl_nb.runtime.ps.wire import Kind, Message, WireError

Content = tuple[dict[str, Any], list[NDArray[Any]]]
T = TypeVar("T")

ANY_VERSION = 1 << 62
"""The version of gradients that a server shall take however old they are: another server has decided."""

_OPEN_EXPORTS = 16


# ------------------------------------------------------------ asking


def initialize(
    optimizer: Mapping[str, Any], dense: Mapping[str, Array], tables: Sequence[TableSpec], server: int, servers: int
) -> Content:
    """INITIALIZE: answered with `dense`, the keys of the slices whose values follow, and `version`."""
    specs = [spec.to_json() for spec in tables]
    meta = {"optimizer": dict(optimizer), "tables": specs, "server": server, "servers": servers, "dense": list(dense)}
    return meta, list(dense.values())


def step(
    push: Gradients | None = None,
    *,
    version: int = 0,
    learning_rate: float | None = None,
    source: str = "",
    sequence: int = 0,
    lookup: Mapping[str, Ids] | None = None,
    create: bool = True,
    pull: bool = False,
) -> Content:
    """STEP: push, then look up, then pull, each only if wanted.

    Answered with `accepted`, `reason`, `version`; the rows in the order of `lookup`; and the slices of `dense`.
    """
    dense, rows, wanted = push.dense if push else {}, push.rows if push else {}, lookup or {}
    meta = {
        "push": push is not None, "version": version, "rate": learning_rate, "source": source, "sequence": sequence,
        "dense": list(dense), "rows": list(rows), "lookup": list(wanted), "create": create, "pull": pull,
    }  # fmt: skip
    pairs: list[NDArray[Any]] = [array for pair in rows.values() for array in pair]
    return meta, [*dense.values(), *pairs, *wanted.values()]


def assign(values: Mapping[str, Array]) -> Content:
    """ASSIGN: answered with nothing."""
    return {"dense": list(values)}, list(values.values())


def export(table: str, number: int = 0) -> Content:
    """EXPORT: the first block (number 0), or the next of an export.

    Answered with `export`, its number, and a block: ids, rows; no arrays when there are no more.
    """
    return {"table": table, "export": number}, []


# ------------------------------------------------------------ answering


class Answers:
    """Answers requests out of a store."""

    def __init__(self, service: StoreService) -> None:
        self._service = service
        self._exports: dict[int, tuple[int, Iterator[RowBlock]]] = {}
        self._numbers = itertools.count(1)
        self._answers: dict[Kind, Callable[[_Reader], Content]] = {
            Kind.INITIALIZE: self._initialize,
            Kind.STEP: self._step,
            Kind.ASSIGN: self._assign,
            Kind.EXPORT: self._export,
            Kind.SETTLE: self._settle,
            Kind.STATUS: self._status,
        }

    def answer(self, message: Message) -> Content:
        """Return the answer; raises DataError and ModelError as the store does, and WireError for nonsense."""
        answer = self._answers.get(message.kind)
        if answer is None:
            raise WireError(f"{message.kind.name} is not a request")
        return answer(_Reader(message))

    def _initialize(self, asked: _Reader) -> Content:
        place = asked.number("server"), asked.number("servers")
        if place != (self._service.server, self._service.servers):
            mine = f"{self._service.server} of {self._service.servers}"
            raise WireError(f"a request for server {place[0]} of {place[1]}; this is {mine}")
        try:
            tables = [TableSpec(**spec) for spec in asked.get("tables", list)]
        except TypeError as error:
            raise WireError(str(error)) from None
        store = self._service.initialize(asked.get("optimizer", dict), asked.named("dense"), tables)
        return _dense({"version": store.version}, store.pull(), [])

    def _step(self, asked: _Reader) -> Content:
        store = self._service.store
        meta: dict[str, Any] = {"accepted": True, "reason": "", "version": store.version}
        dense = asked.named("dense")
        rows: RowGradients = {table: (asked.array(), asked.array()) for table in asked.names("rows")}
        lookup = asked.named("lookup")
        if asked.get("push", bool):
            rate = asked.get("rate", (int, float, type(None)))
            result = store.push(
                Gradients(dense, rows), asked.number("version"),
                learning_rate=rate, source=asked.get("source", str), sequence=asked.number("sequence"),
            )  # fmt: skip
            meta = {"accepted": result.accepted, "reason": result.reason, "version": result.version}
        create = asked.get("create", bool)
        found = [store.lookup(table, ids, create=create) for table, ids in lookup.items()]
        return _dense(meta, store.pull() if asked.get("pull", bool) else {}, found)

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

    def _forget_exports(self) -> None:
        """Drop those of earlier generations, and the oldest where readers went away without reading to the end."""
        current = [number for number, (made, _) in self._exports.items() if made == self._service.generation]
        self._exports = {number: self._exports[number] for number in current[-_OPEN_EXPORTS:]}

    def _settle(self, asked: _Reader) -> Content:
        return {"version": self._service.store.flush()}, []

    def _status(self, asked: _Reader) -> Content:
        meta: dict[str, Any] = {"generation": self._service.generation, "declared": self._service.declared}
        if self._service.declared:
            store = self._service.store
            meta["version"] = store.version
            meta["tables"] = {name: [len(table), table.nbytes] for name, table in store.tables.items()}
        return meta, []


def _dense(meta: dict[str, Any], dense: Mapping[str, Array], first: list[NDArray[Any]]) -> Content:
    return {**meta, "dense": list(dense)}, [*first, *dense.values()]


class _Reader:
    """Takes a message apart, with types checked."""

    def __init__(self, message: Message) -> None:
        self._meta = message.meta
        self._arrays = iter(message.arrays)

    def get(self, name: str, kind: type[T] | tuple[type[Any], ...]) -> Any:
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
        if array is None:
            raise WireError("fewer arrays than it names")
        return array

    def named(self, name: str) -> dict[str, NDArray[Any]]:
        return {key: self.array() for key in self.names(name)}


def read_dense(answer: Message, first: int = 0) -> dict[str, Array]:
    """Return the slices in an answer by key, which come after `first` other arrays."""
    return dict(zip(answer.meta["dense"], answer.arrays[first:], strict=True))
