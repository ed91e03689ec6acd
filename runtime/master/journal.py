"""What a restarted master must know: everything that has happened, so that a new coordinator can replay it.

An SQLite file in the job's folder. Events are appended as they happen and count once they are committed, those of one
turn of the master's loop together; nothing that follows from them is sent before. From time to time the state that the
events have led to replaces them.

Other pods can write to the file, and another version of this package may have written it. So its content is treated
purely as data: the messages of `journal.proto`, each with a checksum, and a table that says which format they have.
Anything incomplete, or in a format that this version does not know, is refused with a JournalError.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.events import Event
from elasticdl_nb.runtime.master.entries import from_entry, to_entry
from elasticdl_nb.runtime.protocol import journal_pb2 as messages

FORMAT = 2
"""The format that is written. Journals of format 1 were Python pickles, and did not name their format."""

OLDEST_FORMAT = 2
"""The oldest format that is read."""

BYTES_KEPT = 4 << 20
"""Minimum bytes of events that are kept before the state that they have led to replaces them."""

# The table `about` is the same in all formats, so that each version can recognize the others. Turns keep counting from
# those that `state` has replaced, so that an earlier row, which SQLite has yet to overwrite, is never mistaken for a
# new one.
_SCHEMA = """
CREATE TABLE about (one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, package TEXT NOT NULL);
CREATE TABLE turns (number INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, turn BLOB NOT NULL);
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), last_turn INTEGER NOT NULL, checksum INTEGER NOT NULL, state BLOB NOT NULL
);
"""
# Errors that say nothing about the content of the file.
_ENVIRONMENT = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
}  # fmt: skip


class JournalError(ElasticDLError):
    """The journal is damaged, or in a format that this version does not read."""


def may_pass(error: sqlite3.Error) -> bool:
    """Whether what could not be written may be written later: the disk is full, say."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _ENVIRONMENT


