"""The journal: what another master reads is what happened, or it is refused in one message; it is never code."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import sqlite3
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import differences

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master import bookkeeper
from elasticdl_nb.runtime.master import journal as journals
from elasticdl_nb.runtime.master.bookkeeper import Bookkeeper
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.entries import from_entry, to_entry
from elasticdl_nb.runtime.master.journal import FORMAT, Journal, JournalError
from elasticdl_nb.runtime.protocol import journal_pb2 as messages
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec

W0, W1 = ("worker", 0, "0"), ("worker", 1, "0")
SPEC = JobSpec.create("predict", trained_model="m", data="f", output="o", num_workers=2, minibatch_size=1)
STORY = [
    events.Started(),
    events.DataCounted((FileRecords("f", 100),), ()),
    events.Greeted(pb.Hello(role="worker", worker=0, incarnation="0", pid=7)),
    events.Said(W0, pb.WorkerMessage(sequence=1, want=pb.Want(tasks=2))),
    events.Exited(W1, -9),
    events.Said(W0, pb.WorkerMessage(sequence=2, task_done=pb.TaskDone(id=1, attempt=1, records=32))),
]


class Written:
    """A journal in the making, and what its coordinator was after each commit."""

    def __init__(self, path: Path) -> None:
        self.job, self.journal = Coordinator(SPEC), Journal(path)
        self.states = [self.job.to_message()]
        self.now = 1.0

    def add(self, *story: events.Event) -> None:
        for event in story:
            self.now += 0.5
            self.job.handle(event, self.now, 1e9 + self.now)
            self.journal.append(event, self.now, 1e9 + self.now)
        self.job.actions.clear()
        self.journal.commit(self.job)
        self.states.append(self.job.to_message())


def recovered(path: Path) -> Coordinator | None:
    journal, job = Journal(path), Coordinator(SPEC)
    try:
        return job if journal.recover(job) else None
    finally:
        journal._database.close()


def test_it_brings_back_what_the_coordinator_knew(tmp_path):
    written = Written(tmp_path / "journal.db")
    assert written.journal.is_new and not written.journal.recover(Coordinator(SPEC))
    for count, event in enumerate(STORY):
        written.add(event)
        if count == 2:
            written.journal.replace(written.job)
    assert written.journal.append(events.Cancelled("never committed"), 9.0, 9.0)
    assert not written.journal.append(events.Ticked(), 9.0, 9.0)
    again = recovered(tmp_path / "journal.db")
    assert again.queue.records_done == {"predict": 32}
    assert not list(differences(written.job, again))
    assert [m.key for m in again.members()] == [W0, ("worker", 1, "1")]
    assert not again.actions
    written.journal.remove()
    assert not list(tmp_path.iterdir())


def test_what_a_master_adds_that_has_recovered_is_brought_back_by_the_next_one(tmp_path):
    path = tmp_path / "journal.db"
    Written(path).add(*STORY[:3])
    second = Written(path)
    assert second.journal.recover(second.job)
    second.add(*STORY[3:])
    assert not list(differences(second.job, recovered(path)))


def test_its_state_takes_the_place_of_events_so_that_it_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "BYTES_KEPT", 2000)
    written = Written(tmp_path / "journal.db")
    written.add(*STORY)
    for number in range(500):
        written.add(events.Stuck(W0, f"waits for {number}"))
    turns = written.journal._database.execute("SELECT count(*) FROM turns").fetchone()[0]
    assert turns < 200
    assert not list(differences(written.job, recovered(tmp_path / "journal.db")))


def test_a_full_disk_is_told_and_it_goes_on_once_there_is_room(tmp_path):
    written = Written(tmp_path / "journal.db")
    written.add(*STORY[:1])
    database = written.journal._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    assert written.journal.append(events.Cancelled("x" * 100_000), 5.0, 5.0)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        written.journal.commit(written.job)
    database.execute(f"PRAGMA max_page_count = {pages + 100}")
    assert not written.journal.append(events.Noted("info", "more"), 6.0, 6.0), "the first is still to be committed"
    written.journal.commit(written.job)
    texts = [event.text for event in recovered(tmp_path / "journal.db").picture.events]
    assert texts[-2].startswith("cancelled: xxx") and texts[-1] == "more"


# ------------------------------------------------------------ events as entries

FAILURE = pb.Failure(message="no", traceback="Traceback …", transient=True)
SAMPLES = [
    *STORY, events.Recovered((W0, ("ps", 3, "12"))), events.Recovered(()), events.Stuck(W1, ""), events.Runs(W0),
    events.DataCounted((FileRecords("a", 5, 7), FileRecords("b", 0)), (FileRecords("c", 1),)),
    events.DataCounted((), ()), events.Said(W0, pb.WorkerMessage()), events.Greeted(pb.Hello()),
    events.Exited(W1, 0, "last\nwords"),
    events.Lost(W1, "was evicted", False, "…"), events.Lost(W1, "out of memory", True), events.Scaled(7),
    events.Scaled(0), events.Cancelled(""), events.Cancelled("enough"), events.Failed(FAILURE),
    events.Failed(pb.Failure()), events.CheckpointBegun(3, "p"), events.CheckpointCommitted("p", "q", ("o",)),
    events.CheckpointFailed("", "full"), events.Noted("warning", "full"), events.Ticked(),
    events.DataGrew((FileRecords("a", 5),)), events.DataGrew((), last=True), events.StopAsked("enough"),
]  # fmt: skip


def test_every_event_comes_back_as_it_was():
    assert {type(event) for event in SAMPLES} == set(get_args(events.Event))
    for event in SAMPLES:
        entry = messages.Entry.FromString(to_entry(event, 1.25, 1e9).SerializeToString())
        assert (from_entry(entry), entry.now, entry.date) == (event, 1.25, 1e9)


# ------------------------------------------------------------ other versions


def change(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


@pytest.mark.parametrize("format", [FORMAT + 1, 0, -1, 2**40])
def test_a_format_that_is_not_known_is_refused_with_both_versions(tmp_path, format):
    path = tmp_path / "journal.db"
    Written(path).add(*STORY)
    change(path, f"UPDATE about SET format = {format}, package = '77.3'")
    with pytest.raises(JournalError) as caught:
        Journal(path)
    message = str(caught.value)
    assert f"format {format}, written by elasticdl_nb 77.3" in message and "\n" not in message
    assert f"elasticdl_nb {journals._version()}, which reads format {FORMAT}" in message
    assert "start the job again" in message


def test_a_journal_of_a_later_format_need_have_nothing_else_in_common(tmp_path):
    path = tmp_path / "journal.db"
    change(path, "CREATE TABLE about (x, package, format)", "INSERT INTO about VALUES (0, '9.0', 99)")
    with pytest.raises(JournalError, match=r"format 99, written by elasticdl_nb 9\.0"):
        Journal(path)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_pickles_of_earlier_versions_are_not_even_opened(tmp_path):
    path, touched = tmp_path / "journal.db", tmp_path / "touched"
    blob = pickle.dumps(Payload(touched))
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE events (number INTEGER PRIMARY KEY, event BLOB NOT NULL)")
        database.execute("CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), coordinator BLOB NOT NULL)")
        database.execute("INSERT INTO state VALUES (1, ?)", [blob])
        database.execute("INSERT INTO events VALUES (1, ?)", [blob])
    database.close()
    with pytest.raises(JournalError, match="format 1, written by an earlier version of elasticdl_nb"):
        Journal(path)
    assert not touched.exists()
    pickle.loads(blob)
    assert touched.exists(), "the payload is one"


def test_a_journal_that_was_written_by_an_earlier_build_is_read(tmp_path):
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as database:
        database.executescript((Path(__file__).parent / "journal_format_2.sql").read_text())
    database.close()
    change(path, "UPDATE about SET package = '0.0.1'")
    job = recovered(path)
    assert job.queue.records_done == {"predict": 32}
    assert [(m.key, m.state) for m in job.members()] == [(W0, "running"), (("worker", 1, "1"), "starting")]
    assert [task.id for task in job.queue.held(0)] == [2, 3]
    assert [event.text for event in job.picture.events] == [
        "predict job started with 2 worker process(es)",
        "worker-1 was killed by signal 9; a new process is started",
    ]
    (package,) = sqlite3.connect(path).execute("SELECT package FROM about").fetchone()
    assert package == journals._version(), "it is of this version from now on"


# ------------------------------------------------------------ damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A journal's files, and the states of all commits: with a state, turns after it, and some only in the log."""
    folder = tmp_path_factory.mktemp("whole")
    written = Written(folder / "journal.db")
    written.add(*STORY[:3])
    for event in STORY[3:]:
        written.add(event)
    for number in range(12):
        written.add(events.Stuck(W0, f"waits for {number}"), events.Stuck(W0, ""))
        if number == 3:
            written.journal.replace(written.job)
        if number == 8:
            written.journal._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
    assert set(files) == {"journal.db", "journal.db-wal"}
    states = {state.SerializeToString(deterministic=True) for state in written.states}
    yield files, states
    written.journal._database.close()


