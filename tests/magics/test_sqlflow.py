"""`%sqlflow` in a shell."""

from __future__ import annotations

import datetime
from pathlib import Path

import duckdb
import pytest
from magic_shell import Shell

import elasticdl_nb
from elasticdl_nb.magics.options import MagicError
from elasticdl_nb.magics.sqlline import read_line
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.result import Result


@pytest.fixture(autouse=True)
def fresh(shell: Shell) -> None:
    """A session of its own for each test."""
    shell.run("%sqlflow --connect :memory:")


def test_a_line_or_a_cell_gives_its_rows(shell: Shell, capsys):
    shell.run("%sqlflow SELECT 41 + 1 AS answer")
    assert "42" in capsys.readouterr().out
    shell.run("%%sqlflow\nCREATE TABLE t AS SELECT i FROM range(3) r(i);\n\n-- and\nSELECT sum(i) AS total FROM t;")
    assert "total" in capsys.readouterr().out


def test_variables_are_bound_in_queries_inside_with(shell: Shell, capsys):
    shell.run("import numpy", "some, most = numpy.array([1, 2]), numpy.int64(2)")
    shell.run("%sqlflow CREATE TABLE t AS SELECT i AS x, i * 2.5 AS y FROM range(9) r(i)")
    shell.run("%sqlflow found << SELECT x FROM t WHERE x IN :some")
    assert shell.run("found.df()['x'].tolist()") == [1, 2]
    shell.run("%%sqlflow --show_program\nSELECT x, y FROM t TRAIN DNNRegressor\n"
              "WITH validation.select='SELECT x, y FROM t WHERE x > :most' INTO m")  # fmt: skip
    assert "WHERE x > 2" in str(capsys.readouterr())


def test_a_result_is_kept_by_name(shell: Shell, capsys):
    shell.run("%sqlflow found << SELECT 1 AS a, 'x' AS b")
    assert isinstance(shell.names["found"], Result)
    assert shell.run("found.df().shape") == (1, 2)
    shell.run("%%sqlflow other <<\nSELECT 7 AS first;\nSELECT 2 AS a")
    assert shell.run("other.arrow().to_pylist()") == [{"a": 2}]
    out = capsys.readouterr().out
    assert "first" in out and "7" in out
    shell.run("%%sqlflow third << SELECT 3 AS a\nUNION ALL SELECT 4")
    assert shell.run("len(third)") == 2


def test_options_stand_before_the_sql_on_the_first_line(shell: Shell, tmp_path: Path):
    shell.run(f"%%sqlflow --connect={tmp_path}/a.duckdb kept <<\nCREATE TABLE t AS SELECT 5 AS x;\nSELECT * FROM t")
    assert shell.run("kept.pl()['x'].to_list()") == [5]
    shell.run("%sqlflow --connect :memory:", f"%sqlflow --connect '{tmp_path}/a.duckdb'", "%sqlflow again << FROM t")
    assert shell.run("len(again)") == 1
    shell.run("%%sqlflow\n--connect is a comment here\nSELECT 1 AS x")


def test_an_open_connection_may_be_given(shell: Shell):
    shell.names["mine"] = duckdb.connect(":memory:")
    shell.run("mine.execute('CREATE TABLE here AS SELECT 9 AS x')", "%sqlflow --connect $mine r << SELECT * FROM here")
    assert shell.run("r.df()['x'][0]") == 9


def test_the_session_is_shown(shell: Shell, capsys):
    shell.run("%sqlflow CREATE TABLE some_table AS SELECT 1 AS x", "%sqlflow")
    out = capsys.readouterr().out
    assert "some_table" in out and "trained models" in out and "--help" in out


def test_parameters_come_from_the_line_and_from_the_notebook(shell: Shell):
    shell.run(
        "low = 2", "name = \"it's\"", "day = __import__('datetime').date(2020, 1, 2)", "mapping = {}",
        "%%sqlflow --param high=3 --param ids=[1,2] --param text='a b' r <<\n"
        "SELECT :low AS low, :high AS high, :name AS name, 2 IN :ids AS there, :text AS text, DATE :day AS day",
    )  # fmt: skip
    row = shell.run("r.arrow().to_pylist()[0]")
    assert list(row.values())[:6] == [2, 3, "it's", True, "a b", datetime.date(2020, 1, 2)]
    shell.run("%sqlflow --param low=5 r << SELECT :low AS x", "%sqlflow --param low s << SELECT :low AS x")
    assert shell.run("r.df()['x'][0], s.df()['x'][0]") == (5, 2)
    with pytest.raises(SqlError, match="no parameter :lov"):
        shell.run("%sqlflow --param low SELECT :lov")
    with pytest.raises(OptionError, match=r"no variable 'lov'.*Did you mean 'low'"):
        shell.run("%sqlflow --param lov SELECT 1")


def test_templates_are_filled_only_when_asked_for(shell: Shell):
    shell.run("table = 'a_b'", "%sqlflow CREATE TABLE a_b AS SELECT 1 AS x")
    shell.run("%sqlflow --template --param n=2 r << SELECT * FROM {{ table }} WHERE x < {{n}}")
    assert shell.run("len(r)") == 1
    with pytest.raises(SqlError):
        shell.run("%sqlflow SELECT * FROM {{ table }}")
    with pytest.raises(OptionError, match="no variable 'tabel'"):
        shell.run("%sqlflow --template SELECT * FROM {{ tabel }}")


