from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from engine_tables import ENGINES, fill_people, url_of

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.sql import engines
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import collect, values
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.tables.kinds import kind_of


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[engines.Engine]:
    engine = engines.connect(url_of(request.param, tmp_path, request))
    fill_people(engine)
    yield engine
    for table in ("people", "odd name"):
        engine.main.run(f"DROP TABLE IF EXISTS {engine.quote(table)}")
    engine.close()


def kinds_of(engine: engines.Engine, query: str) -> dict[str, str]:
    return {field.name: kind_of(field.type) for field in engine.describe(query)}


def test_a_query_is_described(engine: engines.Engine) -> None:
    kinds = kinds_of(engine, "SELECT age, height, role, fee, born, member FROM people")
    assert kinds["age"] == "integer"
    assert kinds["height"] == "float"
    assert kinds["role"] == "text"
    assert kinds["fee"] in ("decimal", "float")
    assert kinds["born"] == ("text" if engine.dialect == "sqlite" else "date")
    assert kinds["member"] in ("boolean", "integer")


def test_a_wrong_query_is_an_error_in_the_database_s_own_words(engine: engines.Engine) -> None:
    with pytest.raises(SqlError, match="agge"):
        engine.describe("SELECT agge FROM people")
    if engine.dialect in ("postgres", "mysql"):  # the others give one of the columns another name
        with pytest.raises(SqlError, match=r"two columns named 'age'|Duplicate column name 'age'"):
            engine.describe("SELECT age, age FROM people")


def test_rows_come_in_batches(engine: engines.Engine) -> None:
    reader = engine.stream("SELECT id, role, age FROM people ORDER BY id", 25)
    batches = list(reader)
    assert sum(batch.num_rows for batch in batches) == 60
    rows = pa.Table.from_batches(batches).to_pylist()
    assert rows[0] == {"id": 1, "role": "clerk", "age": 20}
    assert rows[3]["age"] is None
    assert rows[2]["role"] == "Boss's"


def test_a_stream_ends_with_an_error_once_the_connection_is_used_for_something_else(engine: engines.Engine) -> None:
    reader = engine.stream("SELECT id FROM people ORDER BY id", 10)
    assert reader.read_next_batch().num_rows == 10
    assert engine.rows("SELECT COUNT(*) FROM people") == [(60,)]
    with pytest.raises(SqlError, match="used for something else before all rows had been read"):
        list(reader)
    assert engine.rows("SELECT COUNT(*) FROM people") == [(60,)]
    assert engine.stream("SELECT id FROM people", 10).read_all().num_rows == 60


def test_percent_signs_and_colons_mean_nothing_to_drivers(engine: engines.Engine) -> None:
    found = engine.main.execute("SELECT role, '100%s :x' AS t FROM people WHERE role LIKE '%hie%' AND id < 6")
    assert found is not None
    assert found.read_all().to_pylist() == [{"role": "chief", "t": "100%s :x"}] * 2


def test_statements_without_rows_give_none(engine: engines.Engine) -> None:
    assert engine.main.execute("UPDATE people SET age = 1 WHERE id = 1") is None


def test_the_catalogue(engine: engines.Engine) -> None:
    assert "people" in engine.tables()
    assert list(engine.columns("people"))[:3] == ["id", "age", "height"]
    assert engine.kind_of(engines.Table(("people",))) == "table"
    assert engine.kind_of(engines.Table(("nobody",))) == ""
    people = engine.find(engines.Table(("people",)))
    assert people is not None
    key = engine.row_key(people)
    assert key is not None
    assert key.what == "the primary key (id)"


def test_names_are_quoted(engine: engines.Engine) -> None:
    quoted = engine.quote("odd name")
    engine.main.run(f"CREATE TABLE {quoted} ({engine.quote('select')} INTEGER)")
    assert list(engine.columns("odd name")) == ["select"]


def test_literals_come_back_as_they_were(engine: engines.Engine) -> None:
    texts = ["it's", 'a "b"', "back\\slash", "100%", "ünï", ":name", "a\nb"]
    query = "SELECT " + ", ".join(f"{engine.literal(text)} AS c{n}" for n, text in enumerate(texts))
    assert list(engine.rows(query)[0]) == texts
    assert float(engine.rows(f"SELECT {engine.literal(0.1 + 0.2)} * 1")[0][0]) == 0.1 + 0.2
    with pytest.raises(SqlError, match="cannot be written in SQL"):
        engine.literal(object())


