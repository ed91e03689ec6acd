"""A session goes on after interrupts and lost connections, and its statements share one view of the database."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa
from engine_tables import ENGINES, store_untrained, url_of

from elasticdl_nb.sql import engines
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Predict, Train
from elasticdl_nb.sql.session import Session
from elasticdl_nb.sql.verbs import predicting, training
from elasticdl_nb.sql.verbs.context import Context
from elasticdl_nb.sql.writing.workplace import Workplace

SERVERS = [
    pytest.param("postgresql", marks=pytest.mark.needs("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.needs("mariadb")),
]
LONG = {
    "postgres": "SELECT pg_sleep(60)",
    "mysql": "SELECT SLEEP(60)",
    "duckdb": "SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range * b.range % 7 = 3",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
}
WAIT_SECONDS = 30.0


def opened(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Session:
    session = Session(url_of(kind, tmp_path, request), str(tmp_path / "models"))
    for name in ("t", "other", "scores"):
        session.engine.main.run(f"DROP TABLE IF EXISTS {name}")
    session.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER); INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)")
    return session


@pytest.fixture(params=ENGINES)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    with opened(request.param, tmp_path, request) as session:
        yield session


@pytest.fixture(params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    with opened(request.param, tmp_path, request) as session:
        yield session


def rows(session: Session, query: str) -> list[Any]:
    return [tuple(row.values()) for row in session.run(query)[-1].arrow().to_pylist()]


def soon(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def interrupted(session: Session, query: str, seconds: float = 0.7) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        session.run(query)
    timer.join()
    assert time.monotonic() - began < WAIT_SECONDS


def lose(session: Session) -> None:
    """End the session's connection, as an administrator or a restart does."""
    number = "pg_backend_pid()" if session.dialect == "postgres" else "CONNECTION_ID()"
    own = session.engine.rows(f"SELECT {number}")[0][0]
    other = engines.connect(session.engine.url)
    other.main.execute(f"SELECT pg_terminate_backend({own})" if session.dialect == "postgres" else f"KILL {own}")
    other.close()
    time.sleep(0.2)


# ------------------------------------------------------------------ interrupts and lost connections


def test_an_interrupted_query_ends_in_the_database_and_the_session_goes_on(session: Session) -> None:
    session.run("CREATE TEMPORARY TABLE mine AS SELECT 5 AS a")
    interrupted(session, LONG[session.dialect])
    assert rows(session, "SELECT a FROM mine") == [(5,)]  # the connection is the same
    if session.dialect in ("postgres", "mysql"):
        other = engines.connect(session.engine.url)
        running = ("SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
                   if session.dialect == "postgres" else
                   "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'")  # fmt: skip
        soon(lambda: other.rows(running) == [(0,)])
        other.close()


def test_an_interrupt_in_a_transaction_leaves_a_session_that_works(session: Session) -> None:
    session.run("BEGIN; UPDATE t SET x = 0")
    interrupted(session, LONG[session.dialect])
    result = session.run("SELECT COUNT(*) AS n FROM t")[0]
    assert result.arrow().to_pylist() == [{"n": 3}]
    if session.dialect in ("postgres", "duckdb"):
        assert result.messages == ("the interrupted transaction was rolled back",)
        assert rows(session, "SELECT MAX(x) FROM t") == [(30,)]
    else:
        session.run("ROLLBACK")


def test_a_query_that_another_thread_cancels(session: Session) -> None:
    timer = threading.Timer(0.7, session.cancel)
    timer.start()
    with pytest.raises(SqlError):
        session.run(LONG[session.dialect])
    timer.join()
    assert rows(session, "SELECT COUNT(*) FROM t") == [(3,)]


def test_a_lost_connection_is_replaced(served: Session) -> None:
    lose(served)
    result = served.run("SELECT COUNT(*) AS n FROM t")[0]
    assert (result.arrow().to_pylist(), result.messages) == ([{"n": 3}], ())
    served.run("CREATE TEMPORARY TABLE mine AS SELECT 5 AS a")
    lose(served)
    result = served.run("SELECT 1 AS one")[0]
    assert result.arrow().to_pylist() == [{"one": 1}]
    assert "was lost, and with it what these statements had set up: CREATE TEMPORARY TABLE mine" in result.messages[0]
    assert served.run("SELECT 1 AS one")[0].messages == ()