def look(folder: Path, files: dict[str, bytes], states: set[bytes]) -> str:
    """Write these files, and see that what is made of them is a state that there was, or refused in one message."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        journal, job = Journal(folder / "journal.db"), Coordinator(SPEC)
        try:
            known = journal.recover(job)
        finally:
            journal._database.close()
    except JournalError as error:
        assert isinstance(error, ElasticDLError) and str(error) and "\n" not in str(error)
        return "refused"
    if not known:
        assert journal.is_new, "a master that has listened before sees that it is gone"
        return "new"
    assert job.to_message().SerializeToString(deterministic=True) in states, "that is not what has happened"
    return "recovered"


def test_a_byte_that_was_changed_anywhere_is_harmless_or_refused(tmp_path, whole):
    files, states = whole
    assert look(tmp_path / "j", files, states) == "recovered"
    results = []
    for name, content in files.items():
        step = max(1, len(content) // 700)
        for place in [*range(100), *range(100, len(content), step)]:
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8 or 0xFF
            results.append(look(tmp_path / "j", {**files, name: bytes(damaged)}, states))
    assert {"recovered", "refused"} <= set(results) <= {"recovered", "refused", "new"}


def test_a_file_that_was_cut_off_anywhere_is_a_beginning_or_refused(tmp_path, whole):
    files, states = whole
    results = []
    for name, content in files.items():
        for end in range(0, len(content), max(1, len(content) // 300)):
            results.append(look(tmp_path / "j", {**files, name: content[:end]}, states))
    assert {"recovered", "refused"} <= set(results) <= {"recovered", "refused", "new"}


def test_a_log_that_was_not_written_to_its_end_is_a_beginning_of_what_happened(tmp_path, whole):
    files, states = whole
    log = files["journal.db-wal"]
    results = [look(tmp_path / "j", {**files, "journal.db-wal": log[:end]}, states) for end in range(0, len(log), 97)]
    assert set(results) == {"recovered"}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_messages_of_any_content_are_taken_or_refused(tmp_path_factory, data):
    """Checksums are right here: whoever can write to the folder can make them."""
    path = tmp_path_factory.mktemp("any") / "journal.db"
    written = Written(path)
    written.add(*STORY[:4])
    if data.draw(st.booleans()):
        turn = data.draw(st.binary(max_size=60))
        if data.draw(st.booleans()):
            turn = messages.Turn(entries=[data.draw(st.binary(max_size=60))]).SerializeToString()
        values = [2, journals._checksum(turn, 2), turn]
        written.journal._database.execute("INSERT INTO turns VALUES (?, ?, ?)", values)
    else:
        state = bytearray(written.job.to_message().SerializeToString())
        for _ in range(data.draw(st.integers(1, 3))):
            state[data.draw(st.integers(0, len(state) - 1))] = data.draw(st.integers(0, 255))
        values = [1, journals._checksum(bytes(state), 1), bytes(state)]
        written.journal._database.execute("INSERT INTO state VALUES (1, ?, ?, ?)", values)
        written.journal._database.execute("DELETE FROM turns")
    written.journal._database.close()
    try:
        assert recovered(path) is not None
    except JournalError as error:
        assert "\n" not in str(error).strip()
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("statement", [
    "DELETE FROM turns WHERE number = 2", "UPDATE turns SET number = 99 WHERE number = 3", "DELETE FROM about",
    "UPDATE turns SET turn = 'text' WHERE number = 2", "UPDATE turns SET checksum = 0",
    "UPDATE about SET format = 'two'", "DROP TABLE turns", "UPDATE turns SET turn = x'ff' WHERE number = 2",
])  # fmt: skip
def test_a_journal_with_gaps_or_other_things_in_it_is_refused(tmp_path, statement):
    path = tmp_path / "journal.db"
    written = Written(path)
    for event in STORY:
        written.add(event)
    written.journal._database.close()
    change(path, statement)
    with pytest.raises(JournalError, match="is damaged"):
        recovered(path)


def test_a_turn_from_before_the_state_is_not_taken_for_one_after_it(tmp_path):
    path = tmp_path / "journal.db"
    written = Written(path)
    written.add(*STORY[:2])
    row = written.journal._database.execute("SELECT * FROM turns").fetchone()
    written.add(*STORY[2:])
    written.journal.replace(written.job)
    written.journal._database.execute("INSERT INTO turns VALUES (?, ?, ?)", row)
    with pytest.raises(JournalError, match="turn 1 comes after turn 2"):
        recovered(path)


def test_a_disk_that_cannot_be_read_now_is_not_taken_for_damage(tmp_path):
    path = tmp_path / "journal.db"
    written = Written(path)
    written.add(*STORY)
    written.journal._database.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        Journal(path, shared=True)
    other.close()


class Listeners:
    """What the service sends and acknowledges."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.acknowledged: list[int] = []

    def wake_watchers(self) -> None:
        pass

    def send(self, _key: object, message: pb.MasterMessage) -> None:
        self.sent.append(message.WhichOneof("body"))

    def acknowledge(self, _key: object, sequence: int) -> None:
        self.acknowledged.append(sequence)


