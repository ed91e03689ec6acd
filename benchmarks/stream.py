"""A training that follows a directory: its speed beside that of an ordinary job, and what grows with the records.

    python benchmarks/stream.py [--records 6000000] [--per_file 100000] [--strategy Local|ParameterServerStrategy]
    python benchmarks/stream.py --minutes 20 --bounded [--source files|kafka] [--strategy Local|ParameterServerStrategy]
    python benchmarks/stream.py --source kafka --records 500000 [--partitions 48] [--turns 2]

Files of records are put into a directory while a job follows it, and deleted when they have been used. From time to
time a line tells the job's records so far, records per second since the line before, resident memory (MiB) of each of
its processes, and the size (KiB) of each part of its folder. The last lines give the growth of each per million records
over the second half, the least and the most. An ordinary job then trains on as many records in as many files.

With `--minutes`, the job runs for that long, and the last lines are of the last three quarters of the time; the source
may also be a topic. With `--bounded`, new ids come without end, to a table with `min_count` and `max_rows`.

With `--source kafka` and without `--minutes`, jobs follow a topic of JSON records, and Parquet files with the same
records, in turn. The brokers are librdkafka's own mock ones, which share the machine.
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

WAITING = 16_000
"""Records of each partition that wait, fewer than a mock broker keeps."""

OFTEN = 20_000
"""Ids that come again and again. With `--bounded`, half of the records have others, which come about twice."""

UNBOUNDED = "keras.layers.Embedding(20_000, 8)"
BOUNDED = 'elasticdl_nb.Embedding(8, min_count=2, max_rows=100_000, name="rows")'


def users(number: int, records: int, bounded: bool) -> np.ndarray:
    """The ids of the records of a file, or of another part of the stream, int64 [records]."""
    random = np.random.default_rng(number)
    ids = random.integers(0, OFTEN, records)
    if bounded:
        new = records // 4
        ids[::2] = OFTEN + number * new + random.integers(0, new, len(ids[::2]))
    return ids


class Files:
    """A directory that gains files as a job uses them, and loses those that are used."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        folder.mkdir()
        self.data = folder
        self._each, self._bounded = arguments.per_file, arguments.bounded
        self._most = arguments.records // self._each if not arguments.minutes else sys.maxsize
        self.written = 0
        while self.written < AHEAD:
            self.write()

    def write(self) -> None:
        """Put a file of random records into the directory, by renaming."""
        number, records = self.written, self._each
        x = np.random.default_rng(number).normal(size=(records, 8)).astype(np.float32)
        table = pa.table({
            "user": users(number, records, self._bounded), "y": (x[:, 0] > 0).astype(np.float32),
            "x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 8),
        })  # fmt: skip
        pq.write_table(table, self.data / "_aside")
        os.rename(self.data / "_aside", self.data / f"part-{number:06d}.parquet")
        self.written += 1

    def feed(self, done: int) -> None:
        """Add a file if fewer wait than should, and remove some, when so many records have been used."""
        used = done // self._each
        if self.written < min(used + AHEAD, self._most):
            self.write()
        for number in range(max(0, used - 50), used - 2):
            (self.data / f"part-{number:06d}.parquet").unlink(missing_ok=True)


class Topic:
    """A topic that gains records as a job uses them."""

    def __init__(self, brokers: kafkabrokers.Brokers, arguments: argparse.Namespace) -> None:
        self.data = brokers.create("stream", arguments.partitions)
        self._brokers, self._partitions, self._bounded = brokers, arguments.partitions, arguments.bounded
        found = columns(0, 4096)
        rows = zip(found["x"].tolist(), found["y"].tolist(), strict=True)
        self._ends = [json.dumps({"x": x, "y": y})[1:].encode() for x, y in rows]
        self._parts = self.written = 0
        self.feed(0)

    def feed(self, done: int) -> None:
        """Add records until enough wait, when so many have been used; some of them in one call."""
        for _ in range(16):
            if self.written - done >= WAITING * self._partitions:
                break
            ids = users(self._parts, len(self._ends), self._bounded).tolist()
            values = [b'{"user": %d, %b' % pair for pair in zip(ids, self._ends, strict=True)]
            partition = self._parts % self._partitions
            self._brokers.producer.produce_batch("stream", [{"value": value} for value in values], partition=partition)
            self._brokers.producer.poll(0)
            self._parts, self.written = self._parts + 1, self.written + len(values)
        self._brokers.producer.flush(60)


