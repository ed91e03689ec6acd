"""SQLite: a file, or a database in memory, which has only one connection."""

from __future__ import annotations

import contextlib
from typing import ClassVar

from elasticdl_nb.sql.engines.alchemy import AlchemyConnection, AlchemyEngine
from elasticdl_nb.sql.engines.engine import Connection, RowKey, Table
from elasticdl_nb.sql.language.errors import SqlError


class SqliteEngine(AlchemyEngine):
    """SQLite."""

    dialect = "sqlite"
    double = "REAL"
    types: ClassVar = {"integer": "INTEGER", "float": "REAL", "boolean": "INTEGER", "text": "TEXT"}

    def row_key(self, table: Table) -> RowKey | None:
        """Return the row number, or the primary key if the table has no row numbers."""
        try:
            self.main.rows(f"SELECT rowid FROM {self.quoted(table.parts)} LIMIT 0")
        except SqlError:
            return super().row_key(table)
        return RowKey(("{}.rowid",))

    def reading(self, query: str) -> contextlib.AbstractContextManager[Connection]:
        """Return the only connection of a database in memory, or another one to a file."""
        return contextlib.nullcontext(self.main) if self._in_memory else self.connect()

    def connect(self) -> Connection:
        """Return another connection."""
        if self._in_memory and "main" in self.__dict__:
            return _Shared(self.main)
        return super().connect()

    @property
    def _in_memory(self) -> bool:
        return self._engine.url.database in (None, "", ":memory:")


class _Shared(AlchemyConnection):
    """The only connection to a database in memory, which stays open."""

    def __init__(self, main: Connection) -> None:
        assert isinstance(main, AlchemyConnection)
        super().__init__(main._engine, main._connection)

    def close(self) -> None:
        """Leave it open."""
