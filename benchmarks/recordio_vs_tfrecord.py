"""Reading RecordIO through `record_dataset` against TFRecordDataset, both into batches, in alternating runs.

Usage: python benchmarks/recordio_vs_tfrecord.py [--megabytes 30] [--rounds 5] [--lengths 100 3000]

Each compressor is compared with TFRecord under the same one, or with plain TFRecord where it has none (snappy).
Targets: at least 1.0 of TFRecordDataset's records/s for 100-byte records, 0.9 for 3 KB.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.data import recordio
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.data.tensors import record_dataset
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers

TARGETS = {100: 1.0, 3000: 0.9}
TFRECORD_COMPRESSIONS = ("", "GZIP")


def make_records(length: int, total: int) -> list[bytes]:
    """Return somewhat compressible records of about this length."""
    base = np.random.default_rng(0).integers(0, 40, 256 * length, np.uint8).tobytes()
    chance = random.Random(0)
    records = []
    for _ in range(total // length):
        size = length + chance.randint(-length // 10, length // 10)
        start = chance.randint(0, len(base) - size)
        records.append(base[start : start + size])
    return records


def tfrecord_dataset(path: str, compression: str, batch: int) -> tf.data.Dataset:
    """Read all records of the file as TensorFlow's users would."""
    return tf.data.TFRecordDataset(path, compression).batch(batch)


def recordio_dataset(path: str, batch: int) -> tf.data.Dataset:
    """Read all records of the file through our reader."""
    reader = open_reader([path], {})
    ranges = [(file.path, 0, file.records) for file in reader.files()]
    return record_dataset(reader, lambda: ranges, batch)  # as a worker does for an input function of batches


def seconds(dataset: tf.data.Dataset, expected: int) -> float:
    """Return how long it takes to read the dataset."""
    started = time.perf_counter()
    count = sum(int(batch.shape[0]) for batch in dataset)
    elapsed = time.perf_counter() - started
    if count != expected:
        raise SystemExit(f"read {count} records instead of {expected}")
    return elapsed


def compare(length: int, options: argparse.Namespace, folder: Path) -> None:
    """Print the figures for one length of records."""
    records = make_records(length, options.megabytes * 1_000_000)
    megabytes = sum(map(len, records)) / 1e6
    contenders: dict[str, Callable[[], Any]] = {}
    for compression in TFRECORD_COMPRESSIONS:
        path = str(folder / f"{length}{compression}.tfrecord")
        with tf.io.TFRecordWriter(path, compression) as writer:
            for record in records:
                writer.write(record)
        name = f"TFRecord, {compression.lower() or 'none'}"
        contenders[name] = partial(tfrecord_dataset, path, compression, options.batch)
    for compressor in recordio.COMPRESSORS:
        path = str(folder / f"{length}-{compressor}.recordio")
        recordio.write_file(path, records, compressor=compressor)
        contenders[f"RecordIO, {compressor}"] = partial(recordio_dataset, path, options.batch)

    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.rounds + 1):
        for name, make in contenders.items():
            elapsed = seconds(make(), len(records))
            if turn:  # the first one is a warm-up
                times[name].append(elapsed)
    print(f"records of about {length} bytes, batches of {options.batch} (target: {TARGETS.get(length, '-')})")
    for name, taken in times.items():
        base = times["TFRecord, gzip" if name.endswith("gzip") else "TFRecord, none"]
        median = statistics.median(taken)
        ratio = statistics.median(b / t for b, t in zip(base, taken, strict=True))
        print(
            f"  {name:20s} {len(records) / median:12,.0f} records/s {megabytes / median:8.0f} MB/s   ratio {ratio:.2f}"
        )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=30, help="size of each file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 3000])
    options = parser.parse_args()
    keep_freed_buffers()  # as workers do
    with tempfile.TemporaryDirectory() as folder:
        for length in options.lengths:
            compare(length, options, Path(folder))


if __name__ == "__main__":
    main()