def test_what_relies_on_a_lost_setting_or_transaction_is_refused_once(served: Session) -> None:
    served.run("SET search_path = 'public'" if served.dialect == "postgres" else "SET @a = 1")
    lose(served)
    with pytest.raises(SqlError, match=r"had set up: SET .*run them again"):
        served.run("UPDATE t SET x = 0")
    served.run("CREATE TEMPORARY TABLE other AS SELECT 5 AS x")
    lose(served)
    assert "t" in served.tables()
    with pytest.raises(SqlError, match=r"CREATE TEMPORARY TABLE other.*run them again"):
        served.run("SELECT x FROM other TRAIN DNNRegressor INTO m")
    served.run("BEGIN; UPDATE t SET x = 0")
    lose(served)
    with pytest.raises(SqlError, match="and the open transaction with it; nothing of it was kept"):
        served.run("COMMIT")
    assert rows(served, "SELECT MAX(x) FROM t") == [(30,)]


def test_a_connection_lost_in_a_query(served: Session) -> None:
    timer = threading.Timer(0.7, lambda: _kill_sleeper(served))
    timer.start()
    with pytest.raises(SqlError):
        served.run(LONG[served.dialect])
    timer.join()
    assert rows(served, "SELECT COUNT(*) FROM t") == [(3,)]


