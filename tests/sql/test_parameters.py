"""Values for `:name` in queries."""

from __future__ import annotations

import pytest

from elasticdl_nb.sql.engines import connect
from elasticdl_nb.sql.engines.parameters import bind
from elasticdl_nb.sql.language.errors import SqlError

VALUES = {"low": 1, "name": "it's", "ids": [1, 2], "none": None, "v": 9}


@pytest.mark.parametrize(
    ("query", "bound"),
    [
        ("SELECT * FROM t WHERE a > :low", "SELECT * FROM t WHERE a > 1"),
        ("SELECT :name, :none", "SELECT 'it''s', NULL"),
        ("SELECT * FROM t WHERE a IN :ids AND b<:low", "SELECT * FROM t WHERE a IN (1, 2) AND b<1"),
        ("SELECT f(:low,:low)", "SELECT f(1,1)"),
        ("SELECT a::v, ':v', \":v\", $$:v$$ -- :v\n/* :v */", "SELECT a::v, ':v', \":v\", $$:v$$ -- :v\n/* :v */"),
        ("SELECT {'k':v}, a[1:v], b[:last]", "SELECT {'k':v}, a[1:v], b[:last]"),
        ("SELECT [:low, :v]", "SELECT [1, 9]"),
    ],
)
def test_declared_names_are_replaced(query: str, bound: str) -> None:
    with_values = bind(query, VALUES, connect())
    assert with_values == bound


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(SqlError, match="there is no parameter :nam\\. Did you mean 'name'"):
        bind("SELECT :nam", VALUES, connect())
    assert bind("SELECT :nam", {}, connect()) == "SELECT :nam"
