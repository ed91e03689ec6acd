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
from kafkaproxy import SPARED, Proxy


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
    """Brokers, and a producer of records to their topics; all others reach them through a `proxy` if one is wanted."""

    def __init__(self, brokers: int = 3, *, proxied: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, brokers), daemon=True)
        self.process.start()
        theirs.close()
        self.servers: str = self._calls.recv()
        self._brokers = brokers
        self.proxy = self._proxy() if proxied else None
        self.producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.servers,
                "log_level": 0,
                "message.timeout.ms": 120_000,
                "linger.ms": 5,
                "client.id": SPARED,
            }
        )

    def _proxy(self) -> Proxy:
        """Put a proxy before the brokers, who tell clients of its ports instead of their own."""
        addresses = [one.split(":") for one in self.servers.split(",")]
        proxy = Proxy([(host, int(port)) for host, port in addresses])
        for number, port in enumerate(proxy.ports, 1):
            assert self.call("broker_set_host_port", number, "127.0.0.1", port) == 0
        self.servers = ",".join(f"127.0.0.1:{port}" for port in proxy.ports)
        return proxy

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

    def down(self, number: int = 0) -> None:
        """Cut all connections of one broker or all, and refuse new ones."""
        for one in [number] if number else range(1, self._brokers + 1):
            assert self.call("broker_set_down", one) == 0

    def up(self, number: int = 0) -> None:
        """Let clients connect again."""
        for one in [number] if number else range(1, self._brokers + 1):
            assert self.call("broker_set_up", one) == 0

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        if self.proxy is not None:
            self.proxy.close()


@contextlib.contextmanager
def running(brokers: int = 3, *, proxied: bool = False) -> Iterator[Brokers]:
    """Brokers for the length of the block."""
    cluster = Brokers(brokers, proxied=proxied)
    try:
        yield cluster
    finally:
        cluster.close()
