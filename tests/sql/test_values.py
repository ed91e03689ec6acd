"""Values and types that are no ordinary numbers and texts: each is a feature or named, none dropped in silence."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_tables import ENGINES, store_untrained, url_of

from elasticdl_nb.cli import main
from elasticdl_nb.cli.sql import as_json
from elasticdl_nb.sql.engines import arrowtypes
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Train
from elasticdl_nb.sql.models.outputs import read_outputs
from elasticdl_nb.sql.plan import Plan
from elasticdl_nb.sql.server.rows import encode_rows
from elasticdl_nb.sql.session import Session
from elasticdl_nb.sql.verbs import training
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.tables.featurerecord import Number

ROWS = "(SELECT i * 1.0 AS x, i, CASE WHEN i < 5 THEN 1.5 ELSE i * 0.5 END AS y FROM numbers) AS n"


@pytest.fixture
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    kind = getattr(request, "param", "duckdb")
    with Session(url_of(kind, tmp_path, request), str(tmp_path / "models")) as session:
        run = session.engine.main.run
        run("DROP TABLE IF EXISTS numbers")
        run("CREATE TABLE numbers (i INTEGER)")
        run(f"INSERT INTO numbers VALUES {', '.join(f'({i})' for i in range(20))}")
        yield session


def plan(session: Session, column: str, clause: str = "TRAIN DNNRegressor INTO m") -> Plan:
    return session.plan(f"SELECT x, {column} AS c, y FROM {ROWS} {clause}")[0]


def of_every(kinds: dict[str, list[Any]]) -> list[Any]:
    marks = {"postgresql": pytest.mark.needs("postgresql"), "mariadb": pytest.mark.needs("mariadb")}
    return [pytest.param(kind, values, id=kind, marks=marks.get(kind, ())) for kind, values in kinds.items()]


MOMENTS = {
    "duckdb": ["DATE 'infinity'", "TIMESTAMP '-infinity'", "CASE WHEN i = 3 THEN TIMESTAMPTZ 'infinity' END"],
    "postgresql": ["date 'infinity'", "timestamp '-infinity'", "CASE WHEN i = 3 THEN timestamptz 'infinity' END"],
    "mariadb": ["CAST('0000-00-00' AS DATE)", "CAST('2020-00-15' AS DATETIME)"],
}
FAR_MOMENTS = {
    "duckdb": ["DATE '0044-03-15 (BC)'", "DATE '12000-01-01'", "TIMESTAMP '12000-01-01'"],
    "postgresql": ["date '0044-03-15 BC'", "date '12000-01-01'", "timestamp '12000-01-01'"],
}
TIMES = {
    "duckdb": ["CASE WHEN i = 3 THEN TIME '24:00' ELSE TIME '01:00' END"],
    "postgresql": ["CASE WHEN i = 3 THEN time '24:00' ELSE time '01:00' END"],
    "mariadb": ["CASE WHEN i = 3 THEN CAST('24:00:00' AS TIME) ELSE CAST('838:59:59' AS TIME) END"],
}
NOT_FINITE = {
    "duckdb": ["'nan'::DOUBLE", "'-infinity'::FLOAT"],
    "postgresql": ["'NaN'::float8", "'infinity'::float4", "'NaN'::numeric"],
    "sqlite": ["9e999"],
}
UNUSABLE = {
    "duckdb": {
        "['a']": "list", "[[1]]": "list", "{'a': i}": "struct", "MAP {'a': i}": "map", "'x'::BLOB": "binary",
        "INTERVAL (i) DAY": "interval", "'101'::BIT": "binary", "union_value(a := i)": "union",
    },
    "postgresql": {
        "ARRAY['a']": "text[]", "ROW(i, 2)": "record", "'x'::bytea": "binary", "i * interval '1 day'": "interval",
        "point(i, i)": "point", "'{}'::json": "json", "'{}'::jsonb": "jsonb", "i::int::money": "money",
        "int4range(i, i + 2)": "int4range", "B'101'": "bit", "timetz '01:00+02'": "time with time zone",
        "'a b'::tsvector": "tsvector", "'<a/>'::xml": "xml",
    },
    "mariadb": {"x'ff01'": "binary", "POINT(i, i)": "geometry"},
    "sqlite": {"x'ff'": "binary"},
}  # fmt: skip
LISTS = {
    "duckdb": ["[1.5, i]", "[i, NULL]", "[i, 2]::INT[2]", "[i, 2]::DOUBLE[2]"],
    "postgresql": ["ARRAY[1.5, i]", "ARRAY[i, NULL]", "ARRAY[i, 2]::float8[]"],
}


@pytest.mark.parametrize(("session", "columns"), of_every(MOMENTS), indirect=["session"])
def test_moments_that_no_calendar_has_are_refused_by_value(session: Session, columns: list[str]) -> None:
    for column in columns:
        with pytest.raises(
            SqlError, match=r"column 'c' has values that are no point in time, such as '(-?inf|0000|2020)"
        ):
            plan(session, column)


@pytest.mark.parametrize(("session", "columns"), of_every(FAR_MOMENTS), indirect=["session"])
def test_moments_beyond_python_s_years_are_features(session: Session, columns: list[str]) -> None:
    for column in columns:
        near = "DATE '2000-02-03'" if "DATE" in column.upper() else "TIMESTAMP '2000-02-03'"
        assert "c: its time" in plan(session, f"CASE WHEN i = 3 THEN {column} ELSE {near} END").features


@pytest.mark.parametrize(("session", "columns"), of_every(TIMES), indirect=["session"])
def test_a_time_may_be_that_of_the_day_s_end(session: Session, columns: list[str]) -> None:
    for column in columns:
        assert "c: number" in plan(session, column).features


@pytest.mark.parametrize(("session", "values"), of_every(NOT_FINITE), indirect=["session"])
def test_numbers_that_are_not_finite_are_said_and_no_labels(session: Session, values: list[str]) -> None:
    for value in values:
        some = f"CASE WHEN i = 3 THEN {value} ELSE x END"
        made = plan(session, some)
        assert "c: number" in made.features
        assert "c is NaN or infinite in 1 of 20 rows; these count as the mean" in made.messages
        made = session.plan(f"SELECT x, {some} AS c FROM {ROWS} TRAIN DNNRegressor INTO m")[0]
        assert "1 row without a label (c is NaN or infinite) is left out" in made.messages
        assert len(session.engine.rows(made.query)) == 19
        with pytest.raises(SqlError, match="the label 'c' has no value that is a finite number"):
            session.plan(f"SELECT x, {value} AS c FROM {ROWS} TRAIN DNNRegressor INTO m")
        store_untrained(session, f"SELECT x, y FROM {ROWS} TRAIN DNNRegressor INTO m")
        made = session.plan(f"SELECT x, {some} AS y FROM {ROWS} EVALUATE m")[0]
        assert made.messages == ("1 row without a label (y is NaN or infinite) is left out",)
        session.run("DROP MODEL m")


@pytest.mark.parametrize(("session", "columns"), of_every(UNUSABLE), indirect=["session"])
def test_types_that_no_model_takes_are_named(session: Session, columns: dict[str, str]) -> None:
    for column, kind in columns.items():
        made = plan(session, column)
        assert made.features == ("x: number",)
        (said,) = [message for message in made.messages if message.startswith("c ")]
        assert said.startswith("c is left out: models take no values of the type ") and kind in said
        with pytest.raises(SqlError, match="no column can be used as a feature: c is left out: models take no values"):
            session.plan(f"SELECT {column} AS c, y FROM {ROWS} TRAIN DNNRegressor INTO m")
        with pytest.raises(SqlError, match=r"the type of column 'c' \(.*\) cannot be used as a feature"):
            plan(session, column, "TRAIN DNNRegressor COLUMN c INTO m")


@pytest.mark.parametrize(("session", "columns"), of_every(LISTS), indirect=["session"])
def test_lists_of_numbers_are_features(session: Session, columns: list[str]) -> None:
    for column in columns:
        assert plan(session, column).features == ("x: number", "c: 2 numbers")
        assert plan(session, column, "TRAIN DNNRegressor COLUMN DENSE(c, 2) INTO m").features == ("c: 2 numbers",)
        with pytest.raises(SqlError, match="the lists of column 'c' have 2 numbers, not 3"):
            plan(session, column, "TRAIN DNNRegressor COLUMN DENSE(c, 3) INTO m")
        longer = column.replace("]", ", 3]", 1) if "[2]" not in column else "[1]::INT[1]"
        if "::" not in column:
            with pytest.raises(SqlError, match="have 2 to 3 numbers; all need the same length"):
                plan(session, f"CASE WHEN i = 3 THEN {longer} ELSE {column} END")
        store_untrained(session, f"SELECT x, {column} AS c, y FROM {ROWS} TRAIN DNNRegressor INTO m")
        with pytest.raises(SqlError, match=r"'c' has a list of [13] numbers, but the model was trained with 2"):
            session.plan(f"SELECT x, {longer} AS c, y FROM {ROWS} EVALUATE m")
        session.run("DROP MODEL m")


def test_numbers_in_lists_are_scaled_exactly_and_odd_ones_said(session: Session) -> None:
    def feature(column: str, clause: str = "TRAIN DNNRegressor INTO m") -> Number:
        statement = parse(f"SELECT x, {column} AS c, y FROM {ROWS} {clause}", "duckdb")[0]
        assert isinstance(statement, Train)
        context = Context(session.engine, session.store)
        with context.cleanup:
            (found,) = [f for f in training.prepare(statement, context).record.features[""] if f.columns() == ["c"]]
        assert isinstance(found, Number)
        return found

    large = feature("[1.6e15 + i, 1.6e15 - i]")
    assert large.mean == 1.6e15 and large.deviation == pytest.approx(np.std([*range(20), *range(0, -20, -1)]))
    with pytest.raises(SqlError, match="values of column 'c' are so large that their mean or deviation is infinite"):
        feature("[1e300, -1e300]")
    for column, clause in (("['nan'::DOUBLE, i]", ""), ("'nan;' || i", "COLUMN DENSE(c, 2, ';'), x")):
        made = plan(session, column, f"TRAIN DNNRegressor {clause} INTO m")
        assert "c has 20 numbers that are NaN or infinite in its 20 rows; these count as the mean" in made.messages
    made = plan(session, "'18446744073709551615'::UBIGINT - i")
    assert (
        "c has the same value, to the 16 digits that models compute with, in all rows, so it is left out"
        in made.messages
    )


@pytest.mark.parametrize("outputs", [[[0.5, 0.5], [np.nan, 0.1]], [1.0, np.inf]])
def test_outputs_that_are_not_finite_are_refused(outputs: Any, tmp_path: Path) -> None:
    values = np.array(outputs, np.float32)
    column = pa.array(values) if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 2)
    pq.write_table(pa.table({"output": column}), tmp_path / "predictions.parquet")
    with pytest.raises(SqlError, match="NaN or infinite for row 2 of the query, so nothing was written"):
        list(read_outputs(str(tmp_path / "predictions.parquet")))


TYPES = {
    "duckdb": "SELECT DISTINCT type_name FROM duckdb_types() WHERE database_name = 'system' AND type_name NOT IN "
    "('array', 'enum', 'list', 'map', 'null', 'tuple', 'union')",
    "postgresql": "SELECT format_type(oid, NULL) FROM pg_type WHERE typtype IN ('b', 'r', 'm', 'e') AND typnamespace = "
    "'pg_catalog'::regnamespace AND typname NOT LIKE 'pg\\_%' AND typname NOT LIKE '\\_pg\\_%'",
}


@pytest.mark.parametrize(("session", "listing"), of_every(TYPES), indirect=["session"])
def test_every_type_that_the_engine_lists_is_a_feature_or_named(session: Session, listing: Any) -> None:
    kinds = [str(kind) for (kind,) in session.engine.rows(listing)]
    assert len(kinds) > 50
    for kind in kinds:
        try:
            made = plan(session, f"CAST(NULL AS {kind})")
        except SqlError as error:  # DuckDB has types that no query can return
            assert "TYPE" in str(error) or "requires" in str(error), (kind, str(error))
            continue
        named = [message for message in made.messages if message.startswith("c is ")]
        assert named or any(line.startswith("c") for line in made.features), kind


@pytest.mark.parametrize("session", ENGINES, indirect=True)
def test_a_label_with_one_value_is_refused(session: Session) -> None:
    for label, model in (("1.5", "DNNRegressor"), ("'a'", "DNNClassifier"), ("1", "DNNClassifier")):
        with pytest.raises(SqlError, match="label 'c' has the same value in all rows"):
            session.plan(f"SELECT x, {label} AS c FROM {ROWS} TRAIN {model} INTO m")


@pytest.mark.parametrize("session", ENGINES, indirect=True)
def test_a_thousand_columns_are_planned_in_a_few_queries(session: Session) -> None:
    listed = ", ".join(f"i * {n + 1} AS a{n}, 'v' AS b{n}" for n in range(500))
    began = time.process_time()
    made = session.plan(f"SELECT {listed}, i AS y FROM numbers TRAIN DNNRegressor COLUMN *, CROSS(a1, a2) INTO m")[0]
    assert time.process_time() - began < 15  # 1.5 on an idle machine
    assert len(made.features) == 500 + 1


@pytest.mark.parametrize(
    ("function", "values", "message"),
    [
        ("CATEGORY_ID(c, 5)", "i % 6", "column 'c' has the id 5, but the statement says that ids are from 0 to 4"),
        ("CATEGORY_ID(c, 5)", "i % 3 - 1", "column 'c' has the id -1"),
        ("INDICATOR(CATEGORY_ID(c, 1))", "i > 3", "column 'c' has the id 1"),
        ("CATEGORY_ID(c, 5)", "'' || (i % 6)", "column 'c' has the id 5, but ids are whole numbers from 0 to 4"),
        ("CATEGORY_ID(c, 5)", "'1.5'", "column 'c' has the id 1.5"),
        ("CATEGORY_ID(c, 5)", "'abc'", "column 'c' has 'abc', which is not a number"),
        ("CROSS([c, i], 9)", "i", ""),
        ("CROSS([CATEGORY_ID(c, 5), CATEGORY_ID(i, 20)], 9)", "i", "column 'c' has the id 19"),
        ("SEQ_CATEGORY_ID(c, 3)", "'0,1,' || (i % 4)", "column 'c' has the id 3"),
        ("SPARSE(c, 3, COMMA)", "'0, 1 ,x'", "column 'c' has 'x', which is not a number"),
        ("WEIGHTED_CATEGORY(c, 3)", "'0:0.5,1:a'", "column 'c' has 'a', which is not a number"),
        ("WEIGHTED_CATEGORY(c, 3)", "'0:0.5,3:1'", "column 'c' has the id 3"),
        ("WEIGHTED_CATEGORY(c, 3)", "'0:0.5,2'", ""),
        ("DENSE(c, 4)", "'1,2,3'", "column 'c' has 3 values in '1,2,3', not 4 as the statement says"),
        ("DENSE(c, 3, ';')", "'1;2;x'", "column 'c' has 'x', which is not a number"),
        ("DENSE(c, 3, ';')", "CASE WHEN i < 3 THEN NULL ELSE '1;; 3' END", ""),
        ("DENSE(c, [2, 2])", "'1,2,3'", "column 'c' has 3 values in '1,2,3', not 4 as the statement says"),
        ("DENSE(c, 2)", "i", "column 'c' has one number in a row, not 2"),
        ("DENSE(c)", "'1.5'", ""),
        ("DENSE(c)", "'1.5,2'", "column 'c' has '1.5,2', which is not a number"),
        ("CATEGORY_HASH(c, 3)", "'x'", ""),
        (
            "CATEGORY_HASH(c, 3000000000)",
            "'x'",
            "CATEGORY_HASH has 3,000,000,000 ids; at most 2,147,483,646 are possible",
        ),
        ("BUCKET(c, 100000)", "i", "BUCKET has 100,000 ranges; at most 10,000 are possible"),
        ("BUCKET(c, [1, 'x'])", "i", "the boundaries of BUCKET must be numbers in ascending order"),
        ("BUCKET(c, [1, null])", "i", "the boundaries of BUCKET must be numbers in ascending order"),
    ],
)
def test_sizes_and_items_are_checked_before_work(session: Session, function: str, values: str, message: str) -> None:
    text = f"SELECT x, i, {values} AS c, y FROM {ROWS} TRAIN DNNRegressor COLUMN x, {function} INTO m"
    if not message:
        assert len(session.plan(text)[0].features) == 2
        return
    with pytest.raises(SqlError) as caught:
        session.plan(text)
    assert message in caught.value.problem
    assert caught.value.position is not None
    assert text[caught.value.position.offset :].startswith(function.split("(")[0])


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1, 2**64], pa.int64(), "row 12, column 'c': 18446744073709551616 is not a valid int64"),
        (["0000-00-00"], pa.date32(), "row 11, column 'c': 0000-00-00 is not a valid date32"),
        (
            ["2020-00-15 00:00:00"],
            pa.timestamp("us"),
            "row 11, column 'c': 2020-00-15 00:00:00 is not a valid timestamp",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_row_and_column(values: list[Any], kind: Any, message: str) -> None:
    with pytest.raises(SqlError) as caught:
        arrowtypes.to_batch([(value,) for value in values], pa.schema([("c", kind)]), 11)
    assert caught.value.problem.startswith(message)


SHOWN = {
    "duckdb": [
        "DATE 'infinity'",
        "DATE '0044-03-15 (BC)'",
        "TIMESTAMP '12000-01-01'",
        "18446744073709551615::UBIGINT",
        "[DATE 'infinity', NULL]",
        "{'a': [DATE '12000-01-01']}",
        "MAP {'k': TIMESTAMP 'infinity'}",
        "INTERVAL 1 YEAR",
        "union_value(a := 1)",
        "TIME_NS '24:00'",
        "'x'::BLOB",
    ],
    "mariadb": ["CAST('0000-00-00' AS DATE)", "18446744073709551615", "x'ff'"],
    "postgresql": ["18446744073709551615::numeric", "'Infinity'::numeric"],
}
NAMED = {
    "postgresql": ["date 'infinity'", "date '0044-03-15 BC'", "timestamp '12000-01-01'", "time '24:00'"],
    "sqlite": ["CAST(x'ff' AS TEXT)"],
}


@pytest.mark.parametrize(("session", "values"), of_every(SHOWN), indirect=["session"])
def test_odd_values_are_shown(session: Session, values: list[str]) -> None:
    for value in values:
        (result,) = session.run(f"SELECT {value} AS c")
        assert "1 row" in str(result) and "c" in result._repr_html_()
        assert len(result.df()) == 1 and len(as_json(result)["rows"]) == 1
        assert [len(encode_rows(batch)) for batch in result.arrow().to_batches()] == [1]


@pytest.mark.parametrize(("session", "values"), of_every(NAMED), indirect=["session"])
def test_values_that_a_driver_cannot_read_are_named(session: Session, values: list[str]) -> None:
    for value in values:
        with pytest.raises(SqlError, match=r"infinity|0044|12000|24:00|column 'c'"):
            session.run(f"SELECT {value} AS c")


@pytest.mark.parametrize("session", ["sqlite-memory"], indirect=True)
def test_a_column_needs_a_name(session: Session) -> None:
    with pytest.raises(SqlError, match="a column of the query has no name; give it one with AS"):
        session.plan(f'SELECT x AS "", y FROM {ROWS} TRAIN DNNRegressor INTO m')


def test_a_script_that_is_not_utf_8_is_pointed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"SELECT 1 AS a;\nSELECT 'Z\xfcrich' AS b"
    script = tmp_path / "x.sql"
    script.write_bytes(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    for arguments, name in ((["sql"], "stdin"), (["sql", "-f", str(script)], str(script))):
        assert main(arguments) != 0
        said = capsys.readouterr().err
        assert f"{name} is not UTF-8: the byte 0xfc is not valid here" in said and "line 2, column 10" in said
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("SELECT 'Zürich' AS b".encode())))
    assert main(["sql"]) == 0
    assert "Zürich" in capsys.readouterr().out


@pytest.mark.needs("mariadb")
def test_a_url_without_a_database_works_with_qualified_names(mariadb_url: str, tmp_path: Path) -> None:
    with Session(mariadb_url.rsplit("/", 1)[0] + "/", str(tmp_path / "models")) as session:
        run = session.engine.main.run
        run("DROP TABLE IF EXISTS test.apart")
        run("CREATE TABLE test.apart (id INT PRIMARY KEY, x DOUBLE, y DOUBLE)")
        run("INSERT INTO test.apart VALUES (1, 1, 2), (2, 3, 4)")
        assert "test.apart" in session.tables()
        assert list(session.columns("test.apart")) == ["id", "x", "y"]
        store_untrained(session, "SELECT x, y FROM test.apart TRAIN DNNRegressor INTO m")
        (made,) = session.plan("SELECT x FROM test.apart PREDICT test.apart.p USING m")
        assert made.messages[0].startswith("writes test.apart.p: new column")
        with pytest.raises(SqlError, match="No database selected"):
            session.plan("SELECT x FROM apart PREDICT test.apart.p USING m")
        run("DROP TABLE test.apart")
