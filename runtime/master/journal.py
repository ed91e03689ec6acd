"""What the master must know when it is started again: everything that has happened, told to a new coordinator.

An SQLite file in the job's folder. An event counts from the moment it is in the file, and what follows from it is done
only then. From time to time the events so far are replaced by the state they have led to.
"""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime.master.coordinator import Coordinator

EVENTS_KEPT = 5000
"""Events after which they are replaced by the state they have led to."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, event BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), coordinator BLOB NOT NULL);
"""


class Journal:
    """The journal of one job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Written to the file at once, to the disk when the system likes: it is to survive the process, not the machine.
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)
        self._events = self._database.execute("SELECT COUNT(*) FROM events").fetchone()[0]

    def append(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Add an event: the name of a coordinator's method and what it was called with."""
        self._database.execute("INSERT INTO events (event) VALUES (?)", [pickle.dumps((name, arguments))])
        self._events += 1

    def keep_short(self, coordinator: Coordinator) -> None:
        """Replace the events by this state, which they have led to, if there are very many."""
        if self._events >= EVENTS_KEPT:
            self.replace(coordinator)

    def replace(self, coordinator: Coordinator) -> None:
        """Replace the events by this state, which they have led to."""
        state = pickle.dumps(coordinator)
        self._database.execute("BEGIN")
        self._database.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", [state])
        self._database.execute("DELETE FROM events")
        self._database.execute("COMMIT")
        self._events = 0

    def recover(self) -> Coordinator | None:
        """Return a coordinator that knows all that is in the journal; None if there is nothing."""
        kept = self._database.execute("SELECT coordinator FROM state").fetchone()
        if kept is None:
            return None
        # The folder is its owner's alone; nobody else could have written this.
        coordinator: Coordinator = pickle.loads(kept[0])  # noqa: S301
        for (event,) in self._database.execute("SELECT event FROM events ORDER BY number"):
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
