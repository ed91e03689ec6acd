"""Values for `:name` in queries."""

from __future__ import annotations

import datetime
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from elasticdl_nb.sql.engines import connect
from elasticdl_nb.sql.engines.parameters import bind
from elasticdl_nb.sql.language.errors import SqlError

VALUES = {"low": 1, "name": "it's", "ids": [1, 2], "none": None, "v": 9, "below": -5}


@pytest.mark.parametrize(
    ("query", "bound"),
    [
        ("SELECT * FROM t WHERE a > :low", "SELECT * FROM t WHERE a > 1"),
        ("SELECT :name, :none", "SELECT 'it''s', NULL"),
        ("SELECT * FROM t WHERE a IN :ids AND b<:low", "SELECT * FROM t WHERE a IN (1, 2) AND b<1"),
        ("SELECT f(:low,:low)", "SELECT f(1,1)"),
        ("SELECT a::v, ':v', \":v\", $$:v$$ -- :v\n/* :v */", "SELECT a::v, ':v', \":v\", $$:v$$ -- :v\n/* :v */"),
        ("SELECT {'k':v}, a[1:v], b[:last]", "SELECT {'k':v}, a[1:v], b[:last]"),
        ("SELECT [:low, :v], ARRAY[:low]", "SELECT [1, 9], ARRAY[1]"),
        ('SELECT items[:low], f(x)[:low], "a b"[:low]', 'SELECT items[:low], f(x)[:low], "a b"[:low]'),
        ("SELECT 10-:below, :below::BIGINT", "SELECT 10-(-5), (-5)::BIGINT"),
        ("SELECT :low.5, :name'x'", "SELECT 1 .5, 'it''s' 'x'"),
    ],
)
def test_declared_names_are_replaced(query: str, bound: str) -> None:
    with_values = bind(query, VALUES, connect())
    assert with_values == bound


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(SqlError, match="there is no parameter :nam\\. Did you mean 'name'"):
        bind("SELECT :nam", VALUES, connect())
    assert bind("SELECT :nam", {}, connect()) == "SELECT :nam"


def test_a_value_stays_a_value_whatever_it_contains() -> None:
    connection = connect()
    for text in ("it's", "\\", "\\'; DROP TABLE t; --", "a\nb", "/*", "$$", ":low", "ünï"):
        assert connection.rows(bind("SELECT :text", {"text": text}, connection)) == [(text,)]
    for number in (-5, -9223372036854775000, 0.1 + 0.2, -1e300, decimal.Decimal("-1E+3"), decimal.Decimal("0.10")):
        ((found,),) = connection.rows(bind("SELECT 0.5-:n AS x -- 1", {"n": number}, connection))
        assert float(found) == pytest.approx(0.5 - float(number))


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (np.float64(1.5), "1.5"), (np.int8(-3), "(-3)"), (np.bool_(True), "TRUE"), (np.str_("it's"), "'it''s'"),
        (np.array([1, 2]), "(1, 2)"), (np.array(7), "7"), (np.float32(0.5), "0.5"),
        (np.datetime64("2020-01-02T03:04:05.123456789"), "'2020-01-02 03:04:05.123456'"),
        (np.datetime64("2020-01-02"), "'2020-01-02'"), (np.datetime64("NaT"), "NULL"),
        (np.array(["2020-01-02"], "datetime64[ns]"), "('2020-01-02 00:00:00')"),
        (pd.Timestamp("2020-01-02 03:04"), "'2020-01-02 03:04:00'"), (pd.NaT, "NULL"), (pd.NA, "NULL"),
        (pd.Series(["a", "b"]), "('a', 'b')"), (pd.Index([3, 4]), "(3, 4)"),
        (pd.Series(pd.to_datetime(["2020-01-02"])), "('2020-01-02 00:00:00')"),
        (pa.scalar(5), "5"), (pa.array([1, None]), "(1, NULL)"), ((1, "x"), "(1, 'x')"),
        (uuid.UUID(int=1), "'00000000-0000-0000-0000-000000000001'"), (datetime.time(1, 2), "'01:02:00'"),
    ],
)  # fmt: skip
def test_values_of_other_libraries_are_bound(value: object, literal: str) -> None:
    assert bind("SELECT :value", {"value": value}, connect()) == f"SELECT {literal}"


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), np.float32("inf"), decimal.Decimal("NaN"), b"x", object(), {"a": 1}, pd.DataFrame({"a": [1]}),
        np.timedelta64(5, "s"), [1, float("inf")], "a\0b", "\ud800", np.datetime64("30000-01-01"),
    ],
)  # fmt: skip
def test_values_that_sql_cannot_have_are_refused_by_name(value: object) -> None:
    with pytest.raises(SqlError, match=r"^:value (is|has) .* cannot be written in SQL"):
        bind("SELECT :value", {"value": value}, connect())
