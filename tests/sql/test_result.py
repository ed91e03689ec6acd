"""What a statement gave, as frames and as people see it."""

from __future__ import annotations

import datetime
import decimal

import polars
import pyarrow as pa

from elasticdl_nb.given.frames import is_frame
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.result import COLUMNS_SHOWN, ROWS_SHOWN, Result
from elasticdl_nb.sql.verbs.explainers.bars import bars

(STATEMENT,) = parse("SELECT 1")
TABLE = pa.table(
    {
        "number": [1, None, 3],
        "<name>": ["a & b", None, "[bold]x[/]" + "y" * 2000],
        "price": [decimal.Decimal("1.50"), decimal.Decimal("2.25"), None],
        "ratio": [1 / 3, 1e-9, 123456789.0],
        "day": [datetime.date(2020, 1, 2), None, None],
        "at": [datetime.datetime(2020, 1, 2, 3, 4, 5), None, None],
        "raw": [b"\x00\xff", b"", None],
        "list": [[1, 2], [], None],
        "flag": [True, False, None],
    }
)


def result(table: pa.Table | None = TABLE, **others: object) -> Result:
    return Result(STATEMENT, table, **others)  # type: ignore[arg-type]


def test_rows_come_as_frames_of_every_kind() -> None:
    given = result()
    assert given.arrow() is TABLE
    assert given.df()["number"].tolist()[0] == 1
    assert given.pl()["number"].to_list() == [1, None, 3]
    assert polars.DataFrame(given).height == 3
    assert pa.table(given).equals(TABLE)
    assert is_frame(given)
    assert len(given) == 3


def test_a_statement_without_rows_gives_empty_frames() -> None:
    given = result(None, messages=("Done.",))
    assert given.arrow().num_columns == given.df().shape[0] == given.pl().height == len(given) == 0
    assert repr(given) == "Done."
    assert given


def test_the_picture_in_a_notebook_is_safe_and_shows_nulls() -> None:
    page = result(messages=("a < b",), plot="<svg/>")._repr_html_()
    assert "&lt;name&gt;" in page
    assert "a &amp; b" in page
    assert "<p>a &lt; b</p>" in page
    assert page.count("NULL") == 10
    assert "data:image/svg+xml;base64,PHN2Zy8+" in page
    assert "3 rows" in page
    assert "y" * 1500 not in page


def test_the_text_shows_values_as_they_are() -> None:
    text = repr(result(TABLE.slice(0, 1)))
    for cell in ("1", "a & b", "1.50", "0.333333", "2020-01-02", "03:04:05", "00ff", "[1, 2]", "true", "1 row"):
        assert cell in text
    assert "[bold]" in repr(result(TABLE.select(["<name>"])))


def test_only_the_first_rows_and_columns_are_shown() -> None:
    many = pa.table({f"c{place}": [place] * 1000 for place in range(100)})
    for shown in (repr(result(many)), result(many)._repr_html_()):
        assert f"1,000 rows, of which the first {ROWS_SHOWN} are shown; {COLUMNS_SHOWN} of 100 columns" in shown
    assert result(many)._repr_html_().count("<tr>") == ROWS_SHOWN + 1
    assert result(many)._repr_html_().count("<th ") == COLUMNS_SHOWN + 1


def test_columns_of_the_same_name_are_both_shown() -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    assert result(twice)._repr_html_().count("<td") == 2
    assert repr(result(twice)).count("a") >= 2


def test_a_query_without_rows_shows_its_columns() -> None:
    empty = pa.table({"a": pa.array([], pa.int64())})
    assert "0 rows" in repr(result(empty))
    assert "a</th>" in result(empty)._repr_html_()


def test_a_picture_of_importances_is_legible_on_any_page_and_has_words() -> None:
    picture = bars(["age", "sex"], [0.4, -0.1], "Importance")
    first = picture.index("<rect")
    assert 'fill="#fff"' in picture[first : picture.index("/>", first)] and 'fill="#1c2128"' in picture[:first]
    shown = result(None, messages=("2 columns explained",), plot=picture)._repr_html_()
    assert 'alt="2 columns explained"' in shown
