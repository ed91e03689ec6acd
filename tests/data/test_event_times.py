"""When the events of a topic's records took place, and which records came late, with real brokers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kafkabrokers
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_topics import opened, rows

from elasticdl_nb.runtime.data import examples
from elasticdl_nb.runtime.data.topics.address import parse
from elasticdl_nb.runtime.data.topics.eventtime import NEVER, text_of, times
from elasticdl_nb.runtime.errors import DataError, OptionError

AT = 1_795_946_400_123
TEXT = "2026-11-29T10:00:00.123Z"


@pytest.fixture(scope="module")
def brokers() -> Iterator[kafkabrokers.Brokers]:
    with kafkabrokers.running(1) as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([AT, -1, 2**62, -(2**63)], "ms", [AT, -1, NEVER, NEVER]),
        ([AT // 1000, 2**62], "s", [AT // 1000 * 1000, NEVER]),
        ([AT * 1000 + 999, -1], "us", [AT, -1]),
        ([AT / 1000, float("nan"), float("inf"), -0.0001, 1e300], "s", [AT, NEVER, NEVER, -1, NEVER]),
        ([float(AT)], "ms", [AT]),
        (
            [TEXT, "2026-11-29T11:00:00.123999+01:00", "2026-11-29T10:00:00.123", "", "noon"],
            "ms",
            [AT, AT] + [NEVER] * 3,
        ),
        ([b"2026-11-29 10:00Z", b"\xff", b"0001-01-01T00:00:00+05:00"], "ms", [AT - 123, NEVER, -62_135_614_800_000]),
    ],
)
def test_what_says_a_time(values: list[Any], unit: str, expected: list[int]) -> None:
    assert times(pa.array(values), unit).tolist() == expected


def test_a_moment_in_words() -> None:
    assert [text_of(AT), text_of(2**62)] == ["2026-11-29 10:00:00Z", f"{2**62} ms since 1970"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("late=10m", r"late needs event_time \(late is what came long after its event\)"),
        ("event_time=at&late=soon", "late=soon: expected a time, such as 90s, 10m, 6h or 2d"),
        ("event_time=at&late=0s", "late=0s: expected a time"),
        ("event_time=at&late_action=pass", "late_action needs late"),
        ("event_time=at&late=1d&late_action=drop", "late_action=drop: expected train or pass"),
        ("event_time_unit=s", "event_time_unit needs event_time"),
        ("event_time=at&event_time_unit=ns", "event_time_unit=ns: expected s, ms, us"),
        ("event_time=at&format=bytes", "format=bytes has no fields"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(query: str, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        parse([f"kafka://host:1/t?{query}"], "data")


def test_bounds_mean_what_they_say() -> None:
    for text, milliseconds in (("90s", 90_000), ("1.5h", 5_400_000), ("2d", 172_800_000), ("0.001s", 1)):
        assert parse([f"kafka://host:1/t?event_time=at&late={text}"], "data").late_after == milliseconds


def test_kafkas_own_timestamp_is_the_event_time_unless_there_is_another(brokers: kafkabrokers.Brokers) -> None:
    url = brokers.create("own", 1)
    for n in range(5):
        brokers.produce("own", 0, [b'{"n": %d}' % n], timestamp=AT + n)
    brokers.produce("own", 0, [b"no JSON"], timestamp=AT + 100)
    for query in ("", "?format=bytes"):
        reader = opened(url + query)
        path = reader.topic.path(0)
        assert len(rows(reader, 0, 0, 3)) == 3 and len(rows(reader, 0, 3, 6)) == (3 if query else 2)
        first, second = (reader.account([one]).last for one in ((path, 0, 3), (path, 3, 6)))
        assert first is not None and (first.end, first.offset, first.event_time) == (3, 2, AT + 2)
        assert second is not None and (second.offset, second.event_time) == (5, AT + (100 if query else 4))
        assert first.fingerprint != second.fingerprint
        assert reader.account([(path, 0, 3), (path, 3, 6)]).last == second


def produce(brokers: kafkabrokers.Brokers, topic: str, delays: list[int]) -> None:
    for n, delay in enumerate(delays):
        value = json.dumps({"n": n, "at": AT + n - delay}).encode()
        brokers.produce(topic, 0, [value], timestamp=AT + n)


def test_late_records_are_counted_or_passed_over(brokers: kafkabrokers.Brokers, tmp_path: Path) -> None:
    url = brokers.create("late")
    produce(brokers, "late", [0, 60_000, 60_001, 3_600_000, 5, -(10**9)])
    brokers.produce("late", 0, [b'{"n": 6, "at": "noon"}', b'{"n": 7}', b'{"n": 8, "at": 4611686018427387904}'])
    trained = opened(f"{url}?event_time=at&late=1m")
    path, every = trained.topic.path(0), range(9)
    assert [row["n"] for row in rows(trained, 0, 0, 9)] == [0, 1, 2, 3, 4, 5]
    account = trained.account([(path, 0, 9)])
    assert (account.late, account.late_passed, account.malformed) == (2, 0, 3)
    why = "it came late: 60 seconds after its event, of 2026-11-29 09:59:00Z"
    assert account.late_example == f"{path}, offset 2: {why}"
    assert account.last is not None and account.last.event_time == AT + 5 + 10**9
    passed = opened(f"{url}?event_time=at&late=1m&late_action=pass&dead_letters={tmp_path}&timestamp=came&key=k")
    found = rows(passed, 0, 0, 9)
    assert [(row["n"], row["came"]) for row in found] == [(n, AT + n) for n in (0, 1, 4, 5)]
    account = passed.account([(path, 0, 9)])
    assert (account.late, account.late_passed, account.malformed) == (2, 2, 3)
    (file,) = tmp_path.iterdir()
    letters = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["offset"] for one in letters] == [2, 3, 6, 7, 8]
    assert letters[0]["reason"] == why and letters[-1]["reason"] == "field 'at' says no time"
    for start in every:  # whoever reads them, in whichever pieces
        for end in range(start + 1, 10):
            rows(passed, 0, start, end)
            assert passed.account([(path, start, end)]).late == sum(start <= n < end for n in (2, 3))


def test_the_field_need_not_be_a_column(brokers: kafkabrokers.Brokers) -> None:
    url = brokers.create("hidden")
    values = [json.dumps({"n": n, "when": TEXT, "more": {}}).encode() for n in range(3)]
    brokers.produce("hidden", 0, values, timestamp=AT + 5000)
    reader = opened(f"{url}?event_time=when&late=4s", {"columns": ["n"]})
    reader.check()
    assert reader.metadata.column_names == ["n"]
    assert rows(reader, 0, 0, 3) == [{"n": n} for n in range(3)]
    account = reader.account([(reader.topic.path(0), 0, 3)])
    assert account.late == 3 and account.last is not None and account.last.event_time == AT
    with pytest.raises(DataError, match="event_time=at: none of the first 3 records has such a field"):
        opened(f"{url}?event_time=at", {"columns": ["n"]}).check()


def test_fields_that_hold_no_times_are_refused(brokers: kafkabrokers.Brokers) -> None:
    url = brokers.create("odd")
    brokers.produce("odd", 0, [b'{"n": 1, "l": [1, 2], "b": true}'])
    for name, what in (("l", "lists"), ("b", "booleans")):
        with pytest.raises(DataError, match=f"event_time={name}: the field holds {what}, not times"):
            opened(f"{url}?event_time={name}").check()
    with pytest.raises(DataError, match="event_time=other: none of the first 1 records has such a field"):
        opened(f"{url}?event_time=other").check()


def test_examples_have_event_times_too(brokers: kafkabrokers.Brokers) -> None:
    url = brokers.create("timed-examples")
    numbers = {"n": np.array([1, 2]), "at": np.array([AT, AT - 100_000]), "text": np.array([TEXT, "noon"])}
    brokers.produce("timed-examples", 0, list(examples.encode(numbers)), timestamp=AT)
    reader = opened(f"{url}?format=example&event_time=at&late=99s&late_action=pass")
    assert [row["n"] for row in rows(reader, 0, 0, 2)] == [1]
    texts = opened(f"{url}?format=example&event_time=text")
    assert [row["n"] for row in rows(texts, 0, 0, 2)] == [1]
    assert texts.account([(texts.topic.path(0), 0, 2)]).malformed == 1


NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.sampled_from([AT, AT / 1000, -1, 0])


@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=6), st.sampled_from(["s", "ms", "us"]), st.booleans())
def test_a_time_depends_on_nothing_but_its_value(values: list[Any], unit: str, whole: bool) -> None:
    kind = pa.int64() if whole else pa.float64()
    of_kind = [value for value in values if value is not None and (not whole or isinstance(value, int))]
    array = pa.array([value if whole else float(value) for value in of_kind], kind)
    alone = [int(times(array.slice(n, 1), unit)[0]) for n in range(len(array))]
    assert times(array, unit).tolist() == alone
    for value, found in zip(array.to_pylist(), alone, strict=True):
        if found != NEVER and whole:
            exact = {"s": value * 1000, "ms": value, "us": value // 1000}[unit]
            assert found == exact
