"""Reading new rows of a query by their watermark: once each, in order, whatever is committed late or dies."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_tables import ENGINES, url_of

from elasticdl_nb.runtime.master.decisions.fed import Fed
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.storage.checkpoints import QUEUE, Manifest
from elasticdl_nb.runtime.storage.usedfiles import KEY, Used
from elasticdl_nb.sql import engines
from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.following import pulling, rounds
from elasticdl_nb.sql.following.bounds import Bounds
from elasticdl_nb.sql.following.pulled import Pulled, last_of, pulled_in
from elasticdl_nb.sql.following.starting import apart, follow
from elasticdl_nb.sql.following.watermark import Watermark
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.record.modelrecord import Label
from elasticdl_nb.sql.session import Session

FILES = [kind for kind in ENGINES if kind != "sqlite-memory"]
QUERY = "SELECT id, seen, day, x, kind, y FROM visits"


class Table:
    """A table that gains rows, and the pulls of a job that follows it; time passes only when a test says so."""

    def __init__(self, url: str, folder: Path, *, mark: str = "id", delay: float = 10.0, rows: int = 20) -> None:
        self.url, self.folder, self.now = url, folder, 0.0
        self.said: list[str] = []
        with self.open() as engine:
            kinds = {
                "duckdb": ("TIMESTAMP", "DATE"), "postgres": ("TIMESTAMPTZ", "DATE"), "mysql": ("DATETIME(6)", "DATE"),
            }.get(engine.dialect, ("TEXT", "TEXT"))  # fmt: skip
            engine.main.run("DROP TABLE IF EXISTS visits")
            engine.main.run(
                f"CREATE TABLE visits (id BIGINT, seen {kinds[0]}, day {kinds[1]}, x INTEGER, kind VARCHAR(20), "
                "y DOUBLE PRECISION)"
            )
            self.add(engine, *range(rows))
            selection = Selection.of(engine, QUERY, None)
            self.following = follow(selection, mark, delay, None, None)
            columns = [name for name in selection.kinds if name != mark]
            label = Label("kind", "text", "classification", ("a", "b", "c"))
            self.fed = self.following.fed(columns, label, ["y"], selection, own_input=False)
            (folder / "rows").mkdir()
            self.fed.begin(folder / "rows")
        self.settings = rounds.Settings.from_json(json.loads(json.dumps(self.fed.settings)))
        self.job = self.started()

    def open(self) -> Any:
        return rounds.opened(self.url) if not self.url.startswith("duckdb") else Writing(self.url)

    def add(self, engine: Engine, *numbers: int, **changes: object) -> None:
        values = [
            {"id": n, "seen": f"2026-01-{1 + n // 10:02d} 10:00:{n:02d}.25", "day": f"2026-01-{1 + n // 10:02d}",
             "x": None if n % 7 == 3 else n, "kind": "abc"[n % 3], "y": 0.5 + n, **changes}
            for n in numbers
        ]  # fmt: skip
        rows = ", ".join(f"({', '.join(map(engine.literal, one.values()))})" for one in values)
        engine.main.run(f"INSERT INTO visits VALUES {rows}")

    def added(self, *numbers: int, **changes: object) -> None:
        with self.open() as engine:
            self.add(engine, *numbers, **changes)

    def started(self) -> rounds.Rounds:
        spec = SimpleNamespace(data=(str(self.folder / "rows"),), checkpoint_dir="")
        folder: Any = SimpleNamespace(
            spec=lambda: spec, checkpoints=self.folder / "saved", identity="this", fed=self.folder / "fed.json"
        )
        (self.folder / "saved").mkdir(exist_ok=True)
        return rounds.Rounds(self.settings, folder, lambda level, text: self.said.append(text))

    def after(self, seconds: float, *, stop: bool = False, waiting: int = 0) -> bool:
        self.now += seconds
        return self.job.run(lambda: self.now, stop=stop, waiting=lambda: waiting)

    def rows(self) -> pa.Table:
        files = pulled_in(self.folder / "rows")
        return pa.concat_tables([pq.read_table(self.folder / "rows" / one.name) for one in files])

    def numbers(self) -> list[int]:
        return [int(y) for y in self.rows()["y"].to_pylist()]


class Writing:
    """A DuckDB file, open for writing."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> Engine:
        self._engine = engines.connect(self._url)
        return self._engine

    def __exit__(self, *_: object) -> None:
        self._engine.close()