def test_statistics_are_of_the_whole_query(engine: engines.Engine) -> None:
    rows = Selection.of(engine, "SELECT * FROM people", None)
    known = collect(rows, ["age", "height", "fee", "same", "member"], ["role"])
    ages = [20 + n % 40 for n in range(60) if n % 10 != 3]
    assert (known["age"].rows, known["age"].missing) == (60, 6)
    assert known["age"].mean == pytest.approx(sum(ages) / len(ages))
    spread = sum((age - known["age"].mean) ** 2 for age in ages) / len(ages)
    assert known["age"].deviation == pytest.approx(spread**0.5)
    assert known["fee"].missing == 9
    assert known["same"].is_constant
    assert known["member"].mean == pytest.approx(0.5)
    assert set(known["role"].terms) == {"clerk", "chief", "Boss's"}


def test_texts_that_differ_in_case_or_blanks_are_different(engine: engines.Engine) -> None:
    query = "SELECT 'a' AS t UNION ALL SELECT 'A' UNION ALL SELECT 'a ' UNION ALL SELECT NULL UNION ALL SELECT 'a'"
    assert values(Selection.of(engine, query, None), "t", 10) == ("a", "A", "a ")


def test_dates_have_ranges(engine: engines.Engine) -> None:
    rows = Selection.of(engine, "SELECT * FROM people", None)
    if rows.kinds["born"] == "text":
        pytest.skip("SQLite has no dates")
    known = collect(rows, ["born"], [])["born"]
    assert known.minimum == datetime.datetime(1950, 1, 10, tzinfo=datetime.UTC).timestamp()
    assert known.maximum is not None
    assert known.minimum < known.maximum


def test_what_a_transaction_did_is_undone_by_an_error(engine: engines.Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(RuntimeError), connection.transaction():
            connection.run("UPDATE people SET age = 0")
            raise RuntimeError
    assert engine.rows("SELECT COUNT(*) FROM people WHERE age = 0") == [(0,)]


def test_rows_of_arrow_are_inserted(engine: engines.Engine) -> None:
    table = pa.table({"n": [1, 2, 3], "t": ["a\tb", None, "c\\n"], "x": [0.5, None, 1.0], "f": [True, False, None]})
    with engine.connect() as connection:
        boolean, text = engine.types["boolean"], engine.types["text"]
        connection.run(f"CREATE TEMPORARY TABLE taken (n BIGINT, t {text}, x DOUBLE PRECISION, f {boolean})")
        with connection.transaction():
            connection.insert("taken", table.to_reader(max_chunksize=2))
        rows = connection.rows("SELECT * FROM taken ORDER BY n")
        assert [(n, t, x, None if f is None else bool(f)) for n, t, x, f in rows] == [
            (1, "a\tb", 0.5, True), (2, None, None, False), (3, "c\\n", 1.0, None),
        ]  # fmt: skip
        connection.run("DROP TABLE taken")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nosuch://x", "SQLAlchemy does not know this database"),
        ("postgresql://", "connect: "),
        ("/nowhere/at/all/x.duckdb", "there is no directory"),
        ("mysql+nodriver://x", "SQLAlchemy does not know this database"),
        (3, "an object of type int is not a database"),
    ],
)
def test_what_cannot_be_connected_to_is_an_error(target: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        engines.connect(target)


def test_passwords_are_not_shown() -> None:
    with pytest.raises(OptionError) as caught:
        engines.connect("postgresql://someone:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert engines.without_password("mysql://me:secret@host/x") == "mysql://me:***@host/x"


def test_temporary_tables_of_the_user_s_own_connection_are_seen() -> None:
    engine = engines.connect()
    engine.main.run("CREATE TEMP TABLE mine AS SELECT 1 AS a")
    assert engine.describe("SELECT * FROM mine").names == ["a"]
    assert engine.stream("SELECT * FROM mine").read_all().num_rows == 1
    engine.close()
