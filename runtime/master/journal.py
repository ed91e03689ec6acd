"""What the master must know when it is started again: everything that has happened, told to a new coordinator.

An SQLite file in the job's folder. Events are appended as they happen and count once they are committed, those of one
turn of the master's loop together; nobody is told what follows from them before. From time to time the events so far
are replaced by the state they have led to.
"""

from __future__ import annotations

import copyreg
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.protocol import master_pb2 as pb

BYTES_KEPT = 4 << 20
"""Bytes of events that are kept at least before the state they have led to takes their place."""

# The bulk of all events; protobuf's own way to pickle a message takes several times as long.
copyreg.pickle(pb.WorkerMessage, lambda message: (_worker_message, (message.SerializeToString(),)))

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, event BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), coordinator BLOB NOT NULL);
"""


def _worker_message(serialized: bytes) -> pb.WorkerMessage:
    return pb.WorkerMessage.FromString(serialized)


class Journal:
    """The journal of one job; a `shared` one is in a folder that other machines use, too."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Written to the file at once, to the disk when the system likes: it is to survive the process, not the machine.
        mode = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
        if shared:
            # The next master may be on another machine. File systems of networks have no memory to share: SQLite needs
            # none where only one process may open the file.
            mode = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        self._database.executescript(mode + _SCHEMA)
        self._since = self._state_size = 0
        self._pending: list[tuple[bytes]] = []

    def append(self, name: str, arguments: tuple[Any, ...]) -> bool:
        """Add an event: the name of a coordinator's method and what it was called with.

        Returns whether it is the first one that waits for `commit`.
        """
        event = pickle.dumps((name, arguments), protocol=5)
        self._pending.append((event,))
        self._since += len(event)
        return len(self._pending) == 1

    def commit(self, coordinator: Coordinator) -> None:
        """Make the events since the last commit count; they have led to this state, which takes their place if need be.

        The state of a job of very many tasks is large: it is written as seldom as keeps its share of the work small,
        and as often as lets another master catch up in seconds. Raises sqlite3.Error if they cannot be written; they
        are not tried again then.
        """
        pending, self._pending = self._pending, []
        if pending:
            with self._transaction():
                self._database.executemany("INSERT INTO events (event) VALUES (?)", pending)
        if self._since > max(BYTES_KEPT, self._state_size):
            self.replace(coordinator)

    def replace(self, coordinator: Coordinator) -> None:
        """Replace the events, those that wait for `commit` among them, by this state, which they have led to."""
        state = pickle.dumps(coordinator)
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", [state])
            self._database.execute("DELETE FROM events")
        self._since, self._state_size = 0, len(state)
        self._pending.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        try:
            yield
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    def recover(self) -> Coordinator | None:
        """Return a coordinator that knows all that is in the journal; None if there is nothing."""
        kept = self._database.execute("SELECT coordinator FROM state").fetchone()
        if kept is None:
            return None
        # The folder is its owner's alone; nobody else could have written this.
        coordinator: Coordinator = pickle.loads(kept[0])  # noqa: S301
        self._state_size = len(kept[0])
        for (event,) in self._database.execute("SELECT event FROM events ORDER BY number"):
            self._since += len(event)
            name, arguments = pickle.loads(event)  # noqa: S301
            getattr(coordinator, name)(*arguments)
        # They were carried out, or else what they were meant for will show that they were not.
        coordinator.actions.clear()
        return coordinator

    def remove(self) -> None:
        """Delete the journal of a job that is over."""
        self._database.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