def test_an_error_is_one_message_with_the_place_in_the_cell(shell: Shell, capsys):
    with pytest.raises(SqlError) as caught:
        shell.run("%%sqlflow\nSELECT 1;\nSELECT * FROM t\nTO TRAIN DNN WIHT x=1 INTO m")
    assert caught.value.position is not None
    assert (caught.value.position.line, caught.value.position.column) == (4, 14)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "SqlError: expected WITH, COLUMN" in shown.out + shown.err
    with pytest.raises(SqlError) as caught:
        shell.run("%sqlflow SELECT 1 TO TRAIN x")
    assert caught.value.position is not None and caught.value.position.column == 29


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("--conect x SELECT 1", "Did you mean 'connect'"),
        ("--connect", "needs a value"),
        ("--dry_run=x SELECT 1", "takes no value"),
        ("--connect a --connect b", "given twice"),
        ("--param x=1 --param x=2 SELECT 1", "x is given twice"),
        ("--param 1x=1 SELECT 1", "NAME=VALUE"),
        ("--as 1x SELECT 1", "not a valid variable name"),
        ("--connect /nowhere/at/all.duckdb", "no directory"),
    ],
)
def test_mistakes_on_the_first_line_are_named(shell: Shell, line: str, error: str):
    with pytest.raises(OptionError, match=error):
        shell.run(f"%sqlflow {line}")


def test_a_target_needs_sql(shell: Shell):
    with pytest.raises(MagicError, match="no SQL"):
        shell.run("%sqlflow x <<")


def test_a_bad_connection_leaves_the_one_there_is(shell: Shell):
    shell.run("%sqlflow CREATE TABLE kept AS SELECT 1 AS x")
    with pytest.raises(OptionError):
        shell.run("%sqlflow --connect /nowhere/at/all.duckdb SELECT 1")
    shell.run("%sqlflow SELECT * FROM kept")


def test_what_follows_the_options_is_sql() -> None:
    for line, start in [
        ("-- a comment", 0),
        ("--dry_run -- a comment", 9),
        ("a << SELECT 1", 4),
        ("SELECT 1 << 2", 0),
        ("--connect=x a<<b", 15),
        ("", 0),
    ]:
        assert read_line(line, {}).start == start, line


def test_help_lists_the_options(shell: Shell, capsys):
    shell.run("%sqlflow --help")
    out = capsys.readouterr().out
    for option in ("--connect", "--param", "--template", "--show_program"):
        assert option in out


# ------------------------------------------------------------------ completion


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%sqlflow --con", "%sqlflow --connect="),
        ("%sqlflow SELECT * FROM emp", "%sqlflow SELECT * FROM employee"),
        ("%sqlflow SELECT sal FROM employee WHERE sal", "%sqlflow SELECT sal FROM employee WHERE salary"),
        ("%sqlflow SELECT * FROM employee WHERE employee.na", "%sqlflow SELECT * FROM employee WHERE employee.name"),
        ("%%sqlflow\nSELECT * FROM employee\nTO TR", "%%sqlflow\nSELECT * FROM employee\nTO TRAIN"),
        ("%%sqlflow\nSELECT * FROM employee\ntra", "%%sqlflow\nSELECT * FROM employee\nTRAIN"),
        ("%%sqlflow x <<\nSELECT * FROM employee TRAIN regressor.D", "TRAIN regressor.DNN"),
        ("%%sqlflow\nSELECT * FROM employee TRAIN regressor.DNN WITH hid", "WITH hidden_units="),
        (
            "%%sqlflow\nSELECT * FROM employee TRAIN regressor.DNN WITH hidden_units=[1, 2], train.ba",
            "train.batch_size=",
        ),
        ("%%sqlflow\nSELECT * FROM employee TRAIN regressor.DNN COLUMN EMB", "COLUMN EMBEDDING("),
        ("%%sqlflow\nSELECT * FROM employee TRAIN regressor.DNN COLUMN DENSE(sal", "COLUMN DENSE(salary"),
        ("%%sqlflow\nSELECT * FROM employee TRAIN regressor.DNN LABEL sal", "LABEL salary"),
        ("%%sqlflow\nSELECT * FROM employee TRAIN regressor.DNN LABEL salary IN", "LABEL salary INTO"),
        ("%%sqlflow\nSELECT * FROM employee PREDICT employee.sal", "PREDICT employee.salary"),
        ("%sqlflow SHOW TR", "%sqlflow SHOW TRAIN"),
    ],
)
def test_tab_knows_what_comes_next(shell: Shell, text: str, offered: str):
    shell.run("%sqlflow CREATE TABLE employee (name TEXT, role TEXT, salary DOUBLE)")
    found = shell.complete(text)
    assert any(one.endswith(offered) for one in found), found


def test_tab_offers_nothing_in_strings_and_other_cells(shell: Shell):
    shell.run("%sqlflow CREATE TABLE employee (salary DOUBLE)")
    assert not any("salary" in one for one in shell.complete("%sqlflow SELECT 'sal"))
    assert not any("employee" in one for one in shell.complete("x = 'SELECT * FROM emp"))


def test_unloading_the_extension_closes_the_database(shell: Shell, tmp_path: Path):
    shell.run(f"%sqlflow --connect {tmp_path}/a.duckdb", "%sqlflow CREATE TABLE t AS SELECT 1 AS x")
    elasticdl_nb.unload_ipython_extension(shell.ip)
    elasticdl_nb.load_ipython_extension(shell.ip)
    with duckdb.connect(f"{tmp_path}/a.duckdb", read_only=True) as connection:
        assert connection.sql("FROM t").fetchall() == [(1,)]
