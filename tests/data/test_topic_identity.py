"""A topic that was deleted and created again is noticed by the records that were used."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kafkabrokers
import pytest
from test_topics import opened, rows

from elasticdl_nb.runtime.data.topics.address import parse
from elasticdl_nb.runtime.data.topics.growth import TopicDiscovery
from elasticdl_nb.runtime.data.topics.identity import Identity, fingerprint
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.master.counting import count_data
from elasticdl_nb.runtime.master.decisions.events import DataCounted, Failed
from elasticdl_nb.runtime.storage import usedfiles
from elasticdl_nb.runtime.storage.usedfiles import Used, used_of_topic


@pytest.fixture(scope="module")
def clusters() -> Iterator[list[kafkabrokers.Brokers]]:
    with kafkabrokers.running(1) as one, kafkabrokers.running(1) as other:
        yield [one, other]


def message(timestamp: int, key: bytes | None, value: bytes | None) -> Any:
    return SimpleNamespace(timestamp=lambda: (1, timestamp), key=lambda: key, value=lambda: value)


def test_a_fingerprint_tells_records_apart() -> None:
    records = [(1, None, b"x"), (2, None, b"x"), (1, b"", b"x"), (1, b"x", None), (1, b"x", b""), (1, b"1:x", b"")]
    assert len({fingerprint(message(*one)) for one in records}) == len(records)
    assert fingerprint(message(*records[0])) == fingerprint(message(*records[0]))


def marks(url: str, ends: dict[int, int]) -> dict[int, tuple[int, str]]:
    reader, found = opened(f"{url}?format=bytes"), {}
    for number, end in ends.items():
        path = reader.topic.path(number)
        rows(reader, number, 0, end)
        last = reader.account([(path, 0, end)]).last
        assert last is not None
        found[number] = last.offset, last.fingerprint
    return found


def test_another_topic_of_the_same_name_is_noticed(clusters: list[kafkabrokers.Brokers], tmp_path: Path) -> None:
    one, other = clusters
    for cluster, first in ((one, 0), (other, 100)):
        url = cluster.create("again", 3)
        for number in range(2):
            cluster.produce("again", number, [b"%d" % n for n in range(first, first + 50)], timestamp=1)
    known = marks(f"kafka://{one.servers}/again", {0: 20, 1: 50})
    topics = [parse([f"kafka://{cluster.servers}/again?format=bytes"], "data") for cluster in clusters]
    with contextlib.closing(Identity(topics[0])) as same, contextlib.closing(Identity(topics[1])) as another:
        same.check({})
        same.check({**known, 2: (0, "nothing is there")})
        with pytest.raises(DataError, match=r"again/0: the record at offset 19 is not the one that was trained on"):
            another.check(known)
        with pytest.raises(DataError, match="again/1"):
            same.check({0: known[0], 1: (49, known[0][1])})
        assert one.call("partition_delete_records", "again", 0, 30) == 0
        same.check({0: (19, "whatever"), 1: known[1]})
        other.down()
        another.check(known)
        other.up()
    # A job that goes on from a trained model, and one that goes on from a model of an older version.
    spec = SimpleNamespace(
        follow=True, data=(f"{topics[1].url}?format=bytes",), data_reader_params={}, validation_data=(),
        minibatch_size=5, num_minibatches_per_task=2,
    )  # fmt: skip
    folder: Any = SimpleNamespace(listings=tmp_path, spec=lambda: spec)
    used = Used({}, {}, {"again/0": 20, "again/1": 50}, {f"again/{number}": mark for number, mark in known.items()})
    (tmp_path / usedfiles.NAME).write_text(json.dumps(used.to_json()))
    failed = count_data(folder)
    assert isinstance(failed, Failed) and "was the topic deleted and created again" in failed.failure.message
    (tmp_path / usedfiles.NAME).write_text(json.dumps(Used({}, {}, used.offsets).to_json()))
    assert isinstance(count_data(folder), DataCounted)
    assert url.endswith("/again")


def test_marks_are_kept_with_offsets() -> None:
    state = {
        "queue": {"waiting": [], "learnt": {"kafka://a:1/t/0": [9, 8, "new", None]}},
        "followed": {"offsets": {"kafka://a:1/t/0": 9}, "ahead": []},
    }
    before = Used({}, {}, {"t/0": 5, "t/1": 3, "u/0": 1}, {"t/0": (4, "old"), "t/1": (2, "b"), "u/0": (0, "c")})
    used = used_of_topic("kafka://a:1/t", state, before)
    assert used.marks == {"t/0": (8, "new"), "t/1": (2, "b"), "u/0": (0, "c")}
    assert Used.from_json(json.loads(json.dumps(used.to_json()))) == used


def test_a_job_that_runs_looks_now_and_then(clusters: list[kafkabrokers.Brokers], tmp_path: Path) -> None:
    one, _ = clusters
    url = one.create("watched")
    one.produce("watched", 0, [b"%d" % n for n in range(10)])
    known = marks(url, {0: 10})
    reader, now = opened(f"{url}?format=bytes", follow=True, beside=tmp_path), 0.0
    discovery = TopicDiscovery(reader, {}, {}, 5, tmp_path / "reached.json", lambda: now)
    path = reader.topic.path(0)
    discovery.check({})
    discovery.check({path: known[0]})
    wrong = {path: (9, "another")}
    discovery.check(wrong)
    now = 31.0
    with pytest.raises(DataError, match="offset 9 is not the one"):
        discovery.check(wrong)
    discovery.check({path: known[0]})
    discovery.waits = True
    with pytest.raises(DataError, match="offset 9 is not the one"):
        discovery.check(wrong)
