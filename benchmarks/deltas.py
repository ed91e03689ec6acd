"""Checkpoints that hold what has changed: bytes and seconds beside whole ones, and how long a step waits for each.

    python benchmarks/deltas.py [--rows 10000000] [--dim 16] [--changed 0.01] [--deltas 5] [--seconds 2]
                                [--bounded] [--directory DIR]

A table with Adam's two slots, as one parameter server (or a Local job) holds it. For each checkpoint, the given share
of its rows is changed. `waits` is how long training stops: a Local job until everything is written, a server until it
has captured what it holds; it writes while it serves. `seconds` is until the checkpoint is complete on the disk:
captured, written, flushed, sealed and renamed. `processor` is the processor's seconds of all that.

The chain then goes on until it is compacted in a thread. Meanwhile rows are updated without a pause, with a checkpoint
every few `seconds`: the lines give how long these waits are, and the updates a second beside those when nothing is
compacted. The last checkpoint of the chain, and the first with the new file, are loaded again and compared with the
table.

With `--bounded`, the table has `min_count=2` and as many rows as `max_rows` lets it have, and has counted as many ids
without a row. Before each delta, as many ids as rows are changed come for the first time; a tenth as many come again
and get rows, for which others leave.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.bounded import BoundedTable
from elasticdl_nb.runtime.parameters.checkpoints.deltas import Chains, Deltas
from elasticdl_nb.runtime.parameters.checkpoints.local import read_checkpoint
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import save
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.rows.memory import GrowableArray, keep_freed_buffers
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, TableSpec
from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.storage import checkpoints

MOST = 30
"""Deltas that may follow a whole file."""

ADAM = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
BATCH = 100_000


def new_store(given: argparse.Namespace) -> ParameterStore:
    """Return a store with an empty table."""
    store = ParameterStore(optimizer_from_config({"class_name": "Adam", "config": ADAM}))
    bounds = Bounds(min_count=2, max_rows=given.rows) if given.bounded else None
    store.add_table(TableSpec("t", given.dim, bounds=bounds))
    return store


def change(store: ParameterStore, ids: np.ndarray, dim: int, times: int = 1) -> float:
    """Update these rows, whose ids come so many times; return the processor seconds that it took."""
    gradients = np.random.default_rng(0).normal(size=(min(BATCH, len(ids)), dim)).astype(np.float32)
    begun = time.process_time()
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        counts = np.full(len(part), times, np.int32)
        store.push(Push({}, {"t": (part, gradients[: len(part)])}, learning_rate=0.001, counts={"t": counts}))
    return time.process_time() - begun


def cost_of_noting(store: ParameterStore, ids: np.ndarray, dim: int) -> float:
    """Update rows without and with noting that they change, in turn; return the ratio of processor seconds."""
    table, seconds = store.tables["t"], [0.0, 0.0]
    marks = table._marks
    for part in np.array_split(ids, 4):
        for notes in (False, True):
            table._marks = marks if notes else 0
            seconds[notes] += change(store, part, dim)
    return seconds[True] / seconds[False]


def update_for(store: ParameterStore, seconds: float, rows: int, dim: int) -> float:
    """Update rows for so long, always the same; return how many a second."""
    ids, gradients = np.arange(0, rows, 97)[: BATCH // 10], np.ones((BATCH // 10, dim), np.float32)
    begun, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < seconds:
        store.push(Push({}, {"t": (ids, gradients[: len(ids)])}, learning_rate=0.001))
        done += len(ids)
    return done / spent


def checkpoint(store: ParameterStore, chains: Chains, directory: Path) -> tuple[float, ...]:
    """Make a checkpoint; return seconds until captured, until written and until complete, bytes, and processor time."""
    begun, busy = time.perf_counter(), time.process_time()
    folder = checkpoints.begin(directory, store.version, "job")
    capture = chains.capture(store, folder)
    captured = time.perf_counter() - begun
    size = save(capture.path, capture.frames)
    capture.written()
    checkpoints.seal(folder, store.version, "job")
    written = time.perf_counter() - begun
    checkpoints.commit(folder, {}, "job")
    return captured, written, time.perf_counter() - begun, size, time.process_time() - busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--deltas", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--bounded", action="store_true")
    parser.add_argument("--directory", help="where to write; by default a temporary folder")
    given = parser.parse_args()
    keep_freed_buffers()  # as workers and servers do
    rng = np.random.default_rng(1)
    store, come = new_store(given), given.rows
    change(store, np.arange(given.rows), given.dim, 2)
    if given.bounded:
        come = 2 * given.rows
        change(store, np.arange(given.rows, come), given.dim)
    print(f"{len(store.tables['t']):,} rows of {given.dim} with two slots, {store.nbytes / 2**20:,.0f} MiB", flush=True)
    print(
        f"{'':<10}{'MiB':>9}{'seconds':>9}{'processor':>11}{'a Local step waits':>20}{'a server waits':>16}", flush=True
    )
    with tempfile.TemporaryDirectory(dir=given.directory) as name:
        threads: list[threading.Thread] = []

        def beside(work: Callable[[], None]) -> None:
            threads.append(threading.Thread(target=work))
            threads[-1].start()

        directory, chains = Path(name), Chains(Deltas(MOST, 1), beside=beside)

        def next_checkpoint(what: str) -> tuple[float, ...]:
            nonlocal come
            ids = rng.choice(given.rows, int(given.rows * given.changed), replace=False)
            if given.bounded:
                again = rng.choice(np.arange(come - given.rows, come), ids.size // 10, replace=False)
                change(store, np.concatenate([ids, np.arange(come, come + ids.size), again]), given.dim)
                come += ids.size
            else:
                ratios.append(cost_of_noting(store, ids, given.dim))
            found = checkpoint(store, chains, directory)
            show(what, found)
            return found

        ratios: list[float] = []
        whole = checkpoint(store, chains, directory)
        show("whole", whole)
        found = [next_checkpoint("delta") for _ in range(given.deltas)]
        for place, of in ((3, "bytes"), (2, "time"), (4, "processor time"), (1, "waiting of a Local job")):
            share = statistics.median(one[place] for one in found) / whole[place]
            print(f"a delta takes {share:.1%} of the {of}")
        if ratios:
            print(f"an update that notes what it changes takes {statistics.median(ratios):.2f} times as long")
        load(store, directory, given)
        while not threads:
            next_checkpoint("delta")
        begun, beside_it, waits = time.perf_counter(), [], []
        while threads[-1].is_alive():
            beside_it.append(update_for(store, given.seconds, given.rows, given.dim))
            if threads[-1].is_alive():
                waits.append(next_checkpoint("meanwhile")[1])
        print(f"compacted within {time.perf_counter() - begun:.1f} s")
        print(f"checkpoints meanwhile waited {max(waits, default=0):.3f} s at most")
        alone = [update_for(store, given.seconds, given.rows, given.dim) for _ in range(3)]
        print(f"updates a second meanwhile: {statistics.median(beside_it) / statistics.median(alone):.2f} times")
        next_checkpoint("after it")
        load(store, directory, given)
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def load(store: ParameterStore, directory: Path, given: argparse.Namespace) -> None:
    """Load the newest checkpoint, and compare."""
    path = checkpoints.completed(directory)[-1]
    begun = time.perf_counter()
    checkpoints.verify(path)
    loaded = new_store(given)
    loaded.restore(read_checkpoint(path, ["momentum", "velocity"], 0, 1))
    files = sum(file.suffix == ".ps" for file in path.iterdir())
    print(f"loading the newest, of {files} files: {time.perf_counter() - begun:.1f} s", flush=True)
    compare(store, loaded)


def show(what: str, one: tuple[float, ...]) -> None:
    """Print one checkpoint."""
    captured, written, complete, size, busy = one
    print(f"{what:<10}{size / 2**20:>9,.1f}{complete:>9.3f}{busy:>11.3f}{written:>20.3f}{captured:>16.3f}", flush=True)


def compare(store: ParameterStore, loaded: ParameterStore) -> None:
    """Raise an error unless both have the same rows, and have counted the same."""
    tables = (store.tables["t"], loaded.tables["t"])
    same = store.version == loaded.version and len(tables[0]) == len(tables[1])
    for ids in np.array_split(tables[0].ids(), 20):
        mine, theirs = (rows_of(table, ids) for table in tables)
        for array, other in zip(*map(arrays_of, tables), strict=True):
            same = same and np.array_equal(array.data[mine], other.data[theirs])
    if not same or not all(map(np.array_equal, *map(counted, tables))):
        raise SystemExit("what was loaded is not what was saved")


def rows_of(table: EmbeddingTable, ids: np.ndarray) -> np.ndarray:
    """Return the rows of ids, and -1 for ids that have none."""
    return table._reused.find(ids) if isinstance(table, BoundedTable) else table.find(ids)


def arrays_of(table: EmbeddingTable) -> list[GrowableArray]:
    """Return all that a table keeps of its rows."""
    return [table._weights, *table._slots, *([table._recency.last] if isinstance(table, BoundedTable) else [])]


def counted(table: EmbeddingTable) -> list[np.ndarray]:
    """Return what a table has counted: ids, in order, and how often they came, of either half."""
    found = []
    for late in (False, True):
        blocks = [one for one in table.counters() if one.late == late] if isinstance(table, BoundedTable) else []
        ids, counts = (np.concatenate([np.empty(0, np.int64), *(one[n] for one in blocks)]) for n in (1, 2))
        order = np.argsort(ids)
        found += [ids[order], counts[order]]
    return found


if __name__ == "__main__":
    main()
