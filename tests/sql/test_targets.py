"""PREDICT's side of the database: what is refused before any work, and that tables change in one step or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa
from engine_tables import ENGINES, fill_people, store_untrained, url_of

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Name, Position, Predict
from elasticdl_nb.sql.session import Session
from elasticdl_nb.sql.verbs import predicting
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.writing.resulttable import check_result_table, write_result_table
from elasticdl_nb.sql.writing.workplace import Workplace

PREDICT = "SELECT age, role FROM people PREDICT {} USING model"


@pytest.fixture(params=ENGINES)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    with Session(url_of(request.param, tmp_path, request), str(tmp_path / "models")) as session:
        for table in ("people", "other", "made", "elasticdl_nb_new_made"):
            session.engine.main.run(f"DROP TABLE IF EXISTS {table}")
        fill_people(session.engine, 12)
        session.engine.main.run("CREATE TABLE other (x INTEGER)")
        store_untrained(session, "SELECT age, role, pay FROM people TRAIN DNNRegressor INTO model")
        yield session
        session.engine.main.run("DROP VIEW IF EXISTS seen")


def tables_of(session: Session) -> dict[str, Any]:
    """Everything that must not change."""
    names = [name for name in session.tables() if not name.startswith("elasticdl")]
    return {name: (session.columns(name), session.engine.rows(f"SELECT * FROM {name} ORDER BY 1")) for name in names}


def predict(session: Session, statement: str, values: list[float], meanwhile: str = "") -> None:
    """Do what PREDICT does, with these predictions."""
    parsed = parse(statement, session.dialect)[0]
    assert isinstance(parsed, Predict)
    prepared = predicting.prepare(parsed, Context(session.engine, session.store))
    with Workplace(prepared.target) as work:
        assert work.read(prepared.columns).read_all().num_rows == work.count == len(values)
        work.keep([values[:5], values[5:]])
        if meanwhile:
            session.engine.main.run(meanwhile)
        work.write()


def test_a_column_is_added_and_then_updated(session: Session) -> None:
    before = tables_of(session)["people"]
    predict(session, PREDICT.format("people.guess"), [float(n) for n in range(12)])
    after = tables_of(session)["people"]
    assert list(after[0]) == [*before[0], "guess"]
    assert [row[:-1] for row in after[1]] == before[1]
    assert sorted(row[-1] for row in after[1]) == [float(n) for n in range(12)]
    some = "SELECT age, role FROM people AS p WHERE p.id > 10 PREDICT People.Guess USING model"
    predict(session, some, [100.0, 101.0])
    assert sorted(row[-1] for row in tables_of(session)["people"][1])[-2:] == [100.0, 101.0]
    assert len(tables_of(session)["people"][1]) == 12


def test_a_table_is_made_and_replaced_only_if_told(session: Session) -> None:
    made = "SELECT id, age, role, pay FROM people PREDICT made.guess {} USING model"
    predict(session, made.format(""), [0.5] * 12)
    columns, rows = tables_of(session)["made"]
    assert list(columns) == ["id", "age", "role", "guess"]
    assert [row[0] for row in rows] == list(range(1, 13))
    before = tables_of(session)
    with pytest.raises(SqlError, match="made exists and is not the table selected from; WITH replace=true"):
        session.run(made.format(""))
    assert tables_of(session) == before
    predict(session, made.format("WITH replace=true"), [0.25] * 12)
    assert {row[-1] for row in tables_of(session)["made"][1]} == {0.25}


def test_rows_that_change_meanwhile_leave_all_as_it_was(session: Session) -> None:
    before = tables_of(session)["people"]
    with pytest.raises(SqlError, match="changed during the prediction"):
        predict(session, PREDICT.format("people.guess"), [1.0] * 12, "DELETE FROM people WHERE id = 12")
    after = tables_of(session)["people"]
    assert list(after[0]) == list(before[0])
    assert after[1] == before[1][:-1]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (PREDICT.format("other.guess"), "other exists and is not the table selected from"),
        (PREDICT.format("people.role"), "people.role has the type text, but the predictions are float"),
        (
            "SELECT DISTINCT age, role FROM people PREDICT people.guess USING model",
            "cannot tell which rows of people",
        ),
        ("SELECT MAX(age) AS age, role FROM people GROUP BY role PREDICT people.g USING model", "cannot tell"),
        ("SELECT * FROM (SELECT * FROM people) AS q PREDICT people.guess USING model", "cannot tell"),
        ("SELECT a.age, b.role FROM people a JOIN people b ON a.id = b.id PREDICT people.g USING model", "cannot tell"),
        ("SELECT age FROM people PREDICT people.guess USING model", "has no column 'role', which the model model"),
        ("SELECT role AS age, role FROM people PREDICT people.guess USING model", "column 'age' is text, but"),
        (PREDICT.format("people.guess") + "s", "there is no trained model 'models'.*Did you mean 'model'"),
        ("SELECT age, role FROM people PREDICT people.g WITH replce=true USING model", "Did you mean 'replace'"),
        ("SELECT age, role FROM people PREDICT people.g WITH train.minibatch=1 USING model", "minibatch_size"),
        ("SELECT agge FROM people PREDICT people.g USING model", "agge"),
        ("SELECT age, role FROM people PREDICT seen.g USING model", "seen is a view"),
        ("SELECT role, age FROM people EVALUATE model", "has no column 'pay'"),
        ("SELECT * FROM people EVALUATE model INTO other", "other exists; WITH replace=true replaces it"),
        (
            "SELECT * FROM people EVALUATE model WITH replace=1 INTO other",
            "replace: 1 is not valid: expected true or false",
        ),
        ("SELECT age, role FROM people PREDICT made.g WITH replace='yes' USING model", "replace: 'yes' is not valid"),
        ("SELECT * FROM people EXPLAIN model USING tree", "there is no explainer 'tree'"),
        ("SELECT * FROM people EXPLAIN model WITH rows=0", "rows: 0 is not valid"),
    ],
)
def test_what_is_refused_before_any_work(session: Session, statement: str, message: str) -> None:
    session.engine.main.run("CREATE VIEW seen AS SELECT age, role FROM people")
    before = tables_of(session)
    jobs: list[Any] = []
    with pytest.raises(SqlError, match=message) as caught:
        session.run(statement, on_job=jobs.append)
    assert not jobs
    assert tables_of(session) == before
    assert "^" in str(caught.value) or ":" in str(caught.value)


# ------------------------------------------------------------------ without permission


def test_a_database_that_is_only_read(tmp_path: Path) -> None:
    path = str(tmp_path / "data.duckdb")
    with Session(path, str(tmp_path / "models")) as session:
        fill_people(session.engine, 12)
        store_untrained(session, "SELECT age, role, pay FROM people TRAIN DNNRegressor INTO model")
    connection = duckdb.connect(path, read_only=True)
    session = Session(connection, str(tmp_path / "models"))
    for target in ("people.guess", "made.guess"):
        with pytest.raises(SqlError, match=r"cannot be written: .*read-only"):
            session.run(PREDICT.format(target))
    connection.close()


@pytest.mark.parametrize(
    ("kind", "grants"),
    [
        pytest.param("postgresql", ["CREATE USER reader", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"],
                     marks=pytest.mark.needs("postgresql")),
        pytest.param("mariadb", ["CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'p@ss'",
                                 "GRANT SELECT, CREATE TEMPORARY TABLES ON test.* TO reader@'127.0.0.1'"],
                     marks=pytest.mark.needs("mariadb")),
    ],
)  # fmt: skip
def test_an_account_that_may_only_read(
    kind: str, grants: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = url_of(kind, tmp_path, request)
    with Session(url, str(tmp_path / "models")) as owner:
        fill_people(owner.engine, 12)
        store_untrained(owner, "SELECT age, role, pay FROM people TRAIN DNNRegressor INTO model")
        for grant in grants:
            owner.engine.main.run(grant)
    reader = sa.make_url(url).set(username="reader")
    with Session(reader.render_as_string(hide_password=False), str(tmp_path / "models")) as session:
        before = tables_of(session)
        for target in ("people.guess", "made.guess"):
            with pytest.raises(SqlError, match="cannot be written"):
                session.run(PREDICT.format(target))
        assert tables_of(session) == before


def test_the_table_of_into_is_replaced_whole_or_not_at_all(session: Session) -> None:
    into = Name("made", Position(0, 1, 1))
    result = pa.table({"feature": ["a", "b'"], "importance": [0.5, 1e-30]})

    def written(result: pa.Table, *, replace: bool) -> list[Any]:
        check_result_table(session.engine, into, replace=replace)
        write_result_table(session.engine, into, result, replace=replace)
        return session.engine.rows("SELECT * FROM made ORDER BY 1")

    assert written(result, replace=False) == [("a", 0.5), ("b'", 1e-30)]
    wrong = pa.table([pa.array([1.0]), pa.array([2.0])], names=["same", "same"])
    with pytest.raises(SqlError):
        written(wrong, replace=True)
    with pytest.raises(SqlError):  # somebody has created it since the statement was checked
        write_result_table(session.engine, into, result, replace=False)
    assert session.engine.rows("SELECT * FROM made ORDER BY 1") == [("a", 0.5), ("b'", 1e-30)]
    assert written(result.slice(1), replace=True) == [("b'", 1e-30)]
    assert not [name for name in session.tables() if "elasticdl_nb" in name]


@pytest.mark.needs("postgresql")
def test_names_that_differ_in_case_are_two_columns_where_the_database_says_so(
    postgresql_url: str, tmp_path: Path
) -> None:
    with Session(postgresql_url, str(tmp_path / "models")) as session:
        session.run(
            'DROP TABLE IF EXISTS lettered, made; CREATE TABLE lettered AS SELECT 1 AS x, 2.0 AS y, 3 AS "Y", 4 AS "P" '
            "UNION ALL SELECT 2, 3.0, 4, 5"
        )
        store_untrained(session, "SELECT x, y FROM lettered TRAIN DNNRegressor INTO lin")
        statement = parse("SELECT * FROM lettered PREDICT made.p USING lin", session.dialect)[0]
        assert isinstance(statement, Predict)
        target = predicting.prepare(statement, Context(session.engine, session.store)).target
        assert target.selected == ("x", "Y", "P")