def test_nothing_leaves_the_master_while_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(bookkeeper, "LONGEST_PAUSE", 0.02)

    async def scene() -> None:
        journal, job, heard = Journal(tmp_path / "journal.db"), Coordinator(SPEC), Listeners()
        books = Bookkeeper(job, journal, heard)
        books.carry_out = lambda deed: None
        for event in STORY[:3]:
            books.happened(event)
        books.told(W0, pb.WorkerMessage(sequence=1, want=pb.Want(tasks=1)))
        await asyncio.sleep(0.01)
        assert heard.sent == ["welcome", "task"] and heard.acknowledged == [1]
        ((pages,),) = journal._database.execute("PRAGMA page_count").fetchall()
        journal._database.execute(f"PRAGMA max_page_count = {pages}").fetchall()  # as on a full disk
        for number in range(2, 200):
            books.told(W0, pb.WorkerMessage(sequence=number, note=pb.Note(level="info", text="still here " * 9)))
            await asyncio.sleep(0)
        books.told(W0, pb.WorkerMessage(sequence=200, want=pb.Want(tasks=2)))
        safe = heard.acknowledged[-1]
        await asyncio.sleep(0.1)
        assert safe < 199 and heard.acknowledged[-1] == safe and heard.sent == ["welcome", "task"]
        texts = [event.text for event in job.picture.events]
        assert sum("the job's journal could not be written: database or disk is full" in text for text in texts) <= 1
        assert not job.is_over
        journal._database.execute("PRAGMA max_page_count = 100000").fetchall()
        await asyncio.sleep(0.1)
        assert heard.acknowledged[-1] == 200 and heard.sent == ["welcome", "task", "task"]
        assert job.picture.events[-1].text == "the job's journal can be written again; the job goes on"

    asyncio.run(scene())
    again = recovered(tmp_path / "journal.db")
    assert again is not None and again.picture.events[-1].text.startswith("the job's journal can be written again")
