"""MariaDB, and MySQL's way of doing it there: a column is added with all its values, or the table stays as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine_tables import fill_people

from elasticdl_nb.sql import engines
from elasticdl_nb.sql.engines.mysql import MySqlEngine
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.writing import stepwise

pytestmark = pytest.mark.needs("mariadb")
PEOPLE = engines.Table(("people",))
UPDATE = "UPDATE people SET {} = id * 1.5"
RIGHT = "SELECT COUNT(*) FROM people WHERE {} = id * 1.5"
WAIT_SECONDS = 60.0


@pytest.fixture(params=["one statement", "steps"])
def engine(request: pytest.FixtureRequest, mariadb_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if request.param == "steps":
        monkeypatch.setattr(MySqlEngine, "has_blocks", False)
    engine = engines.connect(mariadb_url)
    fill_people(engine, 12)
    yield engine
    engine.main.run("DROP TABLE people")
    engine.close()


def slow_down(engine: engines.Engine, what: str) -> None:
    engine.main.run(f"CREATE TRIGGER people_slow BEFORE UPDATE ON people FOR EACH ROW {what}")


def structure(engine: engines.Engine) -> tuple[Any, ...]:
    return engine.rows("SHOW CREATE TABLE people")[0], engine.rows("SELECT * FROM people ORDER BY id")


def add(engine: engines.Engine, rows: int = 12) -> None:
    with engine.connect() as connection:
        stepwise.add_column(engine, connection, PEOPLE, ("a guess", "DOUBLE"), UPDATE.format, RIGHT.format, rows)


def updating(engine: engines.Engine) -> int:
    """Wait until the column is being filled; return the number of the conversation that does it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = engine.rows("SELECT id FROM information_schema.processlist WHERE state = 'User sleep'")
        if found:
            return int(found[0][0])
        time.sleep(0.02)
    raise AssertionError("nobody updates the table")


def gone(engine: engines.Engine, conversation: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while engine.rows(f"SELECT 1 FROM information_schema.processlist WHERE id = {conversation}"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_column_comes_with_its_values(engine: engines.Engine) -> None:
    _, before = structure(engine)
    add(engine)
    created, after = structure(engine)
    assert after == [(*row, row[0] * 1.5) for row in before]
    assert "`a guess` double DEFAULT NULL" in created[1]
    assert "INVISIBLE" not in created[1]


def test_other_rows_than_were_predicted_leave_the_table_as_it_was(engine: engines.Engine) -> None:
    before = structure(engine)
    with pytest.raises(stepwise.OtherRowsError) as caught:
        add(engine, rows=11)
    assert caught.value.args == (12,)
    assert structure(engine) == before


def test_an_error_at_a_later_row_leaves_the_table_as_it_was(engine: engines.Engine) -> None:
    slow_down(
        engine, "IF NEW.id = 7 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'row seven is not to be touched'; END IF"
    )
    before = structure(engine)
    with pytest.raises(SqlError, match="row seven is not to be touched"):
        add(engine)
    assert structure(engine) == before


def test_a_conversation_that_is_cut_off_leaves_the_table_as_it_was(engine: engines.Engine) -> None:
    slow_down(engine, "SET @waited = SLEEP(1)")
    before = structure(engine)
    cut = threading.Thread(target=lambda: engine.main.run(f"KILL {updating(engine)}"))
    cut.start()
    with pytest.raises(SqlError):
        add(engine)
    cut.join()
    assert structure(engine) == before


CLIENT = """
import sys
from elasticdl_nb.sql import engines
from elasticdl_nb.sql.writing import stepwise
engine = engines.connect(sys.argv[1])
update, right = "UPDATE people SET {} = id * 1.5", "SELECT COUNT(*) FROM people WHERE {} = id * 1.5"
with engine.connect() as connection:
    stepwise.add_column(
        engine, connection, engines.Table(("people",)), ("a guess", "DOUBLE"), update.format, right.format, 12
    )
"""


@pytest.mark.parametrize(("sent", "seconds_a_row"), [(signal.SIGKILL, 0.1), (signal.SIGINT, 5)])
def test_a_client_that_is_killed_leaves_all_or_nothing(
    sent: signal.Signals, seconds_a_row: float, mariadb_url: str
) -> None:
    engine = engines.connect(mariadb_url)
    fill_people(engine, 12)
    slow_down(engine, f"SET @waited = SLEEP({seconds_a_row})")
    before = structure(engine)
    with subprocess.Popen([sys.executable, "-c", CLIENT, mariadb_url], stderr=subprocess.DEVNULL) as client:
        conversation = updating(engine)
        client.send_signal(sent)
        client.wait(WAIT_SECONDS)
    gone(engine, conversation)
    after = structure(engine)
    if sent is signal.SIGINT:
        assert after == before
    elif after != before:
        assert after[1] == [(*row, row[0] * 1.5) for row in before[1]]
    engine.main.run("DROP TABLE people")
    engine.close()
