"""The parameters of a model that lives on servers, for a worker."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.api import Push, ServersLost, StepRequest, StepResult
from elasticdl_nb.runtime.parameters.arrays import Array, Counts, Dense, Ids
from elasticdl_nb.runtime.parameters.mapped.form import Part
from elasticdl_nb.runtime.parameters.partition import DensePartition, split_ids
from elasticdl_nb.runtime.parameters.rows.halves import floats
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps import requests
from elasticdl_nb.runtime.ps.arena import padded
from elasticdl_nb.runtime.ps.limits import UNANNOUNCED, ModelSize
from elasticdl_nb.runtime.ps.security import is_encrypted
from elasticdl_nb.runtime.ps.segment import Segment
from elasticdl_nb.runtime.ps.transport import Awaited, Transport
from elasticdl_nb.runtime.ps.wire import Kind, Message, extent

TIMEOUT = 60.0
"""Seconds that a server may take to answer; its death is noticed at once."""

SLOW_TIMEOUT = 600.0
"""The same for requests that may have to wait while it reads a checkpoint."""

_REMEMBERED_VERSIONS = 256
T = TypeVar("T")
Places = Sequence[NDArray[np.int64]]


class ParameterClient:
    """See `ParameterServers`. Servers are at `addresses` (see `security`), in their order, all of one generation.

    `source` names this worker's process. With `synchronous`, server 0 decides whether gradients count, and the others
    follow it, so that no step counts on only some of the servers.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        token: str,
        *,
        generation: int = 0,
        source: str = "",
        synchronous: bool = False,
        timeout: float = TIMEOUT,
        shares_memory: bool = True,
    ) -> None:
        self._servers = len(addresses)
        self.addresses, self._token, self._generation = tuple(addresses), token, generation
        self._transport = Transport(addresses, token, generation, [UNANNOUNCED] * self._servers)
        self._source = source
        self._leader_first = synchronous and self._servers > 1
        self._timeout, self._shares_memory = timeout, shares_memory
        self._dims: dict[str, int] = {}
        self._dense_room = [0] * self._servers
        self._partition = DensePartition({}, self._servers)
        self._sequence = itertools.count(1)
        self._lock = threading.Lock()
        self._under_way: list[Future[StepResult]] = []
        self._versions: dict[int, tuple[int, ...]] = {}

    # ------------------------------------------------------------ see ParameterServers

    def initialize(self, optimizer: Mapping[str, Any], dense: Dense, tables: Sequence[TableSpec]) -> dict[str, Array]:
        """See `ParameterServers.initialize`."""
        self._partition = DensePartition({name: value.shape for name, value in dense.items()}, self._servers)
        parts = self._partition.split(dense)
        declared = [requests.initialize(optimizer, part, tables, i, self._servers) for i, part in enumerate(parts)]
        self._announce([ModelSize.of(meta, part, tables) for (meta, _), part in zip(declared, parts, strict=True)])
        self._dims = {table.name: table.dim for table in tables}
        self._dense_room = [extent([*part.values()]) for part in parts]
        answers = self._ask_all(Kind.INITIALIZE, declared, max(self._timeout, SLOW_TIMEOUT))
        return self._dense(answers)

    def _announce(self, sizes: Sequence[ModelSize]) -> None:
        """Tell the servers how large the model is, and go on where they take its messages."""
        answers = self._ask_all(Kind.ANNOUNCE, [requests.announce(size) for size in sizes])
        limits = [requests.read_limits(answer) for answer in answers]
        self.addresses = tuple(str(answer.meta["address"]) for answer in answers)
        self._transport.close()
        self._transport = Transport(self.addresses, self._token, self._generation, limits)
        for server, address in enumerate(self.addresses):
            if self._shares_memory and not is_encrypted(address):
                self._share(server)

    def _share(self, server: int) -> None:
        """Exchange arrays with a server on this machine through common memory, if that is possible."""
        try:
            segment = Segment()
        except (OSError, ValueError):
            return
        number = 0
        try:
            number = self._ask(server, Kind.SHARE, requests.share(segment.offer())).result().meta["segment"]
        finally:
            if not number:
                segment.close()
        if number:
            self._transport.share(server, segment, number)

    def pull(self) -> tuple[dict[str, Array], int]:
        """See `ParameterServers.pull`."""
        result = self._step(StepRequest()).result()
        return result.dense or {}, result.version

    def lookup(self, table: str, ids: Ids, *, create: bool = True) -> Array:
        """See `ParameterServers.lookup`."""
        wanted = _Wanted({table: ids}, self._servers)
        answers = self._ask_all(
            Kind.STEP, [requests.step(StepRequest(None, part, create, False)) for part in wanted.parts]
        )
        return floats(wanted.join(answers)[table])

    def step(self, request: StepRequest) -> StepResult:
        """See `ParameterServers.step`."""
        return self._step(request).result()

    def step_async(self, request: StepRequest) -> Future[StepResult]:
        """See `ParameterServers.step_async`."""
        future = self._step(request)
        with self._lock:
            # Failed ones stay for `flush` to report.
            self._under_way = [
                other for other in self._under_way if not other.done() or other.exception() is not None
            ] + [future]
        return future

    def fetch(self, lookup: Mapping[str, Ids], *, pull: bool = True) -> Future[StepResult]:
        """See `ParameterServers.fetch`."""
        return self._step(StepRequest(lookup=lookup, pull=pull))

    def flush(self) -> None:
        """See `ParameterServers.flush`."""
        with self._lock:
            under_way, self._under_way = self._under_way, []
        for future in under_way:
            future.result()

    def position(self, epoch: int, index: int) -> int | None:
        """See `ParameterServers.position`."""
        answers = self._ask_all(Kind.POSITION, [requests.position(epoch, index)] * self._servers)
        found = [answer.meta["position"] for answer in answers]
        return min((int(one) for one in found if one is not None), default=None)

    def settle(self) -> int:
        """See `ParameterServers.settle`."""
        return int(self._ask_all(Kind.SETTLE, [({}, [])] * self._servers)[0].meta["version"])

    def assign(self, values: Dense) -> None:
        """See `ParameterServers.assign`."""
        self._ask_all(Kind.ASSIGN, [requests.assign(part) for part in self._partition.split(values)])

    def export(self, table: str) -> Iterator[tuple[Ids, Array]]:
        """See `ParameterServers.export`."""
        first = self._ask_all(Kind.EXPORT, [requests.export(table)] * self._servers)
        return itertools.chain.from_iterable(self._export(i, table, answer) for i, answer in enumerate(first))

    def _export(self, server: int, table: str, answer: Message) -> Iterator[tuple[Ids, Array]]:
        while answer.arrays:
            following = self._ask(server, Kind.EXPORT, requests.export(table, answer.meta["export"]))
            yield _array(answer, 0), _array(answer, 1)
            answer = following.result()

    def count(self, table: str) -> int:
        """See `ParameterServers.count`."""
        return sum(int(one["tables"][table][0]) for one in self.status())

    def write(self, table: str, stem: Path, dtype: str) -> list[Part]:
        """See `ParameterServers.write`."""
        parts: dict[int, Part] = {}
        numbers = dict.fromkeys(range(self._servers), 0)
        while numbers:
            asked = {
                server: self._ask(
                    server, Kind.WRITE, requests.write(table, os.fspath(stem), dtype, number), SLOW_TIMEOUT
                )
                for server, number in numbers.items()
            }
            for server, future in asked.items():
                answer = future.result().meta
                numbers[server] = int(answer["write"])
                if answer["part"] is not None:
                    parts[server] = Part.from_json(answer["part"])
                    del numbers[server]
        return [parts[server] for server in range(self._servers)]

    def status(self) -> list[Mapping[str, Any]]:
        """Return each server's generation, version, and rows and bytes of each table."""
        return [answer.meta for answer in self._ask_all(Kind.STATUS, [({}, [])] * self._servers)]

    def close(self) -> None:
        """See `ParameterServers.close`."""
        self._transport.close()

    # ------------------------------------------------------------ steps

    def _step(self, request: StepRequest) -> Future[StepResult]:
        wanted = _Wanted(request.lookup, self._servers)
        push = request.push
        pushes: Sequence[Push | None] = [None] * self._servers if push is None else self._split(push)

        def ask(server: int, push: Push | None) -> Future[Message]:
            part = StepRequest(push, wanted.parts[server], request.create, request.pull)
            return self._ask(server, Kind.STEP, requests.step(part), room=self._room(server, part))

        def result(answers: Sequence[Message]) -> StepResult:
            meta = answers[0].meta
            if missing := next((answer.meta["reason"] for answer in answers if answer.meta["gap"]), ""):
                raise ServersLost(f"an earlier push was lost: {missing}")
            dense = self._dense(answers, len(wanted)) if request.pull else None
            return StepResult(meta["accepted"], self._version(answers), dense, wanted.join(answers), meta["reason"])

        if push is None or not self._leader_first:
            return _gathered(self._awaited(), [ask(server, push) for server, push in enumerate(pushes)], result)

        def follow(first: Message) -> Future[StepResult]:
            accepted = first.meta["accepted"]
            asked = [ask(server, pushes[server] if accepted else None) for server in range(1, self._servers)]
            return _gathered(self._awaited(), asked, lambda answers: result([first, *answers]))

        return _then(self._awaited(), ask(0, pushes[0]), follow)

    def _room(self, server: int, request: StepRequest) -> int:
        """Return how many bytes the arrays of an answer take."""
        rows = sum([padded(4 * len(ids) * self._dims.get(table, 0)) for table, ids in request.lookup.items()])
        return rows + (self._dense_room[server] if request.pull else 0)

    def _split(self, push: Push) -> list[Push]:
        """Return each server's part of a push, with this sender and the server's own version."""
        if self._leader_first:
            versions: tuple[int, ...] = (push.version, *[requests.ANY_VERSION] * (self._servers - 1))
        else:
            versions = self._versions.get(push.version, (push.version,) * self._servers)
        rows: list[dict[str, tuple[Ids, Array]]] = [{} for _ in range(self._servers)]
        counts: list[dict[str, Counts]] = [{} for _ in range(self._servers)]
        for table, (ids, gradients) in push.rows.items():
            counted = push.counts.get(table)
            for server, places in enumerate(_places(ids, self._servers)):
                rows[server][table] = (ids[places], gradients[places]) if self._servers > 1 else (ids, gradients)
                if counted is not None:
                    counts[server][table] = counted[places] if self._servers > 1 else counted
        source, sequence = self._source, next(self._sequence)
        return [
            replace(
                push,
                dense=dense,
                rows=rows[server],
                sizes=sizes,
                version=versions[server],
                source=source,
                sequence=sequence,
                counts=counts[server],
            )
            for server, (dense, sizes) in enumerate(
                zip(self._partition.split(push.dense), self._partition.split(push.sizes), strict=True)
            )
        ]

    def _dense(self, answers: Sequence[Message], first: int = 0) -> dict[str, Array]:
        parts: dict[str, Array] = {}
        for answer in answers:
            parts |= requests.read_dense(answer, first)
        return self._partition.join(parts)

    def _version(self, answers: Sequence[Message]) -> int:
        """Return the version of server 0, and remember those of the others at that time: each counts its own pushes."""
        versions = tuple(int(answer.meta["version"]) for answer in answers)
        if len(set(versions)) > 1:
            with self._lock:
                self._versions[versions[0]] = versions
                while len(self._versions) > _REMEMBERED_VERSIONS:
                    del self._versions[next(iter(self._versions))]
        return versions[0]

    # ------------------------------------------------------------ asking

    def _ask(
        self, server: int, kind: Kind, content: requests.Content, timeout: float = 0.0, room: int = 0
    ) -> Future[Message]:
        return self._transport.request(server, kind, content, timeout or self._timeout, room)

    def _awaited(self) -> Awaited[Any]:
        return Awaited(self._transport.receive)

    def _ask_all(self, kind: Kind, contents: Sequence[requests.Content], timeout: float = 0.0) -> list[Message]:
        asked = [self._ask(server, kind, content, timeout) for server, content in enumerate(contents)]
        whole: Awaited[list[Message]] = self._awaited()
        return _gathered(whole, asked, list).result()


