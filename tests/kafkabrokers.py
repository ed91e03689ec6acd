"""librdkafka's own mock brokers, which other processes reach as they would real ones.

A cluster lives in a process of its own, so that it can be stopped, continued and killed. It keeps about 5 MB or 100,000
records of each partition, and deletes older ones, as brokers do.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import confluent_kafka


def _library() -> ctypes.CDLL:
    (path,) = glob.glob(os.fspath(Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs" / "librdkafka*"))
    library = ctypes.CDLL(path)
    for name in ("conf_new", "new", "mock_cluster_new"):
        getattr(library, f"rd_kafka_{name}").restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


def _serve(calls: Connection, brokers: int) -> None:
    library, problem = _library(), ctypes.create_string_buffer(500)
    handle = library.rd_kafka_new(0, ctypes.c_void_p(library.rd_kafka_conf_new()), problem, len(problem))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(ctypes.c_void_p(handle), brokers))
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
    calls.send(library.rd_kafka_mock_cluster_bootstraps(cluster).decode())
    with contextlib.suppress(EOFError):
        while True:
            name, arguments = calls.recv()
            given = [one.encode() if isinstance(one, str) else one for one in arguments]
            calls.send(getattr(library, f"rd_kafka_mock_{name}")(cluster, *given))
    os._exit(0)


class Brokers:
    """Brokers, and a producer of records to their topics."""

    def __init__(self, brokers: int = 3) -> None:
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, brokers), daemon=True)
        self.process.start()
        theirs.close()
        self.servers: str = self._calls.recv()
        self._brokers = brokers
        self.producer = confluent_kafka.Producer(
            {"bootstrap.servers": self.servers, "log_level": 0, "message.timeout.ms": 120_000, "linger.ms": 5}
        )

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function of the mock cluster; return its code."""
        self._calls.send((name, arguments))
        code: int = self._calls.recv()
        return code

    def create(self, topic: str, partitions: int = 1) -> str:
        """Make a topic; return its URL."""
        assert self.call("topic_create", topic, partitions, 1) == 0
        return f"kafka://{self.servers}/{topic}"

    def produce(self, topic: str, partition: int, values: Sequence[bytes | None], **more: Any) -> None:
        """Add records to a partition, and wait until the brokers have them."""
        for value in values:
            self.producer.produce(topic, value, partition=partition, **more)
            self.producer.poll(0)
        assert self.producer.flush(60) == 0

    def down(self) -> None:
        """Cut all connections, and refuse new ones."""
        for number in range(1, self._brokers + 1):
            assert self.call("broker_set_down", number) == 0

    def up(self) -> None:
        """Let them connect again."""
        for number in range(1, self._brokers + 1):
            assert self.call("broker_set_up", number) == 0

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def running(brokers: int = 3) -> Iterator[Brokers]:
    """Brokers for the length of the block."""
    cluster = Brokers(brokers)
    try:
        yield cluster
    finally:
        cluster.close()
