"""Reading Kafka topics, with brokers that speak the real protocol."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kafkabrokers
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data import examples
from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.columntypes import Column
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.data.tensors import record_dataset
from elasticdl_nb.runtime.data.topics import deadletters
from elasticdl_nb.runtime.data.topics.address import parse
from elasticdl_nb.runtime.data.topics.client import Client
from elasticdl_nb.runtime.data.topics.growth import TopicDiscovery
from elasticdl_nb.runtime.data.topics.names import name_of
from elasticdl_nb.runtime.data.topics.offsets import Gone, Offsets
from elasticdl_nb.runtime.data.topics.parsing import example_parser, json_parser
from elasticdl_nb.runtime.data.topics.reader import TopicReader
from elasticdl_nb.runtime.data.topics.schema import Field, fields_of_examples, fields_of_json
from elasticdl_nb.runtime.errors import DataError, OptionError
from elasticdl_nb.runtime.spec import JobSpec


@pytest.fixture(scope="module")
def brokers() -> Iterator[kafkabrokers.Brokers]:
    with kafkabrokers.running() as cluster:
        yield cluster


def opened(url: str, params: dict[str, Any] | None = None, **more: Any) -> TopicReader:
    reader = open_reader([url], params or {}, "data", **more)
    assert isinstance(reader, TopicReader)
    return reader


def rows(reader: TopicReader, partition: int, start: int, end: int) -> list[Any]:
    chunks: Any = reader.read(reader.topic.path(partition), start, end)
    return [row for chunk in chunks for row in (chunk.to_list() if reader.form == "bytes" else chunk.to_pylist())]


GOOD = b'{"n": 1, "x": [1, 2.5], "s": "a", "f": 2}'


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("kafka://host/t", "'host' is not HOST:PORT"),
        ("kafka://host:1/", "'' is not the name of a topic"),
        ("kafka://host:1/a/b", "'a/b' is not the name of a topic"),
        ("kafka://me:pw@host:1/t", "ELASTICDL_KAFKA_SASL_PASSWORD"),
        ("kafka://host:1/t?sasl.password=pw", "set the environment variables"),
        ("kafka://host:1/t?plugin.library.paths=x.so", "plugin.library.paths is not a parameter"),
        ("kafka://host:1/t?sasl.mechanism=GSSAPI", "expected PLAIN"),
        ("kafka://host:1/t?fromat=json", "Did you mean 'format'?"),
        ("kafka://host:1/t?format=avro", "expected json, example, bytes"),
        ("kafka://host:1/t?from=yesterday", "expected earliest, latest, or a time"),
        ("kafka://host:1/t?from=2026-11-29T12:00:00", "needs a zone"),
        ("kafka://host:1/t?key=a&timestamp=a", "both called 'a'"),
        ("kafka://host:1/t?key=a&key=b", "key is given twice"),
        ("kafka://host:1/t?expired=ignore", "expected fail or tell"),
    ],
)
def test_urls_that_make_no_sense_are_refused(url: str, problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse([url], "data")
    assert problem in str(caught.value)


def test_what_does_not_go_with_a_topic_is_refused_before_there_is_a_job() -> None:
    url = "kafka://a:1,b:2/t"
    assert JobSpec.create("train", model_def="m", data=url).data == (url,)
    for kind, options, problem in [
        ("predict", {"trained_model": "m", "data": url}, "cannot be predicted"),
        ("train", {"model_def": "m", "data": url, "label": "y"}, "use an input_fn"),
        ("train", {"model_def": "m", "data": url, "follow": True, "num_epochs": 2}, "there are no epochs"),
        ("train", {"model_def": "m", "data": "kafka://u:p@a:1/t"}, "would be stored"),
        ("train", {"model_def": "m", "data": f"{url}?sasl.password=x"}, "would be stored"),
        ("train", {"model_def": "m", "data": f"{url}?dead_letters=ftp://me:pw@host/x"}, "would be stored"),
        ("train", {"model_def": "m", "data": f"{url}?dead_letters=ftp%3A%2F%2Fme:pw%40host/x"}, "would be stored"),
    ]:
        with pytest.raises(OptionError, match=problem):
            JobSpec.create(kind, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one Kafka topic, and nothing else"):
        open_reader([url, "a.parquet"], {})


def test_the_extra_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "confluent_kafka", None)
    with pytest.raises(OptionError, match=r'pip install "elasticdl_nb\[kafka\]"'):
        open_reader(["kafka://host:1/t"], {})


def test_addresses_mean_what_they_say() -> None:
    for since, milliseconds in (
        ("2026-11-29T12:00:00+02:00", "1795946400000"), ("2026-11-29T10:00:00Z", "1795946400000"),
        ("1969-12-31T23:59:59.999Z", "0"),
    ):  # fmt: skip
        assert parse([f"kafka://a:1/t?from={since}"], "data").since == milliseconds
    assert parse(["kafka://a:1/t?dead_letters=/a+b%20c"], "data").dead_letters == "/a+b c"
    stored = "kafka://a:1/t?dead_letters=abfs://container@account/folder"
    assert JobSpec.create("train", model_def="m", data=stored).data == (stored,)


def test_fields_that_some_records_lack() -> None:
    deep = b'{"n": 1, "z": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    values = [b'{"n": 1, "b": true, "s": "x"}', b'{"n": 2}', b'{"n": 3, "b": false}', deep]
    found = fields_of_json(values, (), "here")
    assert [Field.from_json(json.loads(json.dumps(one.to_json()))) for one in found] == found
    columns, places, bad = json_parser(found)(values)
    assert places.tolist() == [0, 1, 2, 3] and not bad
    assert repr([column.to_pylist() for column in columns]) == repr(
        [[1, 2, 3, 1], [1.0, float("nan"), 0.0, float("nan")], ["x", "", "", ""]]
    )
    (column, *_), *_ = json_parser(found[1:2])([b'{"b": true}'])
    assert column == pa.array([1.0]), "the same type where none is missing"


def test_large_numbers_are_not_rounded_where_some_are_missing() -> None:
    exact, large = 2**53, 2**60 + 1
    for rows, find in (
        ([b'{"a": %d, "b": 1}' % large, b'{"b": 1}'], fields_of_json),
        (examples.encode({"a": np.array([large]), "b": np.array([1])}) + examples.encode({"b": np.array([1])}),
         fields_of_examples),
    ):  # fmt: skip
        with pytest.raises(DataError, match=f"field 'a' is missing in some records.* would round {large}"):
            find(rows, (), "here")
        assert [one.column.dtype for one in find(rows, ["b"], "here")] == ["int64"]
        assert find(rows[:1], (), "here")[0].column.dtype == "int64"
    huge = [b'{"a": 1%s}' % (b"0" * 400), b'{"a": 1, "b": 1}', b'{"b": 1}']
    assert fields_of_json(huge, (), "here")[0].column.dtype == "float64", "no int64, so that the record is not used"
    for dtype in ("float64", "float32"):  # a whole number where others are not
        values = [*examples.encode({"a": np.array([exact, 2**24 + 1, large])})]
        (column,), places, bad = example_parser([Field(Column("a", dtype), optional=True)])(values)
        assert column.to_pylist() == [exact, np.dtype(dtype).type(2**24 + 1)] and places.tolist() == [0, 1]
        assert bad == [(2, f"feature 'a' has {large}, which a float does not hold")]


FIELDS = [
    Field(Column("n", "int64")), Field(Column("x", "float64", (2,))), Field(Column("s", "string")),
    Field(Column("f", "float64"), optional=True),
]  # fmt: skip
BAD = [
    None, b"", b" ", b"null", b"5", b"[1]", b"{}", b"no JSON", b"\xff", GOOD[:-1], GOOD + GOOD, GOOD + b" x",
    b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"1,", b"1.5,", 1), GOOD.replace(b"1,", b"true,", 1),
    GOOD.replace(b'"a"', b"7"), GOOD.replace(b"2.5", b"null"), GOOD.replace(b"1, 2.5", b"1"),
    GOOD.replace(b'"n": 1', b'"n": 9223372036854775808'), GOOD.replace(b'"n": 1', b'"n": null'),
    GOOD.replace(b'"a"', b'"\xff"'), GOOD.replace(b'"n"', b'"m"'), GOOD + b'}\n{"~":' + GOOD, GOOD[:-1] + b', "n": 2}',
    b'{"n": {}', b'{"n": 1}}', b'{"n": 1, "x": [{}', b'{"n": 1, "s": "}', b'{"s": "x\n}',
    GOOD + b', "z": {}', b"{", b"}", b"{\0}",
]  # fmt: skip
FINE = [
    GOOD, GOOD.replace(b"2}", b"null}"), GOOD.replace(b', "f": 2', b', "new": {"a": [1, {}]}'), b"\n " + GOOD + b"\n",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*BAD, *FINE]), min_size=1, max_size=12), st.integers(1, 12))
def test_whether_a_record_can_be_used_depends_on_nothing_but_itself(values: list[bytes | None], size: int) -> None:
    parse_some = json_parser(FIELDS)
    used: list[int] = []
    refused: list[int] = []
    for begin in range(0, len(values), size):
        columns, places, bad = parse_some(values[begin : begin + size])
        assert all(len(column) == len(places) for column in columns) and all(why for _, why in bad)
        used += [begin + place for place in places.tolist()]
        refused += sorted(begin + place for place, _ in bad)
    assert used == [n for n, value in enumerate(values) if value in FINE]
    assert refused == [n for n, value in enumerate(values) if value not in FINE]


PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\n", b",", b'"n": 1', b'"a": ', b"\\", b"\0", b" ", b"{}", GOOD]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=6).map(b"".join), max_size=8))
def test_no_value_reaches_into_another(values: list[bytes]) -> None:
    parse_some = json_parser([Field(Column("n", "float64"), optional=True)])
    alone = [len(parse_some([value])[1]) for value in values]
    columns, places_, bad = parse_some(values)
    assert places_.tolist() == [n for n, used in enumerate(alone) if used] and len(bad) + len(places_) == len(values)
    for value, place in zip(columns[0].to_pylist(), places_.tolist(), strict=True):
        (only,) = parse_some([values[place]])[0][0].to_pylist()
        assert value == only or (np.isnan(value) and np.isnan(only))


def test_json_becomes_columns_whatever_else_is_in_the_topic(brokers: kafkabrokers.Brokers, tmp_path: Path) -> None:
    url, dead = brokers.create("json", 2), tmp_path / "dead"
    brokers.produce("json", 0, [b'{"n": %d, "x": [0.5, 1], "s": "a"}' % n for n in range(50)], key=b"k", timestamp=77)
    brokers.produce(
        "json", 1, [b"oops", None, b'{"n": "1", "x": [1, 2], "s": "b"}', b'{"n": 9, "x": [1, 2], "s": "b"}']
    )
    reader = opened(f"{url}?key=who&timestamp=at&dead_letters={dead}", beside=tmp_path)
    reader.check()
    assert [(one.records, one.start) for one in reader.files()] == [(50, 0), (4, 0)]
    assert reader.metadata.column_dtypes == {
        "n": "int64", "x": "float64", "s": "string", "who": "string", "at": "int64"
    }  # fmt: skip
    assert rows(reader, 0, 3, 5) == [{"n": n, "x": [0.5, 1.0], "s": "a", "who": b"k", "at": 77} for n in (3, 4)]
    path = reader.topic.path(1)
    for _ in range(2):
        assert [row["n"] for row in rows(reader, 1, 0, 4)] == [9]
        found = reader.account([(path, 0, 4)])
        assert found.malformed == 3 and found.example.startswith(f"{path}, offset 0: ")
    (file,) = dead.iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(one["offset"], one["value"]) for one in lines[:2]] == [(0, "oops"), (1, None)] and len(lines) == 3
    deadletters.write(os.fspath(dead), "json", 1, 1, 9, [deadletters.Letter(n, 0, None, b"\xff", "") for n in (2, 8)])
    (line,) = (dead / "00001-000000000000001-000000000000009.jsonl").read_text().splitlines()
    assert json.loads(line)["offset"] == 8 and json.loads(line)["value"] == {"base64": "/w=="}
    assert opened(url, {"columns": ["s"]}).metadata.column_names == ["s"]
    with pytest.raises(OptionError, match="none of the first 52 records has a field 'm'"):
        opened(url, {"columns": ["m"]}).check()
    with pytest.raises(DataError, match="its records have a field 'n', too"):
        opened(f"{url}?key=n").check()
    brokers.produce("json", 0, [b"later"])
    assert opened(f"{url}?key=who&timestamp=at", beside=tmp_path).files()[0].records == 50, "as it was at the start"


def test_bytes_and_examples(brokers: kafkabrokers.Brokers) -> None:
    url = brokers.create("bytes")
    brokers.produce("bytes", 0, [b"one", None, b"", b"three"], key=b"k")
    reader = opened(f"{url}?format=bytes")
    assert rows(reader, 0, 0, 4) == [b"one", b"", b"three"]
    assert reader.account([(reader.topic.path(0), 0, 4)]).malformed == 1, "what has been deleted by its key"
    assert rows(opened(f"{url}?format=bytes&key=k"), 0, 3, 4) == [{"value": b"three", "k": b"k"}]
    taken = record_dataset(reader, lambda: [(reader.topic.path(0), 0, 2), (reader.topic.path(0), 2, 4)])
    assert [text for part in taken for text in part.numpy().tolist()] == [b"one", b"", b"three"]

    url = brokers.create("examples")
    values = examples.encode({"n": np.array([1, 2]), "x": np.ones((2, 3), np.float32), "s": np.array(["a", "b"])})
    other = examples.encode({"n": np.array([1.5]), "x": np.ones((1, 3), np.float32), "s": np.array(["c"])})
    brokers.produce("examples", 0, [*values, b"\xff", None, *other, *values])
    reader = opened(f"{url}?format=example")
    assert reader.metadata.column_shapes == {"x": (3,)} and reader.metadata.column_dtypes["x"] == "float32"
    assert [row["n"] for row in rows(reader, 0, 0, 7)] == [1, 2, 1, 2]
    assert reader.account([(reader.topic.path(0), 0, 7)]).malformed == 3


def test_topics_with_nothing_to_begin_with(brokers: kafkabrokers.Brokers) -> None:
    url = brokers.create("empty")
    with pytest.raises(DataError, match="nothing says what their fields are"):
        opened(url, follow=True).check()
    opened(f"{url}?format=bytes", follow=True).check()
    with pytest.raises(DataError, match="there are no records in"):
        opened(f"{url}?format=bytes").check()
    brokers.produce("empty", 0, [b"no JSON"])
    with pytest.raises(DataError, match="none of the first 1 records is a JSON object; one is b'no JSON'"):
        opened(url).check()
    with pytest.raises(DataError, match="there is no such topic"):
        opened(f"{url}-other").check()


def test_records_that_were_deleted_are_told_or_an_error(brokers: kafkabrokers.Brokers) -> None:
    url = brokers.create("old")
    brokers.produce("old", 0, [b"%d" % n for n in range(40)])
    followed, ordinary = opened(f"{url}?format=bytes", follow=True), opened(f"{url}?format=bytes")
    assert ordinary.known.offsets == {0: (0, 40)}
    assert brokers.call("partition_delete_records", "old", 0, 25) == 0
    path = followed.topic.path(0)
    assert [rows(followed, 0, start, start + 10) for start in (10, 20)] == [[], [b"%d" % n for n in range(25, 30)]]
    assert followed.account([(path, 10, 20), (path, 20, 30)]).expired == 15
    with pytest.raises(DataError, match=r"offsets 0 to 9 were deleted before they were used; .*expired=tell"):
        rows(ordinary, 0, 0, 10)
    assert opened(f"{url}?format=bytes").known.offsets == {0: (25, 40)}


def test_ranges_in_any_order_and_pieces(brokers: kafkabrokers.Brokers) -> None:
    brokers.create("order", 2)
    url = f"kafka://{brokers.servers}/order?format=bytes"
    for partition in (0, 1):
        brokers.produce("order", partition, [b"%d" % n for n in range(300)])
    reader = opened(url)
    for partition, start, end in [(0, 0, 100), (0, 100, 150), (1, 40, 60), (0, 170, 180), (0, 20, 30), (1, 60, 300)]:
        assert rows(reader, partition, start, end) == [b"%d" % n for n in range(start, end)]
    first: Any = reader.read(reader.topic.path(0), 0, 300)
    next(first)
    assert rows(reader, 0, 5, 10) == [b"%d" % n for n in range(5, 10)], "while another is under way"
    first.close()
    assert rows(reader, 0, 0, 300) == [b"%d" % n for n in range(300)]


class Scripted:
    """In place of a consumer: gives what it is told, as where transactions and compaction have left gaps."""

    def __init__(self, *offsets: int) -> None:
        self.left = list(offsets)

    def assign(self, places: list[Any]) -> None:
        (place,) = places
        self.left = [one for one in self.left if abs(one) >= place.offset]

    def consume(self, most: int, _: float) -> list[Any]:
        taken, self.left = self.left[:most], self.left[most:]
        end = SimpleNamespace(code=lambda: -191)
        return [SimpleNamespace(error=lambda n=n: end if n < 0 else None, offset=lambda n=n: abs(n)) for n in taken]


def test_a_range_ends_by_its_offsets_and_not_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    # Negative: the end of the partition, where a transaction's mark is the last that was written.
    consumer = Scripted(0, 1, 5, 6, 11, 14, -16, 16, 17, -18)
    monkeypatch.setattr(Client, "consumer", consumer)
    offsets = Offsets(parse(["kafka://host:1/t"], "data"), lambda level, text: None)
    read = []
    for start, end in [(0, 3), (3, 5), (5, 12), (12, 16), (16, 18)]:
        parts = list(offsets.read(0, start, end))
        assert not any(isinstance(part, Gone) for part in parts)
        read.append([message.offset() for part in parts if not isinstance(part, Gone) for message in part])
    assert read == [[0, 1], [], [5, 6, 11], [14], [16, 17]]


def test_new_records_are_found_as_whole_tasks_from_all_partitions_in_turn(
    brokers: kafkabrokers.Brokers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = brokers.create("growing", 3) + "?format=bytes&group=watchers"
    for partition, count in enumerate((25, 7, 5)):
        brokers.produce("growing", partition, [b"x"] * count)
    now = 0.0
    with monkeypatch.context() as patch:
        patch.setattr(Client, "partitions", lambda self: [0, 1])
        reader = opened(url, follow=True, beside=tmp_path)
        assert list(reader.known.offsets) == [0, 1]

        def found(discovery: TopicDiscovery, **more: Any) -> list[tuple[str, int, int]]:
            looked = discovery.look(**more)
            return [(name_of(one.path)[-1], one.start, one.start + one.records) for one in looked]

        def discovery(reached: dict[str, int]) -> TopicDiscovery:
            return TopicDiscovery(reader, reached, {"growing/1": 2}, 10, tmp_path / "reached.json", lambda: now)

        master = discovery({})
        assert found(master, ahead=5) == [("0", 0, 10), ("0", 10, 20)], "whole tasks, as long as others wait"
        assert found(master, ahead=10_000) == [], "so many wait that more would only fill the memory"
        assert found(master, ahead=0) == [("0", 20, 25), ("1", 2, 7)], "whatever is there, as nobody has work"
        assert master.behind == 0
    now += 60
    assert found(master) == [("2", 0, 5)], "a partition that is new"
    master.committed({reader.topic.path(0): 20, reader.topic.path(2): 3})
    for _ in range(100):
        committed = [one.offset for one in master._client.consumer.committed(places("growing", 3), timeout=10)]
        if committed != [-1001] * 3:
            break
        time.sleep(0.1)
    assert committed == [20, -1001, 3]
    brokers.produce("growing", 1, [b"x"] * 11)
    again = discovery({reader.topic.path(0): 25, reader.topic.path(1): 7})
    assert found(again, ahead=3) == [("1", 7, 17)], "another master goes on with what the journal knows"
    assert found(again, hurry=True, ahead=10_000) == [("1", 17, 18), ("2", 0, 5)], "the job is to end"
    assert json.loads((tmp_path / "reached.json").read_text()) == {
        reader.topic.path(number): end for number, end in enumerate((25, 18, 5))
    }
    assert again.problems() == master.problems() == [] and not again.listed_since(0)


def places(topic: str, count: int) -> list[Any]:
    import confluent_kafka

    return [confluent_kafka.TopicPartition(topic, number) for number in range(count)]


def test_where_earlier_jobs_have_left_off_later_ones_begin(brokers: kafkabrokers.Brokers, tmp_path: Path) -> None:
    from elasticdl_nb.runtime.master.counting import count_data, discovery_of
    from elasticdl_nb.runtime.master.decisions.events import DataCounted, Failed
    from elasticdl_nb.runtime.storage import usedfiles
    from elasticdl_nb.runtime.storage.usedfiles import Used

    url = brokers.create("left", 2)
    brokers.produce("left", 0, [b"x"] * 30)
    spec = SimpleNamespace(
        follow=True, data=(f"{url}?format=bytes",), data_reader_params={}, validation_data=(), minibatch_size=5,
        num_minibatches_per_task=2,
    )  # fmt: skip
    folder: Any = SimpleNamespace(listings=tmp_path, spec=lambda: spec)
    before = Used({}, {"left/0": [(3, 7), (9, 10)], "other/1": [(2, 4)]}, {"left/0": 20, "other/1": 5})
    (tmp_path / usedfiles.NAME).write_text(json.dumps(before.to_json()))
    counted = count_data(folder)
    assert isinstance(counted, DataCounted)
    assert list(counted.data) == [FileRecords(f"{url}/0", 4, 3), FileRecords(f"{url}/0", 1, 9)]
    # What is left of the topic is before what was used last, and a checkpoint may come before anything is found.
    reached = {f"{url}/0": 10}
    state: dict[str, Any] = {
        "queue": {"waiting": [[[[f"{url}/0", 3, 7]], 0, 0, False, 0, 0]]},
        "followed": {"offsets": reached, "ahead": []},
    }  # fmt: skip
    saved = Used.from_json(usedfiles.with_used(folder, state)[usedfiles.KEY])
    assert saved == Used({}, {"left/0": [(3, 7)], "other/1": [(2, 4)]}, {"left/0": 20, "other/1": 5})
    assert discovery_of(folder, reached).look(hurry=True) == [FileRecords(f"{url}/0", 10, 20)]
    usedfiles.write(folder, tmp_path)
    written = Used.from_json(json.loads((tmp_path / usedfiles.NAME).read_text()))
    assert written == Used({}, {"other/1": [(2, 4)]}, {"left/0": 30, "left/1": 0, "other/1": 5})
    (tmp_path / usedfiles.NAME).write_text(json.dumps(Used({}, {}, {"left/0": 31}).to_json()))
    failed = count_data(folder)
    assert isinstance(failed, Failed) and "was the topic deleted and created again?" in failed.failure.message


def test_a_chunk_is_what_its_columns_say() -> None:
    columns, places_, bad = json_parser(FIELDS)([GOOD, b"no", FINE[1]])
    assert places_.tolist() == [0, 2] and [place for place, _ in bad] == [1]
    assert [column.type for column in columns] == [pa.int64(), pa.list_(pa.float64(), 2), pa.string(), pa.float64()]
    assert columns[3].to_pylist()[0] == 2.0 and np.isnan(columns[3].to_pylist()[1])
