"""Examples from topics: a compiled loop reads the usual form of their bytes, and must mean what protobuf means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data import examples
from elasticdl_nb.runtime.data.columntypes import Column
from elasticdl_nb.runtime.data.topics import parsing
from elasticdl_nb.runtime.data.topics.examplescan import Wanted, scan
from elasticdl_nb.runtime.data.topics.parsing import example_parser
from elasticdl_nb.runtime.data.topics.schema import Field, fields_of_examples, fields_of_json
from elasticdl_nb.runtime.errors import DataError

FIELDS = [
    Field(Column("i", "int64")), Field(Column("f", "float32"), optional=True), Field(Column("s", "string")),
    Field(Column("x", "float32", (3,))), Field(Column("o", "float64"), optional=True),
    Field(Column("n", "int64", (2,))), Field(Column("t", "string", (2,))),
]  # fmt: skip
INTS = st.sampled_from([0, 1, -1, 127, 128, 2**53, 2**53 + 1, -(2**63), 2**63 - 1])
FLOATS = st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), 1e-40])
TEXTS = st.sampled_from([b"", b"a", b"\xff", "ä".encode(), b"x" * 200])
USUAL: dict[str, tuple[str, Any]] = {
    "i": ("int64_list", st.lists(INTS, min_size=1, max_size=1)),
    "f": ("float_list", st.lists(FLOATS, min_size=1, max_size=1)),
    "s": ("bytes_list", st.lists(TEXTS, min_size=1, max_size=1)),
    "x": ("float_list", st.lists(FLOATS, min_size=3, max_size=3)),
    "o": ("int64_list", st.lists(INTS, min_size=1, max_size=1)),
    "n": ("int64_list", st.lists(INTS, min_size=2, max_size=2)),
    "t": ("bytes_list", st.lists(TEXTS, min_size=2, max_size=2)),
    "other": ("bytes_list", st.lists(TEXTS, max_size=3)),
    "ö": ("int64_list", st.lists(INTS, max_size=2)),
}
ODD = [("int64_list", st.lists(INTS, max_size=3)), ("float_list", st.lists(FLOATS, max_size=3)),
       ("bytes_list", st.lists(TEXTS, max_size=3)), ("", st.just([]))]  # fmt: skip


@st.composite
def records(draw: Any) -> bytes:
    example = examples.Example()
    odd = draw(st.sampled_from([*USUAL, *[""] * 9]))
    for name, (kind, values) in USUAL.items():
        if draw(st.integers(0, 9)) == 0 or (name == "ö" and odd != "ö"):
            continue
        if name == odd:
            kind, values = draw(st.sampled_from(ODD))
        feature = example.features.feature[name]
        if kind:
            found = getattr(feature, kind)
            found.SetInParent()
            found.value.extend(draw(values))
    data = bytearray(example.SerializeToString(deterministic=True))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.sampled_from(["byte", "cut", "drop", "double"]))
        if change == "byte" and data:
            data[place] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[place:]
        elif change == "drop":
            del data[place : place + draw(st.integers(1, 3))]
        else:
            data += data[place:]
    return bytes(data)


def parsed(values: Sequence[bytes | None], fields: Sequence[Field], *, fast: bool) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "ENABLED", fast)
        columns, places, bad = example_parser(fields)(values)
    return [(one.type, repr(one.to_pylist())) for one in columns], places.tolist(), sorted(bad)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.none() | records(), max_size=6), st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
def test_the_loop_means_what_protobuf_means(values: list[bytes | None], fields: list[Field]) -> None:
    assert parsed(values, fields, fast=True) == parsed(values, fields, fast=False)


def test_the_loop_reads_what_serializers_write() -> None:
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "i": rng.integers(-(2**62), 2**62, 100), "f": rng.random(100), "s": np.array([f"{n}" for n in range(100)]),
        "x": rng.random((100, 3)), "o": rng.integers(0, 9, 100), "n": rng.integers(-5, 5, (100, 2)),
        "t": np.array([["a", "b"]] * 100), "other": rng.random((100, 5)),
    }  # fmt: skip
    values = examples.encode(columns)
    done, arrays = scan(values, FIELDS, Wanted.of(FIELDS))
    assert done.all()
    assert arrays[0].to_pylist() == columns["i"].tolist()
    assert arrays[3].to_pylist() == columns["x"].astype(np.float32).tolist()
    assert parsed(values, FIELDS, fast=True) == parsed(values, FIELDS, fast=False)


def example(**columns: Any) -> bytes:
    return examples.encode({name: np.array([value]) for name, value in columns.items()})[0]


def test_odd_lists_in_the_sample_are_records_that_cannot_be_used() -> None:
    usual = [b'{"x": [1, 2, 3], "t": ["a"], "f": [0.5]}'] * 8
    odd = [b'{"x": [1, 2], "t": ["a"], "f": [1]}', b'{"x": [1, null, 3], "t": ["a"], "f": [1]}',
           b'{"x": ["a", 2, 3], "t": [7], "f": [1]}', b'{"x": [], "t": [], "f": [{}]}']  # fmt: skip
    found = fields_of_json([*odd, *usual], (), "here")
    assert [one.column for one in found] == [
        Column("x", "int64", (3,)), Column("t", "string", (1,)), Column("f", "float64", (1,))
    ]  # fmt: skip
    _, places, bad = parsing.json_parser(found)([*odd, *usual])
    assert places.tolist() == list(range(4, 12)) and sorted(place for place, _ in bad) == [0, 1, 2, 3]
    with pytest.raises(DataError, match="field 'x' holds lists that a model cannot take"):
        fields_of_json([b'{"x": [1]}', b'{"x": [1, 2]}'], (), "here")
    with pytest.raises(DataError, match="field 'x' holds lists that a model cannot take"):
        fields_of_json([b'{"x": [1, null]}'] * 3 + [b'{"x": [1, 2]}'] * 2, (), "here")


def test_odd_examples_in_the_sample_are_records_that_cannot_be_used() -> None:
    usual = [example(x=[1.0, 2.0], n=3)] * 5
    odd = [example(x=[1.0], n=3), example(x=[1.0, 2.0], n=[3, 4]), example(x=7, n=3), example(x=["a", "b"], n=3)]
    found = fields_of_examples([*odd, *usual], (), "here")
    assert [one.column for one in found] == [Column("n", "int64"), Column("x", "float32", (2,))]
    _, places, bad = example_parser(found)([*odd, *usual])
    assert places.tolist() == list(range(4, 9)) and sorted(place for place, _ in bad) == [0, 1, 2, 3]
    ragged = [example(x=[1.0] * (1 + n % 3), n=n) for n in range(9)]
    with pytest.raises(DataError, match="feature 'x' has lists of different lengths"):
        fields_of_examples(ragged, (), "here")
    assert [one.column for one in fields_of_examples(ragged, ["n"], "here")] == [Column("n", "int64")]
    none_alike = [example(a=1, b=2, c=[n, n] if n == k else 3) for n in range(3) for k in range(3)]
    assert len(fields_of_examples(none_alike, (), "here")) == 3
    apart = [example(**{name: [1, 2] if name == odd_one else 1 for name in "abc"}) for odd_one in "abc"]
    with pytest.raises(DataError, match="none of the first 3 records has all its features as most records have them"):
        fields_of_examples(apart, (), "here")
