"""A training that follows a directory: its speed beside that of an ordinary job, and what grows with the records.

    python benchmarks/stream.py [--records 6000000] [--per_file 100000] [--strategy Local|ParameterServerStrategy]
    python benchmarks/stream.py --source kafka --records 500000 [--partitions 48] [--turns 2]

Files of records are put into a directory while a job follows it, and deleted when they have been used. From time to
time a line tells the job's records so far, records per second since the line before, resident memory (MiB) of each of
its processes, and the size (KiB) of each part of its folder. The last lines give the growth of each per million records
over the second half. An ordinary job then trains on the same number of records in as many files.

With `--source kafka`, jobs follow a topic of JSON records, and Parquet files with the same records, in turn. The
brokers are librdkafka's own mock ones, which share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import confluent_kafka
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import elasticdl_nb
from elasticdl_nb.job import Job
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.control.status import is_over

sys.path.insert(0, os.fspath(Path(__file__).parents[1] / "tests"))

import kafkabrokers

MODEL = """
import elasticdl_nb
import keras


def custom_model():
    user = keras.Input((1,), dtype="int64", name="user")
    x = keras.Input((8,), name="x")
    row = keras.layers.Flatten()(keras.layers.Embedding(20_000, 8)(user))
    hidden = keras.layers.Dense(16, activation="relu")(keras.layers.Concatenate()([row, x]))
    return keras.Model({"user": user, "x": x}, keras.layers.Dense(1, activation="sigmoid")(hidden))


def loss(labels, output):
    return keras.losses.BinaryCrossentropy()(labels, output)


def optimizer():
    return keras.optimizers.Adam(0.001)


@elasticdl_nb.batched
def input_fn(records, mode):
    user = keras.ops.reshape(records["user"], (-1, 1))
    return {"user": user, "x": records["x"]}, keras.ops.reshape(records["y"], (-1, 1))
