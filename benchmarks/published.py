"""Versions that a job publishes while it trains: what one costs when few rows have changed, and how fresh they are.

    python benchmarks/published.py rows [--rows 10000000] [--dim 16] [--changed 0.01] [--versions 5]
    python benchmarks/published.py fresh [--every 5s] [--seconds 60]
    python benchmarks/published.py topic [--every 5s] [--seconds 60] [--rate 2000] [--num_ps 0] [--ahead 100000]

`rows`: a table with Adam's two slots, as one parameter server holds it, with checkpoints that have what has changed. A
whole version of it, and then versions of the given share of changed rows: seconds of the process that writes them, and
bytes that they do not share with the version before. Rows of the last one are compared with those of the table.

`fresh`: a Local job follows a directory that gets a file with a few records every half second. For each file, the
seconds from its appearance to that of a version that has learnt from it; then the records a second of a job on a file,
with and without versions.

`topic`: a job, Local or with so many servers, follows a Kafka topic that gets this many records a second, or, with
`--rate 0`, as many as the job takes while that many wait. For each record, the seconds from just before it is sent to
the version whose offsets include it. The brokers are librdkafka's own mock ones, which share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import elasticdl_nb
from elasticdl_nb.runtime.parameters.api import Push
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files
from elasticdl_nb.runtime.parameters.checkpoints.deltas import Chains, Deltas
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import save
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables
from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.store import ParameterStore
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.publishing.tables import Before, TablesWriter
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.usedfiles import NAME as USED
from elasticdl_nb.runtime.storage.versions import records_of

sys.path.insert(0, os.fspath(Path(__file__).parents[1] / "tests"))

import kafkabrokers

ADAM = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
BATCH = 100_000


# ------------------------------------------------------------ rows


def change(store: ParameterStore, ids: np.ndarray, dim: int) -> None:
    gradients = np.random.default_rng(0).normal(size=(min(BATCH, len(ids)), dim)).astype(np.float32)
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        store.push(Push({}, {"t": (part, gradients[: len(part)])}, learning_rate=0.001))


def checkpoint(folder: Path, chains: Chains, store: ParameterStore, step: int) -> Path:
    path = checkpoints.begin(folder, step, "job")
    captured = chains.capture(store, path)
    save(captured.path, captured.frames)
    captured.written()
    checkpoints.seal(path, step, "job")
    return Path(checkpoints.commit(path, {}, "job"))


def rows(count: int, dim: int, share: float, versions: int, folder: Path) -> None:
    random = np.random.default_rng(1)
    store = ParameterStore(optimizer_from_config({"class_name": "Adam", "config": ADAM}))
    store.add_table(TableSpec("t", dim))
    change(store, random.permutation(count), dim)
    chains, before, whole = Chains(Deltas(100)), None, (0.0, 0)
    for number in range(1, versions + 2):
        if number > 1:
            change(store, random.choice(count, int(share * count), replace=False), dim)
        path = checkpoint(folder / "checkpoints", chains, store, number)
        target = folder / f"version-{number}"
        begun, used = time.perf_counter(), time.process_time()
        writer = TablesWriter(target, checkpoint_files(path), "float32", f"layer-{number}", before=before)
        digest = writer.write()
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        own = sum(file.stat().st_size for file in target.iterdir() if file.stat().st_nlink == 1)
        before = Before(target, digest, writer.follows)
        checkpoints.prune(path, 2, "job")
        whole = whole if writer.is_delta else (used, own)
        print(
            f"version {number}: {'changes' if writer.is_delta else 'whole'}, {seconds:.2f} s ({used:.2f} s of "
            f"processor), {own / 2**20:,.1f} MiB; of the whole one: {used / whole[0]:.3f} of the processor time, "
            f"{own / whole[1]:.4f} of the bytes", flush=True,
        )  # fmt: skip
    tables = MappedTables(target, digest)
    some = random.choice(count, min(count, 200_000), replace=False)
    assert np.array_equal(tables.lookup("t", some), store.lookup("t", some, create=False))
    ids = random.choice(count, (2000, 26))
    for name, mapped in (("whole", MappedTables(folder / "version-1")), ("with layers", tables)):
        seconds_of_each = []
        for one in ids:
            begun = time.perf_counter()
            mapped.lookup("t", one)
            seconds_of_each.append(time.perf_counter() - begun)
        print(f"lookup of 26 ids, {name}: median {statistics.median(seconds_of_each) * 1e6:.0f} µs")


# ------------------------------------------------------------ fresh

MODEL = """
import elasticdl_nb, keras

