"""Jobs that go on learning from a query: each row once, whatever dies, and a later statement goes on from there."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "recovery"))
import counting

from elasticdl_nb.job import Job, launch
from elasticdl_nb.job.starting import start_job
from elasticdl_nb.runtime import chaos
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import holder
from elasticdl_nb.sql import engines
from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.following.pulled import pulled_in
from elasticdl_nb.sql.following.starting import follow
from elasticdl_nb.sql.session import Session

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def no_job_stays() -> Iterator[None]:
    yield
    for folder in JobFolder.all():
        launch.kill(folder)


def until(job: Job, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not is_so():
        assert not is_over(job.status()), job.status().failure.message
        assert time.monotonic() < deadline, job.status()
        time.sleep(0.05)


def until_done(job: Job, records: int) -> None:
    until(job, lambda: job.status().records_done >= records)


def texts(job: Job) -> list[str]:
    return [event.text for event in job.status().events]


def insert(engine: Engine, first: int, count: int) -> None:
    engine.main.run(
        f"INSERT INTO t VALUES {', '.join(f'({n}, {n % 10}, {n % 3})' for n in range(first, first + count))}"
    )


@pytest.mark.needs("mariadb")
def test_each_row_counts_once_whatever_dies_and_no_password_is_left(mariadb_url: str, tmp_path: Path) -> None:
    engine = engines.connect(mariadb_url)
    engine.main.run("DROP TABLE IF EXISTS t")
    engine.main.run("CREATE TABLE t (number BIGINT PRIMARY KEY, x INTEGER, y INTEGER)")
    insert(engine, 0, 400)
    rows = Selection.of(engine, "SELECT number, number AS mark FROM t", None)
    fed = follow(rows, "mark", 0, None, None).fed(["number"], None, [], rows, own_input=True)
    options = counting.write(tmp_path, 1000)
    options.pop("data", None)
    job = start_job("train", {
        **options, "data": fed, "follow": True, "minibatch_size": 32, "num_minibatches_per_task": 2,
        "checkpoint_steps": 4,
    }, wait=False)  # fmt: skip
    settings, lock = job.folder.path / "feeder.json", job.folder.path / "feeder.lock"
    assert settings.stat().st_mode & 0o777 == 0o600
    until_done(job, 400)
    first = holder(lock)
    os.kill(first, signal.SIGKILL)
    insert(engine, 400, 200)
    until(job, lambda: holder(lock) not in (0, first))
    for name in ("worker-0", "master"):
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(chaos.processes(job.folder)[name].pid, signal.SIGKILL)
    insert(engine, 600, 150)
    until_done(job, 750)
    insert(engine, 750, 50)
    directory = Path(job.spec.data[0])
    until(job, lambda: pulled_in(directory)[0].number > 1)  # what was used is deleted
    job.stop().wait()
    assert Counter(counting.uses(tmp_path)) == {1: 800, 0: 200}
    assert any("has ended (signal 9; see logs/feeder.log), and is started again" in text for text in texts(job))
    assert not settings.exists() and not holder(lock)
    for path in (*job.folder.path.rglob("*"), *(tmp_path / "out").rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        assert b"p@ss" not in content and b"p%40ss" not in content, path
    engine.close()


def test_a_statement_follows_its_query_and_a_later_one_goes_on(tmp_path: Path) -> None:
    statement = "SELECT number, x, y FROM t TRAIN DNNRegressor WITH hidden_units=[4], train.follow=number, "
    statement += "train.follow_delay=0.5 LABEL y"
    with Session(str(tmp_path / "shop.duckdb"), str(tmp_path / "models")) as session:
        session.run("CREATE TABLE t (number BIGINT, x INTEGER, y INTEGER)")
        insert(session.engine, 0, 100)
        job = session.run(f"{statement} INTO m", wait=False)[0].job
        assert job is not None
        until_done(job, 100)  # so the session has closed the file, which no other process could open
        session.run("INSERT INTO t SELECT 100 + i, i, i % 3 FROM range(30) AS r(i)")
        until_done(job, 130)
        job.stop().wait()
        assert job.status().records_done == 130 and not any("cannot be read" in text for text in texts(job))
        (shown,) = session.run("SHOW TRAIN m")
        assert ("train.follow", "number") in list(zip(*shown.arrow().to_pydict().values(), strict=True))
        session.run("INSERT INTO t SELECT 130 + i, i, i % 3 FROM range(20) AS r(i)")
        (later,) = session.run(f"{statement} USING m INTO m", wait=False)
        assert "goes on after number = 129, up to which m has learned" in later.messages
        assert later.job is not None
        until_done(later.job, 20)
        later.job.stop().wait()
        assert later.job.status().records_done == 20
        with pytest.raises(Exception, match="m has followed 'number', so nobody knows which rows of 'x'"):
            session.plan(f"{statement} USING m INTO m".replace("follow=number", "follow=x"))


def test_event_time_and_lag_of_a_statement_whatever_dies_and_those_of_a_later_one(tmp_path: Path) -> None:
    statement = "SELECT seen, x, y FROM t TRAIN DNNRegressor WITH hidden_units=[4], train.follow=seen, "
    statement += "train.follow_delay=0.5 LABEL y"
    begin, rows = 1_767_261_600.0, "SELECT TIMESTAMP '2026-01-01 10:00:00' + i * INTERVAL 1 SECOND, i, i % 3 FROM range"

    def up_to_date(job: Job, event: int) -> None:
        until(job, lambda: (job.status().event_time, job.status().lag_seconds) == (begin + event, 0.0))
        assert job.status().event_time_oldest == begin + event and job.status().HasField("lag_seconds")

    with Session(str(tmp_path / "shop.duckdb"), str(tmp_path / "models")) as session:
        session.run("CREATE TABLE t (seen TIMESTAMP, x INTEGER, y INTEGER)")
        session.run(f"INSERT INTO t {rows}(50) AS r(i)")
        job = session.run(f"{statement} INTO m", wait=False)[0].job
        assert job is not None
        up_to_date(job, 49)
        assert "event time 2026-01-01 10:00:49Z; up to date" in " ".join(str(job.report()).split())
        os.kill(holder(job.folder.path / "feeder.lock"), signal.SIGKILL)
        session.run(f"INSERT INTO t {rows}(50, 60) AS r(i)")
        until(job, lambda: job.status().lag_seconds > 0 or job.status().event_time == begin + 59)
        up_to_date(job, 59)
        os.kill(chaos.processes(job.folder)["master"].pid, signal.SIGKILL)
        session.run(f"INSERT INTO t {rows}(60, 75) AS r(i)")
        up_to_date(job, 74)
        job.stop().wait()
        status = job.status()
        assert status.event_time == begin + 74 and status.records_done == 75 and not status.HasField("lag_seconds")
        (later,) = session.run(f"{statement} USING m INTO m", wait=False)
        assert later.job is not None
        up_to_date(later.job, 74)
        later.job.cancel()