class Journal:
    """The journal of one job; a `shared` one is in a folder that other machines use too.

    Raises JournalError if the one at `path` cannot be read, sqlite3.Error if the file cannot be opened.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        self._since = self._state_size = self._last_turn = 0
        self._pending: list[bytes] = []
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._refusing():
                self._open(shared)
        except BaseException:
            self._database.close()
            raise

    def _open(self, shared: bool) -> None:
        # Written to the file at once, and to the disk when the system likes: it must survive the process, not the
        # machine.
        mode = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
        if shared:
            # The next master may run on another machine. Network file systems offer no shared memory, and SQLite needs
            # none if only one process may open the file.
            mode = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        self._database.executescript("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;" + mode)
        tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self.is_new = not tables
        """Whether there was no journal before."""
        self._is_signed = True
        if "about" in tables:
            format, package = self._one("SELECT format, package FROM about")
            self._check_format(format, package)
            self._is_signed = (format, package) == (FORMAT, _version())
        elif tables:
            self._check_format(1, "")
        else:
            with self._transaction():
                for statement in _SCHEMA.split(";")[:-1]:
                    self._database.execute(statement)
                self._sign()

    def _check_format(self, format: object, package: object) -> None:
        if not isinstance(format, int) or not isinstance(package, str):
            raise ValueError("the format is not a number")
        if OLDEST_FORMAT <= format <= FORMAT:
            return
        known = f"format {FORMAT}" if OLDEST_FORMAT == FORMAT else f"formats {OLDEST_FORMAT} to {FORMAT}"
        writer = f"elasticdl_nb {' '.join(package.split())[:40]}" if package else "an earlier version of elasticdl_nb"
        raise JournalError(
            f"the job's journal has format {format}, written by {writer}, but this is elasticdl_nb {_version()}, which "
            f"reads {known}: start the job again, or let {writer} finish it"
        )

    def _sign(self) -> None:
        self._database.execute("INSERT OR REPLACE INTO about VALUES (1, ?, ?)", [FORMAT, _version()])

    # ------------------------------------------------------------ writing

    def append(self, event: Event, now: float, date: float) -> bool:
        """Add an event, see `Coordinator.handle`; return whether it is the first that waits for `commit`.

        Raises ValueError if no message can hold its content.
        """
        entry = to_entry(event, now, date).SerializeToString()
        self._pending.append(entry)
        return len(self._pending) == 1

    def commit(self, coordinator: Coordinator) -> None:
        """Commit the events since the last commit; they have led to this state, which replaces them if needed.

        The state of a job with very many tasks is large: it is written rarely enough to keep that work a small share,
        and often enough for another master to catch up in seconds. Raises sqlite3.Error if the events cannot be
        written; the next call tries again.
        """
        if self._pending:
            turn, number = messages.Turn(entries=self._pending).SerializeToString(), self._last_turn + 1
            with self._transaction():
                self._database.execute("INSERT INTO turns VALUES (?, ?, ?)", [number, _checksum(turn, number), turn])
            self._pending = []
            self._last_turn = number
            self._since += len(turn)
        if self._since > max(BYTES_KEPT, self._state_size):
            try:
                self.replace(coordinator)
            except sqlite3.Error as error:  # the events are safe; there may be room for the state later
                if not may_pass(error):
                    raise
                self._since = 0

    def replace(self, coordinator: Coordinator) -> None:
        """Replace the events, including those that wait for `commit`, by this state, which they have led to."""
        state, last = coordinator.to_message().SerializeToString(), self._last_turn
        with self._transaction():
            self._sign()
            values = [last, _checksum(state, last), state]
            self._database.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?)", values)
            self._database.execute("DELETE FROM turns")
        self._since, self._state_size = 0, len(state)
        self._pending.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        try:
            yield
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:  # SQLite may have ended it, where the disk is full
                self._database.execute("ROLLBACK")

    def remove(self) -> None:
        """Delete the journal of a job that is over."""
        self._database.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    # ------------------------------------------------------------ reading

    def recover(self, coordinator: Coordinator) -> bool:
        """Replay the whole journal in a new coordinator of the job; return whether it holds anything.

        Raises JournalError if any of it cannot be read; the coordinator is then unusable.
        """
        with self._refusing():
            (problem,) = self._one("PRAGMA quick_check(1)")
            if problem != "ok":
                raise ValueError(problem)
            found = self._load(coordinator)
            if found and not self._is_signed:  # from here on it belongs to this version and its format
                self.replace(coordinator)
            return found

    def _load(self, coordinator: Coordinator) -> bool:
        if kept := self._database.execute("SELECT last_turn, checksum, state FROM state").fetchone():
            self._last_turn, checksum, state = kept
            self._state_size = len(state)
            _verify(state, self._last_turn, checksum)
            coordinator.load(messages.State.FromString(state))
        turns = self._database.execute("SELECT number, checksum, turn FROM turns ORDER BY number")
        for number, checksum, turn in turns:
            if number != self._last_turn + 1:
                raise ValueError(f"turn {number} comes after turn {self._last_turn}")
            _verify(turn, number, checksum)
            for serialized in messages.Turn.FromString(turn).entries:
                entry = messages.Entry.FromString(serialized)
                coordinator.handle(from_entry(entry), entry.now, entry.date)
            self._last_turn = number
            self._since += len(turn)
        # They were carried out, or else later events will show that they were not.
        coordinator.actions.clear()
        return self._last_turn > 0

    def _one(self, query: str) -> tuple[object, ...]:
        row: tuple[object, ...] | None = self._database.execute(query).fetchone()
        if row is None:
            raise ValueError(f"no answer to {query}")
        return row

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Any error in reading the file's content means that it is damaged."""
        try:
            yield
        except JournalError:
            raise
        except Exception as error:
            if isinstance(error, sqlite3.Error) and may_pass(error):
                raise
            problem = " ".join(str(error).split())
            raise JournalError(
                f"the job's journal, {self._path}, is damaged ({problem}): the job cannot continue; start it again"
            ) from error


def _checksum(data: bytes, number: int) -> int:
    return zlib.crc32(data, number & 0xFFFFFFFF)


def _verify(data: bytes, number: int, checksum: int) -> None:
    if _checksum(data, number) != checksum:
        raise ValueError(f"the checksum of turn {number} is wrong")


def _version() -> str:
    return metadata.version("elasticdl_nb")