def sizes(job: Job) -> dict[str, float]:
    """Resident memory of the job's processes, in MiB, and the size of the parts of its folder, in KiB."""
    found = {}
    for name, process in chaos.processes(job.folder).items():
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        found[f"{name} MiB"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    for part in ("journal.db*", "logs", "listings", "tensorboard", "checkpoints"):
        paths = [file for path in job.folder.path.glob(part) for file in (path.rglob("*") if path.is_dir() else [path])]
        found[f"{part} KiB"] = sum(_size(path) for path in paths) / 1024
    found["job folder KiB"] = sum(_size(path) for path in job.folder.path.rglob("*")) / 1024
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if not path.is_dir() else 0
    except FileNotFoundError:
        return 0


def follow(options: dict[str, Any], source: Files | Topic, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Run the job that follows; return a sample for each interval."""
    job = elasticdl_nb.train(**options, data=source.data, follow=True, wait=False)
    samples: list[dict[str, float]] = []
    reported, begun, last = 0.0, 0.0, (0.0, 0)
    while True:
        status, now = job.status(), time.monotonic()
        if is_over(status):
            raise SystemExit(status.failure.message)
        if arguments.minutes and begun and now - begun > 60 * arguments.minutes:
            break
        if not arguments.minutes and status.records_done >= arguments.records:
            break
        source.feed(status.records_done)
        if status.records_done and now - reported > arguments.every:
            begun = begun or now
            rate = (status.records_done - last[1]) / (now - last[0]) if last[0] else 0.0
            found = {"seconds": now - begun, "records": status.records_done, "records/s": rate, **sizes(job)}
            print(json.dumps({name: round(value) for name, value in found.items()}), flush=True)
            samples.append(found)
            reported, last = now, (now, status.records_done)
        time.sleep(0.05)
    job.stop().wait()
    return samples


def growth(samples: list[dict[str, float]], share: float) -> dict[str, dict[str, float]]:
    """Of the last `share` of the samples: what is added per million records, and the least and the most."""
    last = samples[-round(len(samples) * share) :]
    millions = np.array([one["records"] for one in last]) / 1e6
    names = [name for name in last[-1] if name.endswith("iB") and all(name in one for one in last)]
    found = {}
    for name in names:
        values = [one[name] for one in last]
        per_million = float(np.polyfit(millions, values, 1)[0])
        found[name] = {"per million": round(per_million, 3), "least": round(min(values)), "most": round(max(values))}
    return found


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


def long(options: dict[str, Any], place: Path, arguments: argparse.Namespace) -> None:
    """Follow a directory or a topic, and print what grows."""
    begun = time.monotonic()
    if arguments.source == "kafka":
        with kafkabrokers.running() as brokers:
            samples = follow(options, Topic(brokers, arguments), arguments)
    else:
        samples = follow(options, Files(place / "stream", arguments), arguments)
    print(json.dumps({"followed, seconds": round(time.monotonic() - begun, 1)}))
    millions = (samples[-1]["records"] - samples[0]["records"]) / 1e6
    rate = 1e6 * millions / (samples[-1]["seconds"] - samples[0]["seconds"])
    print(json.dumps({"millions of records": round(millions, 1), "records/s": round(rate)}))
    for name, found in growth(samples, 0.75 if arguments.minutes else 0.5).items():
        print(json.dumps({name: found}))


def ordinary(options: dict[str, Any], place: Path, arguments: argparse.Namespace) -> None:
    """Train on as many files that are all there, and print the seconds."""
    files = Files(place / "files", arguments)
    while files.written * arguments.per_file < arguments.records:
        files.write()
    begun = time.monotonic()
    elasticdl_nb.train(**options, data=files.data, shuffle=False, wait=True)
    print(json.dumps({"ordinary, seconds": round(time.monotonic() - begun, 1)}))


def main() -> None:
    """Run what the options say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=6_000_000)
    parser.add_argument("--minutes", type=float, default=0, help="Follow for so long, however many records that are.")
    parser.add_argument("--bounded", action="store_true", help="Ids without end, in a table with bounds.")
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
        model = MODEL.replace(UNBOUNDED, BOUNDED) if arguments.bounded else MODEL
        (place / "zoo" / "clicks.py").write_text(model)
        options = {
            "model_zoo": place / "zoo", "model_def": "clicks.custom_model", "minibatch_size": arguments.batch,
            "distribution_strategy": arguments.strategy, "saved_model": False, "num_minibatches_per_task": 16,
        }  # fmt: skip
        if arguments.source == "kafka" and not arguments.minutes:
            kafka(options, place, arguments)
            return
        long({**options, "output": place / "followed"}, place, arguments)
        if arguments.ordinary and not arguments.minutes:
            ordinary({**options, "output": place / "ordinary"}, place, arguments)


if __name__ == "__main__":
    main()
