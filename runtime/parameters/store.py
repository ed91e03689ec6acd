"""The parameters of one server, and what pushes, pulls and lookups do to them.

Pure: events go in, results come out; the caller owns sockets, clocks and files. All calls come from one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError, did_you_mean
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.arrays import Array, Dense, Ids, Rows
from elasticdl_nb.runtime.parameters.bounded import BoundedTable, new_table, summed_counts
from elasticdl_nb.runtime.parameters.checkpoints.boundedframes import bounded_frames, restore_bounded
from elasticdl_nb.runtime.parameters.checkpoints.repartition import repartition
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame
from elasticdl_nb.runtime.parameters.effects import Effects, EpochPositions, Verdict
from elasticdl_nb.runtime.parameters.mapped.form import Part
from elasticdl_nb.runtime.parameters.mapped.writing import write_part
from elasticdl_nb.runtime.parameters.means import mean_of
from elasticdl_nb.runtime.parameters.optimizers.rules import ServerOptimizer
from elasticdl_nb.runtime.parameters.partition import Slice
from elasticdl_nb.runtime.parameters.rows import halves
from elasticdl_nb.runtime.parameters.table import (
    ALIGNED,
    Change,
    EmbeddingTable,
    Mark,
    RowBlock,
    Spread,
    TableSpec,
    at_once,
)
from elasticdl_nb.runtime.spec.tableoptions import FLOAT32

_ROW_ZERO = np.zeros(1, np.int32)


@dataclass(frozen=True)
class UpdatePolicy:
    """When pushed gradients are applied.

    With `grads_to_wait` 0 (asynchronous), they are applied at once; `staleness_modulation` divides the learning rate of
    a gradient computed n > 1 versions ago by n. Otherwise (synchronous) the mean of `grads_to_wait` pushes, weighted by
    their records, is applied, and pushes computed more than `version_tolerance` versions ago are rejected, to be
    computed again.
    """

    grads_to_wait: int = 0
    version_tolerance: int = 0
    staleness_modulation: bool = False


@dataclass(frozen=True)
class PushResult:
    """`accepted`: the gradients count now, will count once others have come, or have counted before.

    `version` is the parameters' version afterwards. `gap`: the gradients cannot count until those of earlier records of
    their task do.
    """

    accepted: bool
    version: int
    reason: str = ""
    gap: bool = False


Marks = Mapping[str, Mark]
"""An instant, as a mark of each table."""


class Held(NamedTuple):
    """What a store holds: rows of all tables, bytes of all values; and the rows that came and went, within bounds."""

    rows: int
    bytes: int
    admitted: int
    evicted: int


@dataclass
class _Dense:
    """One slice of a dense variable: a table with a single row, so that an update runs as one long loop."""

    piece: Slice
    weights: Array
    slots: tuple[Array, ...] | None = None


class ParameterStore:
    """Server number `server` of `servers`: its slices of dense variables, its rows of tables and their version.

    `version` counts the updates applied; `earlier_steps` counts those of the job whose checkpoint this one started
    from. Their sum is the optimizer's step; both are saved in checkpoints. `now` is the time in seconds, which the
    caller sets before pushes, for tables whose rows leave after some time.
    """

    def __init__(
        self,
        optimizer: ServerOptimizer,
        policy: UpdatePolicy | None = None,
        *,
        server: int = 0,
        servers: int = 1,
    ) -> None:
        self.optimizer = optimizer
        self.policy = policy or UpdatePolicy()
        self.server = server
        self.servers = servers
        self.version = 0
        self.earlier_steps = 0
        self.now = 0.0
        self.tables: dict[str, EmbeddingTable] = {}
        self.effects = Effects()
        self._dense: dict[str, _Dense] = {}
        self._waiting: list[Push] = []
        self._sequences: dict[str, tuple[int, PushResult]] = {}

    def held(self) -> Held:
        """Return how much the store holds."""
        tables = list(self.tables.values())
        bounded = [table for table in tables if isinstance(table, BoundedTable)]
        return Held(
            sum(map(len, tables)), self.nbytes, sum(table.admitted for table in bounded),
            sum(table.evicted for table in bounded),
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes of all values, slots and indices."""
        dense = sum(
            dense.weights.nbytes * (1 + len(self.optimizer.rule.slots if dense.slots else ()))
            for dense in list(self._dense.values())
        )
        return dense + sum(table.nbytes for table in list(self.tables.values()))

    # ------------------------------------------------------------ declaring

    def initialize(self, values: Mapping[str, Array]) -> list[str]:
        """Take initial values, flat float32 by slice key, for slices that are not here yet; return the keys taken.

        The first to come wins, so all workers may send theirs. Raises DataError, before taking any, for a value of
        another type or size.
        """
        for key, value in values.items():
            self._check_values(key, Slice.parse(key), value)
        new = [key for key in values if key not in self._dense]
        for key in new:
            self._dense[key] = _Dense(Slice.parse(key), np.array(values[key], np.float32).reshape(1, -1))
        return new

    def assign(self, values: Mapping[str, Array]) -> None:
        """Replace values, flat float32 by slice key, without a step: for variables that are not trained."""
        for key, value in values.items():
            self._check_values(key, self._slice(key).piece, value)
        for key, value in values.items():
            self._dense[key].weights[0] = value

    def add_table(self, spec: TableSpec) -> None:
        """Declare a table; the first declaration stays. Raises DataError if this one has rows of another form."""
        known = self.tables.get(spec.name)
        if known is None:
            self.tables[spec.name] = new_table(spec, self.optimizer.rule, self.server, self.servers)
        elif known.spec.dim != spec.dim:
            raise DataError(f"embedding {spec.name} has rows of {known.spec.dim} values, not of {spec.dim}")
        elif known.spec.row_dtype != spec.row_dtype:
            raise DataError(f"embedding {spec.name} has rows of {known.spec.row_dtype}, not of {spec.row_dtype}")

    # ------------------------------------------------------------ reading

    def pull(self, keys: Iterable[str] | None = None) -> dict[str, Array]:
        """Return copies of slices, flat float32 by key: those named, or all. Raises DataError for an unknown key."""
        wanted = self._dense if keys is None else keys
        return {key: self._slice(key).weights[0].copy() for key in wanted}

    def values(self) -> dict[str, Array]:
        """Return all slices by key, flat float32: the store's own memory, which the next step changes."""
        return {key: dense.weights[0] for key, dense in self._dense.items()}

    def lookup(self, table: str, ids: Ids, *, create: bool = True, held: bool = False) -> NDArray[Any]:
        """Return rows of a table, [n, dim]; see `EmbeddingTable.lookup`. Raises DataError."""
        return self._table(table).lookup(ids, create=create, held=held)

    def export(self, table: str) -> Iterator[RowBlock]:
        """Return all rows of a table as of this call, as float32; see `EmbeddingTable.export`. Raises DataError."""
        blocks = self._table(table).export()
        return (block._replace(weights=halves.floats(block.weights)) for block in blocks)

    def write(self, table: str, stem: Path, dtype: str) -> Iterator[Part | None]:
        """Write this server's part of a table; see `mapped.writing.write_part`.

        Raises DataError, also if a step was made between two of the iterator's.
        """
        version = self.version
        for part in write_part(stem, self.server, self.servers, self._table(table), dtype):
            if self.version != version:
                raise DataError(f"embedding {table} was trained while it was written")
            yield part

    # ------------------------------------------------------------ learning

    def push(self, push: Push) -> PushResult:
        """Take this server's share of a worker's gradients; the dense ones are flat, by slice key.

        Each record of a task takes effect once, whoever sends it and however often; see `Effects`. The arrays are kept
        until they are applied and must not change. Raises DataError for gradients that do not fit, and then changes
        nothing.
        """
        source, sequence = push.source, push.sequence
        if source and source in self._sequences:
            last, result = self._sequences[source]
            if sequence == last:
                return result
            if sequence < last:
                return PushResult(False, self.version, f"push {sequence} of {source} is older than its last, {last}")
        checked = self._checked(push)
        part = push.part
        self.effects.complete_before(push.oldest_epoch)
        if part is not None and (verdict := self.effects.judge(part)) is not Verdict.APPLY:
            gap = verdict is Verdict.GAP
            return PushResult(not gap, self.version, f"{part}: {verdict.value}", gap)
        result = self._take(checked)
        if part is not None and result.accepted:
            self.effects.take(part)
        if source and result.accepted:
            self._sequences[source] = (sequence, result)
        return result

    def _take(self, push: Push) -> PushResult:
        behind = self.version - push.version
        if not self.policy.grads_to_wait:
            modulated = 1.0 / behind if self.policy.staleness_modulation and behind > 1 else 1.0
            self._apply(push, modulated)
            return PushResult(True, self.version)
        if behind > self.policy.version_tolerance:
            tolerated = self.policy.version_tolerance
            reason = f"computed from version {push.version}, {behind} behind; {tolerated} is tolerated"
            return PushResult(False, self.version, reason)
        self._waiting.append(push)
        if len(self._waiting) >= self.policy.grads_to_wait:
            self.flush()
        return PushResult(True, self.version)

    @property
    def waiting(self) -> int:
        """How many accepted pushes have not been applied yet."""
        return len(self._waiting)

    def flush(self) -> int:
        """Apply the mean of the waiting pushes, however few they are; return the version."""
        if self._waiting:
            mean = mean_of(self._waiting, self.optimizer.rule.size)
            self._waiting = []
            self._apply(self._clipped(mean), 1.0)
        return self.version

    def _clipped(self, mean: Push) -> Push:
        """Return a mean as the optimizer clips it; single gradients have been clipped by their workers."""
        clipping = self.optimizer.clipping
        if self.policy.grads_to_wait < 2 or not clipping:
            return mean
        counts = {name: summed_counts(mean.rows[name][0], counted) for name, counted in mean.counts.items()}
        rows = {name: self.tables[name].summed(*pair) for name, pair in mean.rows.items()}
        clipped, of_rows = clipping.with_rows([*mean.dense.values()], rows)
        return replace(mean, dense=dict(zip(mean.dense, clipped, strict=True)), rows=of_rows, counts=counts)

    def _apply(self, push: Push, modulated: float) -> None:
        rate, step = self._rate_and_step(push.learning_rate)
        if modulated != 1.0:
            rate = rate * np.float32(modulated)
        rule = self.optimizer.rule
        for key, gradient in push.dense.items():
            dense = self._dense[key]
            if dense.slots is None:
                dense.slots = self._new_slots(dense.piece)
            rule.apply(dense.weights, dense.slots, _ROW_ZERO, gradient, rate, step, push.sizes.get(key))
        for table, (ids, values) in push.rows.items():
            self.tables[table].apply(
                ids, values, rate, step, counts=push.counts.get(table), now=self.now, distinct=push.distinct
            )
        self.version += 1

    def _rate_and_step(self, given: float | None) -> tuple[np.float32, int]:
        """Return the learning rate, unless one is given, and the number of the update that comes next."""
        done = self.earlier_steps + self.version
        return self.optimizer.learning_rate(done) if given is None else np.float32(given), done + 1

    # ------------------------------------------------------------ learning, by a model in the same process

    def find(self, lookup: Mapping[str, Ids]) -> dict[str, Rows]:
        """Return the rows of ids, by table, for `locate`; see `EmbeddingTable.find`."""
        return {table: self._table(table).find(ids) for table, ids in lookup.items()}

    def locate(self, lookup: Mapping[str, Ids], found: Mapping[str, Rows] | None = None) -> dict[str, Rows]:
        """Return the rows of ids, by table, for `gather` and `update`; see `EmbeddingTable.locate`."""
        found = found or {}
        return {table: self._table(table).locate(ids, found.get(table)) for table, ids in lookup.items()}

    def update(self, rows: Mapping[str, tuple[Rows, Array]], learning_rate: float, spread: Spread = at_once) -> None:
        """Make a step with rows, all distinct, and their gradients by table: a push that cannot come twice or late."""
        rate, step = self._rate_and_step(learning_rate)
        for table, (places, gradients) in rows.items():
            self.tables[table].apply_at(places, gradients, rate, step, spread)
        self.version += 1

    def _new_slots(self, piece: Slice) -> tuple[Array, ...]:
        shape = (1, piece.stop - piece.start)
        return tuple(np.full(shape, slot.initial, np.float32) for slot in self.optimizer.rule.slots)

    # ------------------------------------------------------------ checkpoints

    def mark(self) -> Marks:
        """Return a mark of this instant, for `changed`."""
        return {name: table.mark() for name, table in self.tables.items()}

    def changed(self, marks: Marks) -> dict[str, Change] | None:
        """Return what has changed in each table since these marks were made; None if that is not known.

        Waiting pushes are applied first. A table that was declared since then is left out: all of it is new.
        """
        self.flush()
        changes = {}
        for name in marks:
            change = self.tables[name].changed(marks[name])
            if change is None:
                return None
            changes[name] = change
        return changes

    def snapshot(
        self, changes: Mapping[str, Change] | None = None, link: Mapping[str, Any] | None = None
    ) -> Iterator[Frame]:
        """Return the whole state as of this call, in frames for `snapshot.save`.

        Waiting pushes are applied first. The frames may be taken one by one between other calls; changes made in
        between do not show in them. With `changes`, which must be as of this call, tables have only these. `link` is
        added to the state: see `chain`.
        """
        self.flush()
        state = {
            "kind": "state",
            "server": self.server,
            "servers": self.servers,
            "version": self.version,
            "earlier_steps": self.earlier_steps,
            "optimizer": self.optimizer.name,
            "slots": [slot.name for slot in self.optimizer.rule.slots],
            **(link or {}),
        }
        frames: list[Frame] = [Frame(state)]
        for kept in self.effects.export():
            meta = {"kind": "effects", "server": self.server, "epoch": kept.epoch, "oldest": self.effects.oldest}
            frames.append(Frame(meta, [kept.positions]))
        for key, dense in self._dense.items():
            arrays = [dense.weights[0].copy(), *(slot[0].copy() for slot in dense.slots or ())]
            frames.append(Frame({"kind": "dense", "key": key}, arrays))
        exports = []
        for name, table in self.tables.items():
            of_table = [Frame({"kind": "table", "spec": table.spec.to_json()})]
            change = (changes or {}).get(name)
            if isinstance(table, BoundedTable):
                of_table += bounded_frames(table, self.server, None if change is None else change.counts)
            if change is not None and change.removed.size:
                of_table.append(Frame({"kind": "removed", "table": name}, [change.removed]))
            exports.append((name, of_table, table.export(None if change is None else change.rows)))
        return _frames(frames, exports)

    def restore(self, files: Iterable[Iterable[Frame]]) -> None:
        """Restore this server's share from the frames of all servers of a checkpoint, however many there were.

        Only for an empty store. Raises DataError as `repartition` does; the store must then be discarded.
        """
        slots = [slot.name for slot in self.optimizer.rule.slots]
        for frame in repartition(files, self.server, self.servers, slots):
            kind, arrays = frame.meta["kind"], frame.arrays
            if kind == "table":
                self.add_table(TableSpec.from_json(frame.meta["spec"]))
            elif kind == "rows":
                self._table(frame.meta["table"]).restore(RowBlock(arrays[0], arrays[1], tuple(arrays[2:])))
            elif kind == "dense":
                weights, *kept = (array.reshape(1, -1) for array in arrays)
                self._dense[frame.meta["key"]] = _Dense(
                    Slice.parse(frame.meta["key"]), weights, tuple(kept) if len(kept) == len(slots) else None
                )
            elif kind == "effects":
                self.effects.complete_before(int(frame.meta["oldest"]))
                self.effects.restore(EpochPositions(int(frame.meta["epoch"]), arrays[0]))
            elif kind == "state":
                self.version = int(frame.meta["version"])
                self.earlier_steps = int(frame.meta.get("earlier_steps", 0))
            elif isinstance(table := self.tables.get(frame.meta.get("table", "")), BoundedTable):
                restore_bounded(table, frame, self.server, self.servers)
        for table in self.tables.values():
            if isinstance(table, BoundedTable):
                table.settle(self.earlier_steps + self.version)

    def count_from_zero(self) -> None:
        """Begin another job from the restored state: versions count from 0, and the optimizer's steps continue.

        The earlier job had other tasks.
        """
        self.earlier_steps, self.version = self.earlier_steps + self.version, 0
        self.effects = Effects()

    # ------------------------------------------------------------ checks

    def _slice(self, key: str) -> _Dense:
        try:
            return self._dense[key]
        except KeyError:
            raise DataError(
                f"parameter server {self.server} does not hold {key}.{did_you_mean(key, self._dense)}"
            ) from None

    def _table(self, name: str) -> EmbeddingTable:
        try:
            return self.tables[name]
        except KeyError:
            raise DataError(f"no embedding named {name} was declared.{did_you_mean(name, self.tables)}") from None

    @staticmethod
    def _check_values(key: str, piece: Slice, value: Array) -> None:
        if value.dtype != np.float32 or value.size != piece.stop - piece.start:
            raise DataError(
                f"{key}: {piece.stop - piece.start} values of float32 are needed, not {value.size} of {value.dtype}"
            )

    def _checked(self, push: Push) -> Push:
        dense, sizes = self._checked_dense(push.dense), self._checked_dense(push.sizes)
        rows = {}
        for name, (ids, values) in push.rows.items():
            table = self._table(name)
            rows[name] = (table.checked_ids(ids), table.checked_gradients(ids, values))
        for name, counts in push.counts.items():
            fits = name in rows and counts.shape == rows[name][0].shape and counts.dtype == np.int32
            if not fits or (counts < 0).any():
                raise DataError(f"embedding {name}: counts of ids that do not fit its gradients")
        return replace(push, dense=dense, rows=rows, sizes=sizes)

    def _checked_dense(self, values: Dense) -> dict[str, Array]:
        checked = {}
        for key, value in values.items():
            self._check_values(key, self._slice(key).piece, value)
            checked[key] = np.require(value, np.float32, ALIGNED).reshape(1, -1)
        return checked