class _Wanted:
    """Requested rows, by server, and how the answers are merged."""

    def __init__(self, lookup: Mapping[str, Ids], servers: int) -> None:
        self._lookup = lookup
        self._places = {table: _places(ids, servers) for table, ids in lookup.items()}
        self.parts: list[dict[str, Ids]] = [
            {table: ids[self._places[table][i]] if servers > 1 else ids for table, ids in lookup.items()}
            for i in range(servers)
        ]

    def __len__(self) -> int:
        return len(self._lookup)

    def join(self, answers: Sequence[Message]) -> dict[str, NDArray[Any]]:
        """Return the rows by table, in the order of the ids."""
        rows = {}
        for number, (table, ids) in enumerate(self._lookup.items()):
            found = [_array(answer, number) for answer in answers]
            if len(found) == 1:
                rows[table] = found[0]
                continue
            rows[table] = np.empty((len(ids), found[0].shape[1]), found[0].dtype)
            for places, part in zip(self._places[table], found, strict=True):
                rows[table][places] = part
        return rows


def _array(answer: Message, number: int) -> Any:
    array = answer.arrays[number]
    assert isinstance(array, np.ndarray)
    return array


def _places(ids: Ids, servers: int) -> Places:
    return split_ids(ids, servers) if servers > 1 else [ids]