"""
AHEAD = 60
"""Files that wait in the directory, more than can be used until they are looked for again."""


def write_file(folder: Path, number: int, records: int) -> None:
    """Put a file of random records into the directory, by renaming."""
    random = np.random.default_rng(number)
    x = random.normal(size=(records, 8)).astype(np.float32)
    table = pa.table({
        "user": random.integers(0, 20_000, records), "x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 8),
        "y": (x[:, 0] > 0).astype(np.float32),
    })  # fmt: skip
    pq.write_table(table, folder / "_aside")
    os.rename(folder / "_aside", folder / f"part-{number:06d}.parquet")


def sizes(job: Job) -> dict[str, float]:
    """Resident memory of the job's processes, in MiB, and the size of the parts of its folder, in KiB."""
    found = {}
    for name, process in chaos.processes(job.folder).items():
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        found[f"{name} MiB"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    for part in ("journal.db*", "logs", "listings", "tensorboard", "checkpoints"):
        paths = [file for path in job.folder.path.glob(part) for file in (path.rglob("*") if path.is_dir() else [path])]
        found[f"{part} KiB"] = sum(_size(path) for path in paths) / 1024
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def follow(options: dict[str, Any], folder: Path, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Run the job that follows; return a sample for each interval."""
    for number in range(AHEAD):
        write_file(folder, number, arguments.per_file)
    job = elasticdl_nb.train(**options, data=folder, follow=True, output=folder.parent / "followed", wait=False)
    samples: list[dict[str, float]] = []
    written = AHEAD
    reported, begun, last = 0.0, 0.0, (0.0, 0)
    while (status := job.status()).records_done < arguments.records:
        if is_over(status):
            raise SystemExit(status.failure.message)
        used = status.records_done // arguments.per_file
        if written < used + AHEAD and written * arguments.per_file < arguments.records:
            write_file(folder, written, arguments.per_file)
            written += 1
        for number in range(max(0, used - 50), used - 2):
            (folder / f"part-{number:06d}.parquet").unlink(missing_ok=True)
        now = time.monotonic()
        if status.records_done and now - reported > arguments.every:
            begun = begun or now
            rate = (status.records_done - last[1]) / (now - last[0]) if last[0] else 0.0
            samples.append({"records": status.records_done, "records/s": rate, **sizes(job)})
            print(json.dumps({name: round(value) for name, value in samples[-1].items()}), flush=True)
            reported, last = now, (now, status.records_done)
        time.sleep(0.05)
    job.stop().wait()
    return samples


def growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """What is added per million records, over the second half of the samples."""
    half = samples[len(samples) // 2 :]
    millions = np.array([one["records"] for one in half]) / 1e6
    names = [name for name in half[-1] if name.endswith("iB") and all(name in one for one in half)]
    return {name: round(float(np.polyfit(millions, [one[name] for one in half], 1)[0]), 2) for name in names}


# ------------------------------------------------------------ from Kafka


def columns(first: int, records: int) -> dict[str, Any]:
    """Numbered random records, as columns."""
    random = np.random.default_rng(first)
    x = random.normal(size=(records, 8)).round(3)
    return {"user": random.integers(0, 20_000, records), "x": x, "y": (x[:, 0] > 0).astype(float)}


def produce(brokers: kafkabrokers.Brokers, folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Put the same records into a topic, as JSON, and into Parquet files, one for each partition."""
    each = arguments.records // arguments.partitions
    url = brokers.create("clicks", arguments.partitions)
    for number in range(arguments.partitions):
        found = columns(number, each)
        rows = zip(found["user"].tolist(), found["x"].tolist(), found["y"].tolist(), strict=True)
        values = [json.dumps({"user": user, "x": x, "y": y}).encode() for user, x, y in rows]
        brokers.produce("clicks", number, values)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(found["x"].ravel()), 8)
        table = pa.table({"user": found["user"], "x": lists, "y": found["y"]})
        pq.write_table(table, folder / f"part-{number:03d}.parquet")
    return [url]


def consumed(brokers: kafkabrokers.Brokers, arguments: argparse.Namespace) -> float:
    """Records per second of a loop over confluent-kafka's consumer that takes each value, and nothing else."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": brokers.servers, "group.id": "loop", "log_level": 0})
    consumer.assign([confluent_kafka.TopicPartition("clicks", n, 0) for n in range(arguments.partitions)])
    wanted, got = arguments.records // arguments.partitions * arguments.partitions, 0
    begun = time.monotonic()
    while got < wanted:
        got += len([message.value() for message in consumer.consume(10_000, 1.0)])
    seconds = time.monotonic() - begun
    consumer.close()
    return got / seconds


def trained(options: dict[str, Any], records: int) -> float:
    """Records per second of a job that follows its data, from a tenth of the records to nine tenths of them."""
    job = elasticdl_nb.train(**options, follow=True, wait=False)
    samples = []
    while (status := job.status()).records_done < 0.9 * records:
        if is_over(status):
            raise SystemExit(status.failure.message)
        if status.records_done >= 0.1 * records:
            samples.append((time.monotonic(), status.records_done))
        time.sleep(0.02)
    samples.append((time.monotonic(), status.records_done))
    job.stop().wait()
    return (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])


def kafka(options: dict[str, Any], place: Path, arguments: argparse.Namespace) -> None:
    """Train on the same records from a topic and from files, one after the other, and print records per second."""
    (place / "files").mkdir()
    with kafkabrokers.running() as brokers:
        (url,) = produce(brokers, place / "files", arguments)
        print(json.dumps({"consumer loop, records/s": round(consumed(brokers, arguments))}), flush=True)
        for turn in range(arguments.turns):
            rates = {
                name: trained({**options, "data": data, "output": place / f"{name} {turn}"}, arguments.records)
                for name, data in (("parquet", place / "files"), ("kafka", url))
            }
            print(json.dumps({name: round(rate) for name, rate in rates.items()}), flush=True)


def main() -> None:
    """Run both jobs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=6_000_000)
    parser.add_argument("--per_file", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--every", type=float, default=5.0, help="Seconds between two lines.")
    parser.add_argument("--strategy", default="Local", choices=["Local", "ParameterServerStrategy"])
    parser.add_argument("--source", default="files", choices=["files", "kafka"])
    parser.add_argument("--partitions", type=int, default=48, help="Of the topic; a mock broker keeps 5 MB of each.")
    parser.add_argument("--turns", type=int, default=2, help="How often to train from Parquet, then from Kafka.")
    parser.add_argument("--ordinary", type=int, default=1, help="Whether to run the ordinary job, too.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["ELASTICDL_HOME"] = str(place / "home")
        (place / "zoo").mkdir()
        (place / "zoo" / "clicks.py").write_text(MODEL)
        (place / "stream").mkdir()
        options = {
            "model_zoo": place / "zoo", "model_def": "clicks.custom_model", "minibatch_size": arguments.batch,
            "distribution_strategy": arguments.strategy, "saved_model": False, "num_minibatches_per_task": 16,
        }  # fmt: skip
        if arguments.source == "kafka":
            kafka(options, place, arguments)
            return
        begun = time.monotonic()
        samples = follow(options, place / "stream", arguments)
        seconds = time.monotonic() - begun
        print(json.dumps({"growth per million records": growth(samples)}))
        print(json.dumps({"followed, seconds": round(seconds, 1)}))
        if arguments.ordinary:
            (place / "files").mkdir()
            for number in range(arguments.records // arguments.per_file):
                write_file(place / "files", number, arguments.per_file)
            begun = time.monotonic()
            elasticdl_nb.train(**options, data=place / "files", shuffle=False, output=place / "ordinary", wait=True)
            print(json.dumps({"ordinary, seconds": round(time.monotonic() - begun, 1)}))


if __name__ == "__main__":
    main()
