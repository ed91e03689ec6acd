"""Topics of a real broker: one that ELASTICDL_TEST_KAFKA names, or one that is started here, in KRaft mode."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import counting
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from requirements_of_tests import KAFKA
from test_followed import kill, until_done

import elasticdl_nb
from elasticdl_nb.job import launch
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.timeout(600)]
PARTITIONS = 3


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker."""
    if given := os.environ.get("ELASTICDL_TEST_KAFKA"):
        yield given
        return
    folder = tmp_path_factory.mktemp("kafka")
    with contextlib.ExitStack() as sockets:
        found = [sockets.enter_context(socket.socket()) for _ in range(2)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        port, controller = (one.getsockname()[1] for one in found)
    config = folder / "server.properties"
    config.write_text(
        f"process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n"
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
        f"controller.listener.names=CONTROLLER\nlog.dirs={folder / 'logs'}\noffsets.topic.replication.factor=1\n"
        "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
    )
    start = Path(shutil.which(KAFKA) or "")
    format_it = [start.with_name("kafka-storage.sh"), "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", config]
    subprocess.run(format_it, check=True, timeout=120, stdout=subprocess.DEVNULL)
    with open(folder / "output", "wb") as output, subprocess.Popen([start, config], stdout=output) as broker:
        try:
            yield f"127.0.0.1:{port}"
        finally:
            broker.terminate()
            broker.wait(60)


class Topic:
    """A topic of its own on a broker."""

    def __init__(self, servers: str) -> None:
        self.name, self._servers, self.written = f"elasticdl-test-{uuid.uuid4().hex}", servers, 0
        self.url = f"kafka://{servers}/{self.name}"
        self.admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        deadline = time.monotonic() + 60  # a broker that has just begun
        while True:
            try:
                self.admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])[self.name].result(10)
                break
            except confluent_kafka.KafkaException:
                assert time.monotonic() < deadline
        self.producer = self._producer()

    def _producer(self, **more: Any) -> confluent_kafka.Producer:
        return confluent_kafka.Producer({"bootstrap.servers": self._servers, "log_level": 0, **more})

    def grow(self, records: int) -> None:
        """Add numbered records, to all partitions in turn."""
        for number in range(self.written, self.written + records):
            self.producer.produce(self.name, b'{"number": %d}' % number, partition=number % PARTITIONS)
        assert self.producer.flush(60) == 0
        self.written += records

    def transact(self, value: bytes, *, commit: bool) -> None:
        """Add a record to the first partition in a transaction of its own."""
        producer = self._producer(**{"transactional.id": f"{self.name}-{commit}"})
        producer.init_transactions(60)
        producer.begin_transaction()
        producer.produce(self.name, value, partition=0)
        producer.flush(60)
        producer.commit_transaction(60) if commit else producer.abort_transaction(60)


@pytest.fixture
def topic(servers: str) -> Iterator[Topic]:
    one = Topic(servers)
    yield one
    with contextlib.suppress(confluent_kafka.KafkaException):
        one.admin.delete_topics([one.name])[one.name].result(60)


def test_jobs_use_each_record_of_a_real_broker_once(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICDL_HOME", str(tmp_path / "home"))
    records, group = 2000, f"{topic.name}-group"
    options = counting.write(tmp_path, records)
    options |= {
        "data": f"{topic.url}?group={group}&expired=fail", "follow": True, "minibatch_size": 32, "checkpoint_steps": 8,
        "num_minibatches_per_task": 2, "checkpoint_dir": tmp_path / "checkpoints", "wait": False,
    }  # fmt: skip
    topic.grow(600)
    try:
        job = elasticdl_nb.train(**options)
        until_done(job, 100)
        topic.grow(400)
        kill(job, "worker-0", "master")
        until_done(job, topic.written)
        job.cancel()
        topic.grow(records - topic.written)
        later = elasticdl_nb.train(**options, checkpoint_dir_for_init=tmp_path / "checkpoints")
        later.stop().wait()
    finally:
        for folder in JobFolder.all():
            launch.kill(folder)
    assert Counter(counting.uses(tmp_path)) == {1: records}
    used = json.loads((tmp_path / "out" / "used_files.json").read_text())
    assert sum(used["offsets"].values()) == records and not used["left"]


def test_what_a_real_broker_no_longer_has_or_never_committed(topic: Topic) -> None:
    topic.grow(30)  # ten of them to the first partition
    topic.transact(b'{"number": 100}', commit=False)
    topic.transact(b'{"number": 200}', commit=True)
    topic.grow(3)
    reader = open_reader([topic.url], {})
    (first, *_) = reader.files()
    numbers = [row["number"] for part in reader.read(first.path, 0, first.records) for row in part.to_pylist()]
    assert numbers == [*range(0, 30, 3), 200, 30]
    place = confluent_kafka.TopicPartition(topic.name, 0, 4)
    topic.admin.delete_records([place])[place].result(60)
    with pytest.raises(DataError, match="offsets 0 to 3 were deleted before they were used"):
        list(reader.read(first.path, 0, first.records))