def _gathered(into: Future[T], asked: Sequence[Future[Message]], combine: Callable[[list[Message]], T]) -> Future[T]:
    """Return `into`, with the result of `combine` on all answers; fails as soon as one of them does."""
    left = itertools.count(len(asked) - 1, -1)
    lock = threading.Lock()
    waiting = [*asked]

    def done(future: Future[Message]) -> None:
        with lock:
            last = next(left) == 0
            error = future.exception()
            if not into.done() and error is not None:
                into.set_exception(error)
            elif not into.done() and last:
                _resolve(into, lambda: combine([future.result() for future in waiting]))
            if last:
                waiting.clear()  # they know this function: in a circle, answers would stay until garbage is collected

    for future in asked:
        future.add_done_callback(done)
    return into


def _then(into: Future[T], asked: Future[Message], follow: Callable[[Message], Future[T]]) -> Future[T]:
    """Return `into`, with the result of a second request that is made once the first answer is there."""

    def pass_on(future: Future[T]) -> None:
        _resolve(into, future.result)

    def done(future: Future[Message]) -> None:
        try:
            follow(future.result()).add_done_callback(pass_on)
        except Exception as error:  # belongs to whoever waits for the future
            into.set_exception(error)

    asked.add_done_callback(done)
    return into


def _resolve(future: Future[T], make: Callable[[], T]) -> None:
    try:
        future.set_result(make())
    except Exception as error:  # belongs to whoever waits for the future
        future.set_exception(error)