def engine_url(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    url = url_of(kind, folder, request)
    return f"duckdb:///{url}" if kind == "duckdb" else url


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "ROWS_PER_FILE", 7)


@pytest.mark.parametrize("kind", FILES)
def test_rows_come_once_in_the_order_of_their_watermark(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = engine_url(kind, tmp_path, request)
    for mark in ("id", "seen", "day"):
        folder = tmp_path / mark
        folder.mkdir()
        table = Table(url, folder, mark=mark)
        assert not table.after(0) and table.numbers() == [], "nothing is safe yet"
        table.added(25, 22)
        table.after(10)
        last_day = mark == "day"
        assert sorted(table.numbers()) == [*range(10 if last_day else 20)]
        table.after(10)
        if not last_day:
            assert table.numbers()[20:] == [22, 25], "in the order of the watermark"
        table.added(31, 33)
        assert not table.after(1, stop=True) and table.after(10, stop=True)
        there = [*range(20), 22, 25, *([] if last_day else [31, 33])]
        assert sorted(table.numbers()) == there and (last_day or table.numbers() == there)
        assert table.rows()["x"].to_pylist() == [
            pytest.approx(float("nan") if n % 7 == 3 else n, nan_ok=True) for n in table.numbers()
        ]
        names = [one for one in pulled_in(folder / "rows") if one.records]
        assert len(names) >= 3 and names[-1].read == len(there), "several files, which count the rows"
        assert [text for text in table.said if "left to a later job" in text] == (
            ["the rows of 2026-01-04 are left to a later job: a day is complete when the next begins"]
            if last_day
            else []
        )
        # A later job goes on, and so does the process that reads for it, after any of its files.
        assert last_of(os.listdir(folder / "rows")) == names[-1]
        table.job, table.now = table.started(), 0.0
        table.added(41)
        table.after(0)
        table.after(11)
        assert sorted(table.numbers()) == [*range(20), 22, 25, 31, 33, *([] if last_day else [41])]
        assert not any("too late" in text for text in table.said)


@pytest.mark.parametrize("kind", FILES[2:])
def test_a_transaction_that_commits_late_is_waited_for(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    table = Table(engine_url(kind, tmp_path, request), tmp_path, mark="seen")
    with table.open() as slow, table.open() as slower:
        for engine, numbers in ((slow, (30, 31)), (slower, (32,))):
            engine.main.run("BEGIN")
            table.add(engine, *numbers)
        table.added(40, 31)
        table.after(0)
        table.after(6)
        slow.main.run("COMMIT")
        table.after(5)
        assert table.numbers()[20:] == [30, 31, 31, 40]
        assert not table.said
        slower.main.run("COMMIT")
        assert not table.after(1, stop=True) and table.after(11, stop=True)
    assert table.numbers()[20:] == [30, 31, 31, 40]
    (told,) = table.said
    assert told.startswith("1 rows were committed too late: their 'seen' is not above what had been read by then")


@pytest.mark.parametrize("kind", FILES)
def test_rows_that_cannot_be_used_are_counted_and_told(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    table = Table(engine_url(kind, tmp_path, request), tmp_path, delay=0, rows=30)
    table.after(0)
    table.added(30, 31, kind=None)
    table.added(32, kind="new")
    table.added(33, y=-1.0)
    table.added(34, day=None)
    table.added(35, 36, id=None)
    table.added(37)
    assert table.after(0, stop=True)
    assert table.numbers() == [*range(30), 34, 37]
    assert sorted(table.said) == [
        "1 new rows whose weight y is not a number of at least 0 were left out",
        "1 new rows with a new class of kind, such as ['new'], were left out",
        "2 new rows without a label (kind) were left out",
        "2 rows have no 'id' that can be compared, and are not used until they have one",
    ]
    table.said.clear()
    with table.open() as engine:
        engine.main.run("UPDATE visits SET id = 50, kind = 'a' WHERE y < 31 AND y > 30")
    table.after(0)
    assert table.numbers()[-1] == 30, "a row that gets a higher watermark comes again"


def test_a_large_number_or_a_missing_one_comes_as_it_is_or_not_at_all(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/large.duckdb"
    with Writing(url) as engine:
        engine.main.run(
            "CREATE TABLE t AS SELECT 1 AS id, 9007199254740993 AS who, 5::BIGINT AS small, true AS yes, 1.0 AS y"
        )
        rows = Selection.of(engine, "SELECT * FROM t", None)
        label = Label("y", "decimal", "regression")
        fed = follow(rows, "id", 0, None, None).fed(["who", "small", "yes", "y"], label, [], rows, own_input=False)
        (tmp_path / "rows").mkdir()
        fed.begin(tmp_path / "rows")
        engine.main.run(
            "INSERT INTO t VALUES (2, NULL, 1, true, 2), (3, 9, NULL, NULL, 3), (4, 8, 1::BIGINT << 60, true, 4)"
        )
        puller = pulling.Puller(rounds.Settings.from_json(fed.settings), tmp_path / "rows")
        assert puller.pull(engine, "4") == 4
    found = pq.read_table(tmp_path / "rows" / puller.reached().name)
    assert found["who"].to_pylist() == [9007199254740993, 9] and found["y"].to_pylist() == [1.0, 3.0]
    assert [str(found["small"][0]), str(found["small"][1])] == ["5.0", "nan"] and found["yes"][0].as_py() == 1.0
    assert dict(puller.left_out) == {
        "with a NULL in who, where there was none when the job began,": 1,
        "with a number in small that is larger than those that the job began with,": 1,
    }


@pytest.mark.parametrize("kind", FILES)
def test_the_times_of_files_and_of_what_is_to_come_are_written(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = engine_url(kind, tmp_path, request)
    for mark in ("id", "seen", "day"):
        folder = tmp_path / mark
        folder.mkdir()
        table = Table(url, folder, mark=mark, rows=15)

        def times(table: Table = table) -> list[tuple[str, int, str, str]]:
            files = Fed.from_json((table.folder / "fed.json").read_text()).files
            assert [one.name for one in files if one.name] == [one.name for one in pulled_in(table.folder / "rows")]
            return [(one.name[:15], one.records, shown(one.first), shown(one.last)) for one in files]

        def shown(time: float | None) -> str:
            return "" if time is None else f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%d %H:%M:%S.%f}"[:14]

        table.after(0)
        begin = ("rows-0000000001", 0, "", "")
        if mark == "id":
            table.after(10)
            assert table.numbers() == [*range(15)] and not (folder / "fed.json").exists(), "a number is no time"
            continue
        if mark == "day":
            assert times() == [begin, ("", 1, "01 00:00:00.00", "")]
            table.after(10)
            assert times() == [
                begin, ("rows-0000000002", 10, "01 00:00:00.00", "01 00:00:00.00"),
                ("", 1, "01 00:00:00.00", ""),  # not looked for again yet
            ]  # fmt: skip
            table.job = table.started()
            table.after(0)
            assert times()[2:] == [("", 1, "02 00:00:00.00", "")], "the day is not over"
            continue
        assert times() == [begin, ("", 1, "01 10:00:00.25", "")]
        table.added(20, x=None)
        table.after(10)
        files = [
            begin, ("rows-0000000002", 7, "01 10:00:00.25", "01 10:00:06.25"),
            ("rows-0000000003", 7, "01 10:00:07.25", "02 10:00:13.25"),
            ("rows-0000000004", 1, "02 10:00:14.25", "02 10:00:14.25"),
        ]  # fmt: skip
        table.job = table.started()
        table.after(0)
        assert times() == [*files, ("", 1, "03 10:00:20.25", "")], "of the row that is not safe yet"
        table.after(10)
        assert times() == [*files, ("rows-0000000005", 1, "03 10:00:20.25", "03 10:00:20.25")]


def test_a_value_is_a_time_if_it_is_one() -> None:
    moment = Watermark("at", "timestamp").moment
    assert moment("1970-01-02 00:00:01.5") == 86401.5 == moment("1970-01-02 05:30:01.5+05:30"), "UTC if it has no zone"
    assert moment("1970-01-02 00:00:01.5+00") == 86401.5 == moment("1970-01-02T00:00:01.500000999Z")
    assert Watermark("at", "date").moment("1970-01-02") == 86400.0
    for strange in ("", "10000-01-01 00:00:00", "0044-03-15 00:00:00 BC", "01/31/2026"):
        assert moment(strange) is None
    assert Watermark("at", "integer").moment("20260131") is None


def test_a_process_that_is_killed_at_any_instant_reads_no_row_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(f"sqlite:///{tmp_path}/data.sqlite", tmp_path, delay=0, rows=50)
    whole = pulling.os.rename
    for instant in range(40):
        calls = 0

        def dies(*arguments: Any, instant: int = instant, before: bool = instant % 2 == 0) -> None:
            nonlocal calls
            calls += 1
            if calls > instant % 5 and before:
                raise KeyboardInterrupt
            whole(*arguments)
            if calls > instant % 5:
                raise KeyboardInterrupt

        monkeypatch.setattr(pulling.os, "rename", dies)
        monkeypatch.setattr(pulling._File, "discard", lambda file: file._writer.close())
        table.added(50 + instant)
        try:
            table.after(1)
        except KeyboardInterrupt:
            table.job = table.started()
    monkeypatch.undo()
    table.job = table.started()
    table.after(1)
    assert table.numbers() == [*range(90)] and not list((tmp_path / "rows").glob(".*")) and not table.said


def test_files_are_deleted_once_no_checkpoint_needs_them(tmp_path: Path) -> None:
    table = Table(f"sqlite:///{tmp_path}/data.sqlite", tmp_path, delay=0, rows=50)
    table.after(0)
    directory = tmp_path / "rows"
    files = [str(directory / one.name) for one in pulled_in(directory)]
    assert len(files) == 9
    table.job.tidy()
    assert len(pulled_in(directory)) == 9, "there is no checkpoint yet"
    for step, (used, left, job) in enumerate([(files[:4], {files[3]: [(2, 7)]}, "this"), (files, {}, "another")]):
        saved = tmp_path / "saved" / f"step-{step}"
        saved.mkdir()
        state = {KEY: Used(dict.fromkeys(used), left).to_json()}
        (saved / QUEUE).write_text(json.dumps(state))
        Manifest(step, {}, job=job, date=float(step)).write(saved)
    assert len(checkpoints.completed(tmp_path / "saved")) == 2
    table.job.tidy()
    left = [str(directory / one.name) for one in pulled_in(directory)]
    assert left == files[2:], "the last that was used stays: it says how far the job is"
    table.added(50, 51)
    table.after(0)
    assert pulled_in(directory)[-1] == Pulled(10, 2, 52, "51", "50")


def test_no_more_is_pulled_than_waits_to_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MOST_WAITING", 20)
    table = Table(f"sqlite:///{tmp_path}/data.sqlite", tmp_path, delay=0, rows=60)
    for waiting, there in ((0, 21), (21, 21), (11, 21), (10, 35), (0, 56), (0, 60)):
        table.after(1, waiting=waiting)
        assert len(table.numbers()) == there
    table.added(*range(60, 95))
    assert table.after(1, waiting=1000, stop=True) and table.numbers() == [*range(95)], "the job is to end"


def test_a_duckdb_file_is_read_while_nobody_has_it_open_for_writing(tmp_path: Path) -> None:
    table = Table(f"duckdb:///{tmp_path}/data.duckdb", tmp_path, delay=0)
    table.after(0)
    program = f"import duckdb, sys; c = duckdb.connect({str(tmp_path / 'data.duckdb')!r}); print(1, flush=True); "
    program += (
        'sys.stdin.read(); c.execute("INSERT INTO visits SELECT 20, seen, day, x, kind, 20.5 FROM visits LIMIT 1")'
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdin is not None and writer.stdout.readline()
        with pytest.raises(SqlError, match="DuckDB: IO Error: Could not set lock on file") as caught:
            table.after(1)
        for _ in range(3):
            assert not table.job.failed(caught.value, stop=False)
        assert len(table.said) == 1 and table.said[0].startswith("the database cannot be read, and is tried again")
        assert 10 <= table.job.pause(0) <= 60
        writer.stdin.close()
        assert writer.wait() == 0
    table.after(1)
    assert table.numbers() == [*range(21)] and table.said[-1] == "the database can be read again"
    assert table.job.failed(caught.value, stop=True)
    assert table.said[-1].startswith("the last rows could not be read, and are left to a later job: DuckDB")


def test_a_watermark_is_safe_when_it_has_been_seen_for_long_enough() -> None:
    bounds = Bounds(10)
    assert bounds.safe(0) is None
    for second in range(30):
        bounds.saw(str(second), second)
    assert bounds.safe(9.9) is None or bounds.safe(30) == (20, "20")
    assert bounds.safe(30) == (20, "20") and bounds.safe(100) == (29, "29")
    bounds.saw("a", 100.0)
    bounds.saw("b", 100.1)
    bounds.saw("c", 100.2, surely=True)
    assert bounds.safe(110.15) == (100.0, "a") and bounds.safe(110.2) == (100.2, "c")


def test_names_of_files_say_how_far_the_database_was_read() -> None:
    for high in ("", "12", "-5", "2026-01-31 08:00:00.123456+00", "a/b%-c.parquet"):
        for low in ("", "-7", "2026-01-31 08:00:00+00, or"):
            one = Pulled(3, 4, 5, high, low)
            assert Pulled.of(f"/x/{one.name}") == one and "/" not in one.name
    assert Pulled.of("rows-0000000003-4-5--7.parquet") == Pulled(3, 4, 5, "-7"), "as names were before"
    assert Pulled.of("rows-1-2.parquet") is None and Pulled.of("other.parquet") is None
    assert last_of(["/x/other.parquet"]) is None
    assert last_of([Pulled(n, 1, n, str(n)).name for n in (9, 10, 8)]) == Pulled(10, 1, 10, "10")


# ------------------------------------------------------------------ what is refused


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(str(tmp_path / "shop.duckdb"), str(tmp_path / "models")) as session:
        session.run(
            "CREATE TABLE t AS SELECT i AS id, i / 3.0 AS part, CAST(i AS VARCHAR) AS name, i % 5 AS x, i % 2 AS y, "
            "CASE WHEN i > 3 THEN i END AS holes FROM range(20) AS r(i)"
        )
        yield session


@pytest.mark.parametrize(
    ("query", "more", "problem"),
    [
        ("SELECT part, x, y FROM t", "train.follow=part", "'part' is double; expected a column of whole numbers"),
        ("SELECT name, x, y FROM t", "train.follow=name", "'name' is string; expected a column of whole numbers"),
        ("SELECT holes, x, y FROM t", "train.follow=holes", "4 rows have no 'holes' that can be compared"),
        ("SELECT id, x, y FROM t", "train.follow=idd", "has no column 'idd'. Did you mean 'id'"),
        (
            "SELECT id, x, y FROM t LIMIT 5",
            "train.follow=id",
            "the query has LIMIT, after which new rows do not appear",
        ),
        ("SELECT id, x, y FROM t", "train.follow=5", "5 is not valid: expected the column"),
        ("SELECT id, x, y FROM t", "train.follow_delay=5", "has an effect only with 'train.follow'"),
        ("SELECT id, x, y FROM t", "train.follow=id, train.follow_delay=-1", "expected a number of seconds, from 0"),
        ("SELECT id, x, y FROM t", "train.follow=id, train.epoch=2", "num_epochs: given together with follow"),
        ("SELECT id, x, y FROM t", "train.follow=id, train.checkpoint_dir_for_init='x'", "not from a checkpoint"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_work_starts(
    session: Session, query: str, more: str, problem: str
) -> None:
    with pytest.raises(SqlError) as caught:
        session.run(f"{query} TRAIN DNNRegressor WITH hidden_units=[4], {more} LABEL y INTO m")
    assert problem in str(caught.value)


def test_a_database_that_another_process_cannot_see_is_refused(session: Session, tmp_path: Path) -> None:
    statement = "SELECT id, x, y FROM t TRAIN DNNRegressor WITH hidden_units=[4], train.follow=id LABEL y INTO m"
    (plan,) = session.plan(statement)
    assert "follows id: new rows are used about 10 seconds after they appear" in str(plan) and "id: number" not in str(
        plan
    )
    assert "Session(" in plan.program and "STATEMENT" in plan.program
    for before, problem in (
        ("BEGIN", "does not see the open transaction"),
        ("CREATE TEMPORARY TABLE u AS SELECT 1 AS a", "has set up: the temporary table u"),
        ("SET VARIABLE u = 1", "has set up: SET VARIABLE u"),
        ("SET TimeZone = 'Asia/Tokyo'", "has set up: SET TimeZone"),
    ):
        session.run(before)
        with pytest.raises(SqlError, match=problem):
            session.plan(statement)
        undo = {
            "BEGIN": "ROLLBACK",
            "CREATE": "DROP TABLE u",
            "SET VARIABLE": "RESET VARIABLE u",
            "SET": "RESET TimeZone",
        }
        session.run(next(after for begin, after in undo.items() if before.startswith(begin)))
    with Session(store=str(tmp_path / "models")) as memory:
        memory.run("CREATE TABLE t AS SELECT 1 AS id, 2 AS x, 3 AS y UNION SELECT 2, 3, 4")
        with pytest.raises(SqlError, match="another process cannot open this database"):
            memory.plan(statement)
    with pytest.raises(SqlError, match="another process cannot open this database"):
        apart(engines.connect("sqlite://"), None)


def test_dates_in_texts_have_one_form(tmp_path: Path) -> None:
    engine = engines.connect(f"sqlite:///{tmp_path}/data.sqlite")
    engine.main.run("CREATE TABLE t (at TEXT)")
    engine.main.run("INSERT INTO t VALUES ('2026-01-02 10:00:00'), ('2026-01-02 11:00:00')")
    rows = Selection.of(engine, "SELECT at FROM t", None)
    assert follow(rows, "at", 1, None, None).watermark.form == "timestamp"
    for odd in ("2026-1-2 10:00:00", "2026-01-02T10:00:00.5", "soon"):
        engine.main.run(f"INSERT INTO t VALUES ('{odd}')")
        with pytest.raises(SqlError, match="not all dates of one form"):
            follow(rows, "at", 1, None, None)
        engine.main.run(f"DELETE FROM t WHERE at = '{odd}'")
    engine.close()


@pytest.mark.needs("mariadb")
def test_a_timestamp_whose_hours_come_twice_is_refused(mariadb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines.connect(mariadb_url)
    engine.main.run("DROP TABLE IF EXISTS zoned")
    engine.main.run("CREATE TABLE zoned (stamp TIMESTAMP(6), plain DATETIME(6))")
    engine.main.run("INSERT INTO zoned VALUES ('2026-01-02 10:00:00', '2026-01-02 10:00:00')")
    problems = []
    for seconds in (181 * 86_400, 181 * 86_400 - 3600):  # as in a zone with summer time, which the server may not know
        monkeypatch.setattr(engine, "rows", lambda query, seconds=seconds: [(seconds,)])
        problems += [engine.watermark_problem(f"SELECT {name} FROM zoned", name) for name in ("stamp", "plain")]
    assert [bool(problem) for problem in problems] == [False, False, True, False]
    assert problems[2].startswith("'stamp' is a TIMESTAMP, and in the connection's time zone an hour comes twice")
    engine.close()
