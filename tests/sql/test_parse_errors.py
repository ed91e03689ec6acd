"""Errors name the mistake and point at its character."""

from __future__ import annotations

import pickle

import pytest

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse

# `^` marks the character that is to be pointed at.
MISTAKES = [
    ("SELECT * FROM t TO TRAIN^", "expected a model after TRAIN, but the statement ends here"),
    ("SELECT * FROM t TRAIN DNN^", "TRAIN requires INTO with a name for the trained model"),
    ("SELECT * FROM t TO TRAIN DNN WITH a=1^;", "INTO with"),
    ("SELECT * FROM t TRAIN DNN ^WIHT a=1 INTO m", "Did you mean 'WITH'?"),
    ("SELECT * FROM t TO TRAIN DNN ^WHERE a=1 INTO m", "found 'WHERE'"),
    ("SELECT * FROM t TO ^TRIAN DNN INTO m", "Did you mean 'TRAIN'?"),
    ("SELECT * FROM t TO TRAIN DNN WITH a=1 ^b=2 INTO m", "found 'b'"),
    ("SELECT * FROM t TO TRAIN DNN WITH a=1, ^INTO m", "expected an attribute's name, found 'INTO'"),
    ("SELECT * FROM t TRAIN DNN WITH a=^, b=2 INTO m", "a value"),
    ("SELECT * FROM t TRAIN DNN WITH a ^1 INTO m", "expected '=' after the attribute's name 'a', found '1'"),
    ("SELECT * FROM t TRAIN DNN WITH a=1, b=2, ^a=3 INTO m", "'a' is given twice"),
    ("SELECT * FROM t TRAIN DNN WITH a=[1, 2^; SELECT 3", "expected ',' or ']', but the statement ends here"),
    ("SELECT * FROM t TRAIN DNN WITH a=[1 ^2] INTO m", "',' or ']'"),
    ("SELECT * FROM t TRAIN DNN WITH a=-^x INTO m", "expected a number"),
    ("SELECT * FROM t TRAIN DNN WITH a=^12abc INTO m", "expected a number, found '12'"),
    ("SELECT * FROM t TRAIN DNN WITH a=^1e999 INTO m", "too large"),
    ("SELECT * FROM t TRAIN DNN WITH a=^:epochs INTO m", "no parameter :epochs"),
    ("SELECT * FROM t TRAIN DNN INTO m ^INTO n", "INTO is given twice"),
    ("SELECT * FROM t TRAIN DNN LABEL a ^LABEL b INTO n", "LABEL is given twice"),
    ("SELECT * FROM t TRAIN DNN INTO m ^SELECT 2", "found 'SELECT'"),
    ("SELECT * FROM t TRAIN DNN INTO^ ", "a name after INTO"),
    ("SELECT * FROM t TRAIN DNN COLUMN LABEL, ^INTO m", "a column or a function"),
    ("SELECT * FROM t TO TRAIN DNN COLUMN DENSE(a ^LABEL y INTO m", "',' or ')'"),
    ("SELECT * FROM t TO TRAIN DNN COLUMN DENSE(a)^) INTO m", "found ')'"),
    ("SELECT * FROM t TO TRAIN DNN COLUMN ^10 LABEL y INTO m", "a column or a function"),
    ("SELECT * FROM t TO PREDICT ^c USING m", "PREDICT table.column"),
    ("SELECT * FROM t PREDICT t.c^", "PREDICT requires USING with the name of the trained model"),
    ("SELECT * FROM t TO PREDICT t.c ^LABEL x USING m", "PREDICT takes no LABEL"),
    ("SELECT * FROM t TO PREDICT t. ^USING m", "a name after the dot"),
    ("SELECT * FROM t TO EVALUATE m ^USING n", "EVALUATE takes no USING"),
    ("SELECT * FROM t TO EXPLAIN m ^COLUMN n", "EXPLAIN takes no COLUMN"),
    ("SELECT * FROM t TO ANALYZE m ^LABEL n", "ANALYZE takes no LABEL"),
    ("^TRAIN DNN INTO m", "TRAIN requires a query before it"),
    ("^TO PREDICT a.b USING m", "PREDICT requires a query before it"),
    ("^INSERT INTO t SELECT 1 TO TRAIN DNN INTO m", "this statement begins with INSERT"),
    ("SELECT ^'abc FROM t", "this quote (') is not closed"),
    ('SELECT ^"abc FROM t', 'this quote (") is not closed'),
    ("SELECT 1 ^/* and so on", "comment is not closed"),
    ("SELECT * FROM t TO TRAIN DNN WITH a=^'abc INTO m", "not closed"),
    ("SELECT * FROM t TO ^RUN a/b:v1 CMD 'x.py'", "TO RUN is not supported; TRAIN, PREDICT, EVALUATE and EXPLAIN are"),
    ("SELECT * FROM t to ^maximize SUM(a) CONSTRAINT b <= 1 USING glpk INTO x", "TO MAXIMIZE is not supported"),
    ("SELECT * FROM t TO ^MINIMIZE SUM(a) WITH v='x' INTO x; SELECT 2", "TO MINIMIZE is not supported"),
    ("SHOW TRAIN a ^b", "';' or the end"),
    ("SHOW MODELS ^LIKE 'x'", "nothing may follow SHOW MODELS"),
    ("DROP MODEL^", "expected the name of a trained model"),
    ("DROP MODEL IF EXISTS^;", "expected the name of a trained model"),
    ("SELECT 1;\nSELECT * FROM t\n  TO TRAIN DNN\n\tWITH 名='値', b=^? INTO m", "a value"),
]