def custom_model():
    number = keras.Input((1,), dtype="int64", name="number")
    rows = keras.layers.Flatten()(keras.layers.Embedding(1_000_000, 16, name="rows")(number))
    return keras.Model({"number": number}, keras.layers.Dense(1)(keras.layers.Dense(64, "relu")(rows)))

def loss(labels, outputs):
    return keras.ops.mean((keras.ops.reshape(labels, (-1, 1)) - outputs) ** 2)

def optimizer():
    return keras.optimizers.Adam(0.001)

@elasticdl_nb.batched
def input_fn(records, mode):
    number = keras.ops.reshape(records["number"], (-1, 1))
    return {"number": number}, keras.ops.cast(records["number"] % 2, "float32")
"""
PER_FILE = 256


def write(folder: Path, number: int, records: int) -> None:
    numbers = np.random.default_rng(number).integers(0, 1_000_000, records)
    pq.write_table(pa.table({"number": numbers}), folder / "_aside")
    (folder / "_aside").rename(folder / f"part-{number:06d}.parquet")


def fresh(every: str, seconds: float, folder: Path) -> None:
    (folder / "zoo").mkdir()
    (folder / "zoo" / "stream.py").write_text(MODEL)
    (folder / "stream").mkdir()
    write(folder / "stream", 0, PER_FILE)
    common = {"model_zoo": folder / "zoo", "model_def": "stream.custom_model", "saved_model": False, "wait": False}
    job = elasticdl_nb.train(
        **common, data=folder / "stream", output=folder / "out", follow=True, publish_every=every, minibatch_size=256
    )
    while not records_of(folder / "out"):
        time.sleep(0.1)
    came, learnt, ended = [time.time()], [time.time()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            found = records_of(folder / "out")
            there = found[-1][2].records // PER_FILE if found else 0
            learnt.extend([time.time()] * (there - len(learnt)))

    thread = threading.Thread(target=watch)
    thread.start()
    until = time.time() + seconds
    while time.time() < until:
        write(folder / "stream", len(came), PER_FILE)
        came.append(time.time())
        time.sleep(0.5)
    while len(learnt) < len(came):
        time.sleep(0.1)
    ended.set()
    thread.join()
    job.stop().wait()
    waited = np.array(learnt[1 : len(came)]) - np.array(came[1:])
    print(
        f"{len(waited)} files, a version every {every}: from a file's appearance to a version with it: median "
        f"{np.median(waited):.1f} s, p95 {np.percentile(waited, 95):.1f} s, at most {waited.max():.1f} s", flush=True,
    )  # fmt: skip
    speeds: dict[str, list[float]] = {}
    write(folder, 0, 2_000_000)
    for _ in range(2):
        for published in ({}, {"publish_every": every}):
            name = every if published else "none"
            job = elasticdl_nb.train(
                **common, **published, data=folder / "part-000000.parquet", output=folder / f"{name}-{time.time()}",
                minibatch_size=1024,
            )  # fmt: skip
            job.wait()
            status = job.status()
            speeds.setdefault(name, []).append(status.records_done / (status.finished_at - status.started_at))
    print(
        "records a second, start and end included:",
        {name: [f"{one:,.0f}" for one in of] for name, of in speeds.items()},
    )


# ------------------------------------------------------------ topic

PARTITIONS = 4


class Sent:
    """Records that were sent to each partition: the offset after each batch of them, and when the batch was sent."""

    def __init__(self) -> None:
        self.ends: list[list[int]] = [[0] for _ in range(PARTITIONS)]
        self.at: list[list[float]] = [[0.0] for _ in range(PARTITIONS)]
        self.learnt: list[list[float]] = [[0.0] for _ in range(PARTITIONS)]
        """When the version appeared that has each batch."""

    def include(self, used: dict[str, Any], now: float) -> None:
        """A version has appeared."""
        for name, offset in used["offsets"].items():
            partition = int(name.rpartition("/")[2])
            first = min((start for start, _ in used["left"].get(name, [])), default=offset)
            ends, learnt = self.ends[partition], self.learnt[partition]
            while len(learnt) < len(ends) and ends[len(learnt)] <= min(first, offset):
                learnt.append(now)

    @property
    def waits(self) -> int:
        """How many records no version has."""
        return sum(ends[-1] - ends[len(learnt) - 1] for ends, learnt in zip(self.ends, self.learnt, strict=True))


def topic(arguments: argparse.Namespace, folder: Path) -> None:
    (folder / "zoo").mkdir()
    (folder / "zoo" / "stream.py").write_text(MODEL)
    sent, random, ended = Sent(), np.random.default_rng(0), threading.Event()
    with kafkabrokers.running() as brokers:
        url = brokers.create("numbers", PARTITIONS)

        def send(partition: int, records: int) -> None:
            numbers = random.integers(0, 1_000_000, records).tolist()
            values = [{"value": b'{"number": %d}' % number} for number in numbers]
            now = time.time()
            brokers.producer.produce_batch("numbers", values, partition=partition)
            assert brokers.producer.flush(60) == 0
            sent.at[partition].append(now)
            sent.ends[partition].append(sent.ends[partition][-1] + records)

        for partition in range(PARTITIONS):
            send(partition, 256)
        served = {"distribution_strategy": "ParameterServerStrategy", "num_ps": arguments.num_ps}
        job = elasticdl_nb.train(
            model_zoo=folder / "zoo", model_def="stream.custom_model", saved_model=False, wait=False, data=url,
            output=folder / "out", follow=True, publish_every=arguments.every, minibatch_size=256,
            **(served if arguments.num_ps else {}),
        )  # fmt: skip
        while not records_of(folder / "out"):
            time.sleep(0.1)

        def watch() -> None:
            seen = 0
            while not ended.wait(0.02):
                found = records_of(folder / "out")
                if found and found[-1][0] > seen:
                    now, seen = time.time(), found[-1][0]
                    sent.include(json.loads((found[-1][1] / USED).read_text()), now)

        thread = threading.Thread(target=watch)
        thread.start()
        begun, count, done = time.time(), 0, job.status().records_done
        while (now := time.time()) < begun + arguments.seconds:
            if arguments.rate:
                send(count % PARTITIONS, arguments.rate // 50)
                time.sleep(max(0.0, begun + (count + 1) / 50 - time.time()))
            else:
                while sum(ends[-1] for ends in sent.ends) - job.status().records_done > arguments.ahead:
                    time.sleep(0.01)
                send(count % PARTITIONS, 2000)
            count += 1
        rate = (job.status().records_done - done) / (now - begun)
        while sent.waits and time.time() < now + 60:
            time.sleep(0.1)
        ended.set()
        thread.join()
        job.stop().wait()
    waited = np.concatenate([
        np.repeat(np.array(learnt[2:]) - at[2:], np.diff(ends[1:]))
        for at, learnt, ends in zip(sent.at, sent.learnt, sent.ends, strict=True)
    ])  # fmt: skip
    print(
        f"{len(waited):,} records, {rate:,.0f} a second, a version every {arguments.every}: from a record's production "
        f"to a version with it: median {np.median(waited):.1f} s, p95 {np.percentile(waited, 95):.1f} s, at most "
        f"{waited.max():.1f} s", flush=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rows", "fresh", "topic"))
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--changed", type=float, default=0.01)
    parser.add_argument("--versions", type=int, default=5)
    parser.add_argument("--every", default="5s")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--num_ps", type=int, default=0)
    parser.add_argument("--ahead", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="published-") as name:
        os.environ["ELASTICDL_HOME"] = f"{name}/home"
        if given.what == "rows":
            rows(given.rows, given.dim, given.changed, given.versions, Path(name))
        elif given.what == "topic":
            topic(given, Path(name))
        else:
            fresh(given.every, given.seconds, Path(name))


if __name__ == "__main__":
    main()
