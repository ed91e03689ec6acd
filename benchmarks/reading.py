"""Rows per second from CSV and Parquet into batches: ours, and polars and pyarrow plus one conversion, in turns.

    python benchmarks/reading.py [--rows 400000] [--batch 4096] [--rounds 5]

Ours goes through `record_dataset` and `rebatch`, as in a job, and opens the file again each time. The others read the
whole file at once, turn each column into a tensor, and cut the tensors into batches. A ratio above 1 means that ours is
faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import tensorflow as tf

from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.data.tensors import record_dataset
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers

Batches = Iterable[dict[str, tf.Tensor]]


def make_table(rows: int) -> pa.Table:
    """Return a table like those of sparse models: numbers, ids, and a column of texts."""
    random = np.random.default_rng(0)
    columns = {f"dense{n}": random.normal(size=rows).astype(np.float32).round(4) for n in range(8)}
    columns |= {f"id{n}": random.integers(0, 100_000, rows) for n in range(8)}
    columns["name"] = np.array([f"name{n}" for n in range(100)])[random.integers(0, 100, rows)]
    return pa.table(columns)


def ours(path: str, batch: int) -> Batches:
    """Read the file as a job does."""
    reader = open_reader([path], {"typed": True} if path.endswith("csv") else {})
    ranges = [(file.path, 0, file.records) for file in reader.files()]
    return record_dataset(reader, lambda: ranges).rebatch(batch)


def cut(columns: dict[str, Any], batch: int) -> Batches:
    """Turn each column into a tensor, and cut these into batches."""
    tensors = {name: tf.constant(column) for name, column in columns.items()}
    for start in range(0, len(columns["id0"]), batch):
        yield {name: tensor[start : start + batch] for name, tensor in tensors.items()}


def with_polars(path: str, batch: int) -> Batches:
    """Read the file with polars and convert it once."""
    frame = polars.read_csv(path) if path.endswith("csv") else polars.read_parquet(path)
    columns = {column.name: column.to_numpy() for column in frame}
    return cut(columns, batch)


def with_pyarrow(path: str, batch: int) -> Batches:
    """Read the file with pyarrow and convert it once."""
    table = pa.csv.read_csv(path) if path.endswith("csv") else pa.parquet.read_table(path)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return cut(columns, batch)


def seconds(make: Callable[[], Batches], rows: int) -> float:
    """Return how long it takes to open and read the file."""
    began = time.perf_counter()
    found = sum(int(batch["id0"].shape[0]) for batch in make())
    elapsed = time.perf_counter() - began
    if found != rows:
        raise SystemExit(f"read {found} rows instead of {rows}")
    return elapsed


def compare(path: str, rows: int, batch: int, rounds: int) -> None:
    """Print the figures for one file."""
    ways = {way.__name__: partial(way, path, batch) for way in (ours, with_polars, with_pyarrow)}
    turns = [{name: seconds(make, rows) for name, make in ways.items()} for _ in range(rounds + 1)][1:]
    for name in ways:
        ratio = statistics.median(turn[name] / turn["ours"] for turn in turns)
        median = statistics.median(turn[name] for turn in turns)
        print(f"{os.path.basename(path):14s} {name:13s} {rows / median:12,.0f} rows/s   ours is {ratio:.2f} times it")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    keep_freed_buffers()  # as workers do
    table = make_table(given.rows)
    with tempfile.TemporaryDirectory() as folder:
        pa.csv.write_csv(table, f"{folder}/data.csv")
        pa.parquet.write_table(table, f"{folder}/data.parquet")
        for name in ("data.csv", "data.parquet"):
            compare(f"{folder}/{name}", given.rows, given.batch, given.rounds)


if __name__ == "__main__":
    main()