@pytest.mark.parametrize(("marked", "message"), MISTAKES)
def test_an_error_points_at_the_mistake(marked: str, message: str) -> None:
    offset = marked.index("^")
    text = marked.replace("^", "", 1)
    with pytest.raises(SqlError) as caught:
        parse(text)
    error = caught.value
    assert message in error.problem
    assert error.position is not None
    assert type(error) is SqlError
    assert error.position.offset == offset
    before = text[:offset]
    assert (error.position.line, error.position.column) == (before.count("\n") + 1, len(before.split("\n")[-1]) + 1)


def test_the_message_shows_the_line_and_a_caret() -> None:
    with pytest.raises(SqlError) as caught:
        parse("SELECT 1;\nSELECT a FROM t\nTRAIN DNN WIHT x=1 INTO m")
    assert str(caught.value).splitlines()[1:] == [
        "line 3, column 11:",
        "  TRAIN DNN WIHT x=1 INTO m",
        "            ^",
    ]


def test_the_caret_stands_below_wide_characters_and_behind_tabs() -> None:
    with pytest.raises(SqlError) as caught:
        parse("SELECT '値'\tTO TRAIN DNN WIHT x=1 INTO m")
    assert str(caught.value).splitlines()[-1] == "  " + " " * 11 + "\t" + " " * 13 + "^"


def test_a_long_line_is_shown_around_the_mistake() -> None:
    with pytest.raises(SqlError) as caught:
        parse(f"SELECT {', '.join('abc' for _ in range(500))} FROM t TO TRAIN m WIHT x=1 INTO {'y' * 500}")
    shown, caret = str(caught.value).splitlines()[-2:]
    assert len(shown) < 110
    assert shown[caret.index("^") :].startswith("WIHT")


def test_errors_survive_their_way_from_another_process() -> None:
    with pytest.raises(SqlError) as caught:
        parse("SELECT 'a")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_deep_nesting_is_an_error_of_its_own() -> None:
    with pytest.raises(SqlError, match="nested deeper"):
        parse(f"SELECT 1 TO TRAIN m WITH a={'[' * 5000}{']' * 5000} INTO x")
    with pytest.raises(SqlError, match="nested deeper"):
        parse(f"SELECT 1 TO TRAIN m COLUMN {'A(' * 5000}{')' * 5000} INTO x")
    assert len(parse(f"SELECT {'(' * 3000}1{')' * 3000}")) == 1
