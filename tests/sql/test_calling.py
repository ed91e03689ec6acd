"""`elasticdl_nb.sql(…)`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import elasticdl_nb
from elasticdl_nb.runtime.errors import OptionError


def test_a_call_runs_statements_and_gives_the_last_result() -> None:
    result = elasticdl_nb.sql("CREATE TABLE called AS SELECT 1 AS x; SELECT x + :n AS y FROM called", params={"n": 2})
    assert result.arrow().to_pylist() == [{"y": 3}]
    # The database in memory is one for all calls.
    assert len(elasticdl_nb.sql("FROM called")) == 1


def test_a_database_is_named_or_handed_over(tmp_path: Path) -> None:
    place = str(tmp_path / "data.duckdb")
    elasticdl_nb.sql("CREATE TABLE t AS SELECT 4 AS x", connect=place)
    with duckdb.connect(place) as connection:
        assert elasticdl_nb.sql("FROM t", connect=connection).df()["x"].tolist() == [4]
        assert connection.execute("SELECT 5").fetchone() == (5,)


def test_mistakes_are_errors() -> None:
    with pytest.raises(OptionError, match="no statement"):
        elasticdl_nb.sql(" -- nothing")
    with pytest.raises(elasticdl_nb.SqlError, match="line 1, column 20"):
        elasticdl_nb.sql("SELECT 1 x TO TRAIN")
    with pytest.raises(AttributeError, match="no attribute 'sessoin'"):
        elasticdl_nb.sql.sessoin  # noqa: B018


@pytest.mark.parametrize(
    "marked",
    [
        "SELECT 1;\nSELECT b,\n  ^zz FROM range(3) jazz(b)",
        "SELECT 1 FROM range(3);\nSELECT a FROM ^nowhere",
        "SELECT 1; -- nope\nSELECT ^nope(1) TO TRAIN DNNRegressor INTO m",
        "SELECT 1;\n  ^SELEC 2",
        "SELECT 1; SELECT 1 FROM range(3) WHERE ^ORDER BY 1",
        "SELECT i, 1 AS y FROM range(3) r(i) TO TRAIN DNNRegressor LABEL ^nothing INTO m",
    ],
)
def test_what_the_database_refuses_is_pointed_at(marked: str) -> None:
    with pytest.raises(elasticdl_nb.SqlError) as caught:
        elasticdl_nb.sql(marked.replace("^", ""))
    assert caught.value.position is not None
    assert caught.value.position.offset == marked.index("^")


def test_the_package_can_be_called_whatever_was_imported_first() -> None:
    for first in (
        "import elasticdl_nb",
        "import elasticdl_nb.sql.language.parser, elasticdl_nb",
        "from elasticdl_nb import sql",
    ):
        code = f"{first}\nimport elasticdl_nb\nassert callable(elasticdl_nb.sql) and elasticdl_nb.sql.Session"
        subprocess.run([sys.executable, "-c", code], check=True)