def warm_up(optimizer: ServerOptimizer, row_dtype: str = FLOAT32) -> None:
    """Compile, or load from numba's cache, all that a store with this optimizer runs, so that the first push is fast.

    Arrays from messages are read-only, which numba treats as another type.
    """
    store = ParameterStore(optimizer)
    store.initialize({"warm@0:1/1": np.zeros(1, np.float32)})
    store.add_table(TableSpec("warm", 1, "zeros", row_dtype=row_dtype))
    for writeable in (True, False):
        ids, values = np.array([1, 1, 2]), np.zeros((3, 1), np.float32)
        for array in (ids, values):
            array.flags.writeable = writeable
        for count in (slice(0, 2), slice(1, 3)):  # with ids that are equal, and with distinct ones
            store.push(Push({"warm@0:1/1": values[:1, 0]}, {"warm": (ids[count], values[count])}))
        store.lookup("warm", ids)
        store.lookup("warm", ids, create=False)
        store.lookup("warm", ids, held=True)
        table = store.tables["warm"]
        held = halves.held_as(halves.HELD[row_dtype], values[1:])
        held.flags.writeable = writeable
        table.restore(RowBlock(ids[1:], held, tuple(values[1:] for _ in optimizer.rule.slots)))
    store.lookup("warm", np.arange(1000))  # enough for the index to grow


def _frames(first: list[Frame], exports: list[tuple[str, list[Frame], Iterator[RowBlock]]]) -> Iterator[Frame]:
    yield from first
    for name, frames, blocks in exports:
        yield from frames
        for block in blocks:
            yield Frame({"kind": "rows", "table": name}, [block.ids, block.weights, *block.slots])
            if block.uses is not None:
                yield Frame({"kind": "uses", "table": name}, [block.ids, block.uses])
