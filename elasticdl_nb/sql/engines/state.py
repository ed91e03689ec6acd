"""What a connection has been told to remember: settings, temporary tables and an open transaction."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from elasticdl_nb.sql.language.errors import SqlError

_STATEFUL = re.compile(
    r"\s*(SET|USE|RESET|ATTACH|DETACH|PREPARE|DECLARE|LOAD|PRAGMA|LOCK"
    r"|CREATE\s+(OR\s+REPLACE\s+)?((LOCAL|GLOBAL)\s+)?TEMP(ORARY)?)\b|.*\b(SET_CONFIG\s*\(|INTO\s+TEMP)",
    re.IGNORECASE | re.DOTALL,
)
_OF_TRANSACTION = re.compile(r"\s*SET\s+(LOCAL|TRANSACTION)\b", re.IGNORECASE)
_READS = re.compile(r"[\s(]*(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|DESCRIBE|DESC)\b", re.IGNORECASE)
_SHOWN = 60


@dataclass
class SessionState:
    """What would be lost with a connection: the statements that set something up, and a transaction."""

    made: list[str] = field(default_factory=list)
    in_transaction: bool = False

    def ran(self, statement: str, *, in_transaction: bool) -> None:
        """Note a statement of the user that has run, and whether a transaction is open after it."""
        self.in_transaction = in_transaction
        if _STATEFUL.match(statement) and not _OF_TRANSACTION.match(statement):
            self.made.append(" ".join(statement.split())[:_SHOWN])

    def lost(self, label: str, statement: str) -> str:
        """Return what to say before this statement runs on a new connection; empty if nothing was lost.

        Raises SqlError if the statement relies on what was lost: always, unless it only reads and no transaction was
        open. Either way, what was lost is forgotten.
        """
        made, was_open = self.made, self.in_transaction
        self.made, self.in_transaction = [], False
        if was_open:
            raise SqlError(f"the connection to {label} was lost, and the open transaction with it; nothing of it was "
                           "kept. There is a new connection: begin again")  # fmt: skip
        if not made:
            return ""
        text = f"the connection to {label} was lost, and with it what these statements had set up: {'; '.join(made)}"
        if _READS.match(statement):
            return f"{text}. There is a new connection"
        raise SqlError(f"{text}. There is a new connection: run them again, and then this statement")
