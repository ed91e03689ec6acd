"""Parameter servers inside the worker's own process: the same tables, without sockets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime.errors import DataError, ElasticDLError
from elasticdl_nb.runtime.parameters.api import StepRequest, StepResult
from elasticdl_nb.runtime.parameters.arrays import Array, Dense, Ids, Rows
from elasticdl_nb.runtime.parameters.checkpoints.deltas import NO_DELTAS, Deltas
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import save
from elasticdl_nb.runtime.parameters.generations import MakeOptimizer, StoreService
from elasticdl_nb.runtime.parameters.mapped.form import Part
from elasticdl_nb.runtime.parameters.optimizers.generic import keras_optimizer
from elasticdl_nb.runtime.parameters.partition import DensePartition
from elasticdl_nb.runtime.parameters.store import Held, PushResult, UpdatePolicy
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.spreading import spread
from elasticdl_nb.runtime.ps.writer import beside
from elasticdl_nb.runtime.spec import JobSpec


def deltas_of(spec: JobSpec) -> Deltas:
    """Return what the checkpoints of a job's tables may build on."""
    return Deltas(spec.checkpoint_deltas, spec.checkpoint_delta_mb << 20)


class InProcessServers:
    """One server as an object; see `ParameterServers`. Steps are carried out at once, `step_async` included."""

    def __init__(
        self, policy: UpdatePolicy | None = None, make_optimizer: MakeOptimizer = keras_optimizer,
        deltas: Deltas = NO_DELTAS,
    ) -> None:  # fmt: skip
        self._service = StoreService(policy, make_optimizer=make_optimizer, deltas=deltas, beside=beside)
        self._partition = DensePartition({}, 1)
        self._lock = threading.Lock()

    # ------------------------------------------------------------ see ParameterServers

    def initialize(self, optimizer: Mapping[str, Any], dense: Dense, tables: Sequence[TableSpec]) -> dict[str, Array]:
        """See `ParameterServers.initialize`."""
        with self._lock:
            self._partition = DensePartition({name: value.shape for name, value in dense.items()}, 1)
            store = self._service.initialize(optimizer, self._partition.split(dense)[0], tables)
            return self._partition.join(store.pull())

    def pull(self) -> tuple[dict[str, Array], int]:
        """See `ParameterServers.pull`."""
        with self._lock:
            store = self._service.store
            return self._partition.join(store.pull()), store.version

    def lookup(self, table: str, ids: Ids, *, create: bool = True) -> Array:
        """See `ParameterServers.lookup`."""
        with self._lock:
            return self._service.store.lookup(table, ids, create=create)

    def step(self, request: StepRequest) -> StepResult:
        """See `ParameterServers.step`."""
        push = request.push
        with self._lock:
            store = self._service.store
            done = PushResult(True, store.version)
            if push is not None:
                gradients, sizes = (self._partition.split(values)[0] for values in (push.dense, push.sizes))
                store.now = time.time()
                done = store.push(replace(push, dense=gradients, sizes=sizes))
            rows = {table: store.lookup(table, ids, create=request.create) for table, ids in request.lookup.items()}
            dense = self._partition.join(store.pull()) if request.pull else None
            return StepResult(done.accepted, done.version, dense, rows, done.reason)

    def step_async(self, request: StepRequest) -> Future[StepResult]:
        """See `ParameterServers.step_async`."""
        future: Future[StepResult] = Future()
        try:
            future.set_result(self.step(request))
        except ElasticDLError as error:
            future.set_exception(error)
        return future

    def fetch(self, lookup: Mapping[str, Ids], *, pull: bool = True) -> Future[StepResult]:
        """See `ParameterServers.fetch`."""
        return self.step_async(StepRequest(lookup=lookup, pull=pull))

    def position(self, epoch: int, index: int) -> int | None:
        """See `ParameterServers.position`."""
        with self._lock:
            return self._service.store.effects.position(epoch, index)

    def flush(self) -> None:
        """See `ParameterServers.flush`: nothing is ever pending."""

    def settle(self) -> int:
        """See `ParameterServers.settle`."""
        with self._lock:
            return self._service.store.flush()

    def assign(self, values: Dense) -> None:
        """See `ParameterServers.assign`."""
        with self._lock:
            self._service.store.assign(self._partition.split(values)[0])

    def export(self, table: str) -> Iterator[tuple[Ids, Array]]:
        """See `ParameterServers.export`."""
        with self._lock:
            blocks = self._service.store.export(table)
        return self._export(blocks)

    def _export(self, blocks: Iterator[Any]) -> Iterator[tuple[Ids, Array]]:
        while True:
            with self._lock:
                block = next(blocks, None)
            if block is None:
                return
            yield block.ids, block.weights

    def count(self, table: str) -> int:
        """See `ParameterServers.count`."""
        with self._lock:
            return len(self._service.store.tables[table])

    def write(self, table: str, stem: Path, dtype: str) -> list[Part]:
        """See `ParameterServers.write`."""
        with self._lock:
            return [part for part in self._service.store.write(table, stem, dtype) if part is not None]

    def held(self) -> Held:
        """Return how much the tables hold, without waiting for what is under way."""
        try:
            return self._service.store.held()
        except DataError:  # no model is declared at this moment
            return Held(0, 0, 0, 0)

    def close(self) -> None:
        """See `ParameterServers.close`."""

    # ------------------------------------------------------------ without messages: for a model in this process alone

    def find(self, lookup: Mapping[str, Ids]) -> dict[str, Rows]:
        """Return the rows of ids, by table, for `locate`: see `ParameterStore.find`. Steps may be made meanwhile."""
        with self._lock:
            return self._service.store.find(lookup)

    def locate(self, lookup: Mapping[str, Ids], found: Mapping[str, Rows]) -> dict[str, Rows]:
        """Return the rows of ids, by table, for `gather` and `update`; see `ParameterStore.locate`."""
        with self._lock:
            return self._service.store.locate(lookup, found)

    def gather(self, table: str, rows: Rows, out: Array) -> None:
        """Copy rows of a table to `out`, float32 [n, dim]."""
        with self._lock:
            found = self._service.store.tables[table]
            spread(lambda start, stop: found.gather(rows[start:stop], out[start:stop]), len(rows))

    def update(self, gradients: Mapping[str, tuple[Rows, Array]], learning_rate: float) -> None:
        """Make a step with rows, all distinct, and their gradients by table; see `ParameterStore.update`."""
        with self._lock:
            self._service.store.update(gradients, learning_rate, spread)

    # ------------------------------------------------------------ checkpoints

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the servers' part of a checkpoint into a folder; raises OSError and then leaves nothing behind."""
        with self._lock:
            captured = self._service.capture(Path(directory))
            save(captured.path, captured.frames)
            captured.written()

    def restore(self, directory: str | os.PathLike[str], *, keep_version: bool = True) -> int:
        """Continue from a checkpoint's part of any number of servers, once the model is declared (again).

        Returns the resulting version, which is 0 without `keep_version`. Raises DataError for a checkpoint that cannot
        be used.
        """
        with self._lock:
            return self._service.begin(self._service.generation + 1, directory, keep_version=keep_version)