def _kill_sleeper(session: Session) -> None:
    other = engines.connect(session.engine.url)
    if session.dialect == "postgres":
        other.main.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
    else:
        found = other.rows("SELECT id FROM information_schema.processlist WHERE state = 'User sleep'")
        other.main.run(f"KILL {found[0][0]}")
    other.close()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_stopped_and_started_again(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with opened(kind, tmp_path, request) as session:
        server = request.getfixturevalue(f"{kind}_server")
        store_linear(session, tmp_path)

        def now() -> list[Any]:
            return rows(session, "SELECT * FROM t ORDER BY id")

        # Between statements: nothing is lost, a temporary table is, and an open transaction.
        server.restart()
        assert session.run("SELECT 1 AS one")[0].messages == ()
        session.run("CREATE TEMPORARY TABLE mine AS SELECT 5 AS a")
        server.stop()
        for _ in range(2):
            with pytest.raises(SqlError):
                session.run("SELECT 1 AS one")
        server.start()
        result = session.run("SELECT 1 AS one")[0]
        assert result.arrow().to_pylist() == [{"one": 1}]
        assert "had set up: CREATE TEMPORARY TABLE mine" in result.messages[0]
        session.run("BEGIN; UPDATE t SET x = 0")
        server.restart()
        with pytest.raises(SqlError, match="and the open transaction with it; nothing of it was kept"):
            session.run("COMMIT")
        assert now() == [(1, 10), (2, 20), (3, 30)]
        # During a query, and while a job of PREDICT and one of TRAIN run.
        timer = threading.Timer(0.7, server.restart)
        timer.start()
        with pytest.raises(SqlError):
            session.run(LONG[session.dialect])
        timer.join()
        assert now() == [(1, 10), (2, 20), (3, 30)]
        with pytest.raises(SqlError):
            predict(session, "SELECT x FROM t PREDICT t.p USING lin", meanwhile=server.restart)
        assert now() == [(1, 10), (2, 20), (3, 30)]
        predict(session, "SELECT x FROM t PREDICT t.p USING lin")
        assert now() == [(1, 10, 21.0), (2, 20, 41.0), (3, 30, 61.0)]
        context = Context(session.engine, session.store)
        with context.cleanup:
            train = prepared(session, "SELECT x, p FROM t TRAIN DNNRegressor INTO m", context)
            server.restart()
            with pytest.raises(SqlError):
                train.data.stream().read_all()
        assert len(now()) == 3


@pytest.mark.needs("postgresql")
def test_copy_to_the_client_is_refused_and_wedges_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with opened("postgresql", tmp_path, request) as session:
        with pytest.raises(SqlError, match="COPY from STDIN or to STDOUT needs a client"):
            session.run("COPY t TO STDOUT")
        session.engine.main._driver.pgconn.send_query(b"COPY t TO STDOUT")  # type: ignore[attr-defined]
        assert rows(session, "SELECT COUNT(*) FROM t") == [(3,)]


# ------------------------------------------------------------------ transactions


def store_linear(session: Session, tmp_path: Path) -> None:
    with Session(":memory:", session.store.path) as trainer:
        trainer.run("CREATE TABLE d AS SELECT i AS x, i * 2.0e0 + 1 AS y FROM range(20) r(i)")
        store_untrained(trainer, "SELECT x, y FROM d TRAIN DNNRegressor INTO lin")


def predict(session: Session, text: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    statement = parse(text, session.dialect)[0]
    assert isinstance(statement, Predict)
    prepared = predicting.prepare(statement, Context(session.engine, session.store))
    with Workplace(prepared.target) as work:
        meanwhile()
        work.keep([[2.0 * x + 1 for x in work.read(("x",)).read_all()["x"].to_pylist()]])
        work.write()


def test_predict_in_an_open_transaction_is_part_of_it_or_refused(session: Session, tmp_path: Path) -> None:
    store_linear(session, tmp_path)
    for target in ("t.p", "other.p"):
        session.run("BEGIN; UPDATE t SET x = x + 1")
        text = f"SELECT x FROM t PREDICT {target} USING lin"
        if session.dialect in ("duckdb", "mysql"):
            for statement in (text, "SELECT x, 1 AS y FROM t EVALUATE lin INTO scores"):
                with pytest.raises(SqlError, match="a transaction is open, in which"):
                    session.run(statement)
        else:
            predict(session, text)
            assert rows(session, f"SELECT p FROM {target[:-2]} ORDER BY p") == [(23.0,), (43.0,), (63.0,)]
        assert rows(session, "SELECT MAX(x) FROM t") == [(31,)]
        session.run("ROLLBACK")
        assert list(session.columns("t")) == ["id", "x"]
        assert rows(session, "SELECT MAX(x) FROM t") == [(30,)]
        assert "other" not in session.tables()


def test_no_statement_of_ours_ends_an_open_transaction(session: Session, tmp_path: Path) -> None:
    store_linear(session, tmp_path)
    session.run("BEGIN; UPDATE t SET x = x + 1")
    for text, message in (
        ("SELECT nope FROM t PREDICT t.p USING lin", "nope"),
        ("SELECT nope, x AS y FROM t TRAIN DNNRegressor INTO m", "nope"),
        ("SELECT x, 1 AS y FROM nowhere EVALUATE lin", "nowhere"),
        ("SELECT nope FROM t EXPLAIN lin", "nope"),
        ("SELECT 1 / (x - x) AS x, x AS y FROM t TRAIN DNNRegressor INTO m", "(?i)zero|no column can be used"),
    ):
        with pytest.raises(SqlError, match=message) as caught:
            session.run(text)
        assert "elasticdl_nb_rows" not in caught.value.problem
        assert rows(session, "SELECT MAX(x) FROM t") == [(31,)]
    context = Context(session.engine, session.store)
    with context.cleanup:
        train = prepared(session, "SELECT x, x * 2 AS y FROM t TRAIN DNNRegressor INTO m", context)
        assert sorted(train.data.stream().read_all()["x"].to_pylist()) == [11, 21, 31]
    session.run("ROLLBACK")
    assert rows(session, "SELECT MAX(x) FROM t") == [(30,)]
    # What the user's own SQL has broken is not reported as committed.
    session.run("BEGIN; UPDATE t SET x = x + 1")
    with pytest.raises(SqlError):
        session.run("SELECT nope FROM t")
    if session.dialect == "postgres":
        with pytest.raises(SqlError, match="the transaction had failed before, so all of it was rolled back"):
            session.run("COMMIT")
    else:
        session.run("COMMIT")
    assert rows(session, "SELECT MAX(x) FROM t") == [(30 if session.dialect == "postgres" else 31,)]


def test_a_write_that_fails_in_a_transaction_leaves_the_rest_of_it(tmp_path: Path, session: Session) -> None:
    if session.dialect in ("duckdb", "mysql"):
        pytest.skip("refused there")
    store_linear(session, tmp_path)
    session.run("BEGIN; UPDATE t SET x = x + 1")
    with pytest.raises(SqlError, match="only 3 different rows"):
        predict(
            session, "SELECT t.x FROM t JOIN (SELECT 1 AS a UNION ALL SELECT 2) AS q ON 1 = 1 PREDICT t.p USING lin"
        )
    session.run("COMMIT")
    assert rows(session, "SELECT MAX(x) FROM t") == [(31,)]


# ------------------------------------------------------------------ one view


def prepared(session: Session, text: str, context: Context) -> Any:
    statement = parse(text, session.dialect)[0]
    assert isinstance(statement, Train)
    return training.prepare(statement, context)


def test_a_query_is_evaluated_once(session: Session) -> None:
    values = ", ".join(f"({n}, {n})" for n in range(4, 400))
    session.run(f"INSERT INTO t VALUES {values}")
    chance = {"mysql": "RAND() < 0.3", "sqlite": "random() % 10 < 3"}.get(session.dialect, "random() < 0.3")
    now = {"mysql": "SYSDATE(6)", "sqlite": "random()", "postgres": "clock_timestamp()"}.get(
        session.dialect, "random()"
    )
    context = Context(session.engine, session.store)
    with context.cleanup:
        query = f"SELECT x, {now} AS at, x * 2 AS y FROM t WHERE {chance}"
        train = prepared(session, f"{query} TRAIN DNNRegressor WITH validation.select='{query}' INTO m", context)
        session.run("DELETE FROM t")
        data, validation = train.data.stream().read_all(), train.validation_data.stream().read_all()
        assert data == train.data.stream().read_all()
        assert data["x"].to_pylist() != validation["x"].to_pylist()
        feature = next(found for found in train.record.features[""] if found.column == "x")
        mean = sum(data["x"].to_pylist()) / data.num_rows
        assert feature.mean == pytest.approx(mean)
    assert not [name for name in session.tables() if "elasticdl_nb" in name]


def test_an_account_without_temporary_tables_trains_from_a_file(tmp_path: Path, mariadb_url: str) -> None:
    with Session(mariadb_url, str(tmp_path / "models")) as owner:
        owner.run(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (x INTEGER, word VARCHAR(9), y DECIMAL(9, 2)); "
            "INSERT INTO t VALUES (1, 'a', 1.5), (2, 'b', 2.5), (3, NULL, 3.5); "
            "CREATE OR REPLACE USER looker@'127.0.0.1' IDENTIFIED BY 'p@ss'; "
            "GRANT SELECT ON test.* TO looker@'127.0.0.1'"
        )
    looker = sa.make_url(mariadb_url).set(username="looker").render_as_string(hide_password=False)
    with Session(looker, str(tmp_path / "models")) as session:
        context = Context(session.engine, session.store)
        with context.cleanup:
            train = prepared(session, "SELECT x, word, y FROM t TRAIN DNNRegressor INTO m", context)
            assert train.data.engine is not session.engine
            assert train.data.stream().read_all().sort_by("x").to_pydict() == {
                "x": [1, 2, 3], "word": ["a", "b", None], "y": [1.5, 2.5, 3.5],
            }  # fmt: skip


def test_training_sees_what_the_session_sees(tmp_path: Path) -> None:
    connection = duckdb.connect()
    connection.register("frame", pa.table({"x": [1, 2, 3], "y": [1.0, 2.0, 4.0]}))
    session = Session(connection, str(tmp_path / "models"))
    session.run(
        "CREATE SCHEMA s2; CREATE TABLE s2.t AS SELECT 7 AS x, 1.0 AS y UNION ALL SELECT 8, 2.0; "
        "CREATE TABLE t AS SELECT 'no' AS x, 1.0 AS y; USE s2; BEGIN; INSERT INTO t VALUES (9, 3.0)"
    )
    context = Context(session.engine, session.store)
    with context.cleanup:
        for table, values in (("t", [7, 8, 9]), ("frame", [1, 2, 3])):
            train = prepared(session, f"SELECT * FROM {table} TRAIN DNNRegressor INTO m", context)
            assert train.data.stream().read_all()["x"].to_pylist() == values
    connection.execute("ROLLBACK")
    connection.close()


@pytest.mark.needs("postgresql")
def test_a_given_connection_is_used_itself(postgresql_url: str, tmp_path: Path) -> None:
    engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        session = Session(connection, str(tmp_path / "models"))
        store_linear(session, tmp_path)
        with connection.begin():
            connection.exec_driver_sql("CREATE TEMPORARY TABLE given AS SELECT 1 AS id, 10 AS x")
            predict(session, "SELECT x FROM given PREDICT given.p USING lin")
            assert rows(session, "SELECT x, p FROM given") == [(10, 21.0)]
        session.run("UPDATE given SET x = 11")
        assert not connection.in_transaction()
        transaction = connection.begin()
        session.run("UPDATE given SET x = 12")
        transaction.rollback()
        assert connection.exec_driver_sql("SELECT x, p FROM given").all() == [(11, 21.0)]
        connection.rollback()
        assert connection.get_isolation_level() == "READ COMMITTED"
        session.close()
    engine.dispose()
