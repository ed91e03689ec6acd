"""SQLite: a file, or a database in memory, which has only one connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa

from elasticdl_nb.sql.engines.alchemy import AlchemyConnection, AlchemyEngine
from elasticdl_nb.sql.engines.engine import Connection
from elasticdl_nb.sql.engines.relations import Column, Relation, RowKey, Table, key_of
from elasticdl_nb.sql.language.errors import SqlError


class SqliteEngine(AlchemyEngine):
    """SQLite."""

    dialect = "sqlite"
    double = "REAL"
    types: ClassVar = {"integer": "INTEGER", "float": "REAL", "boolean": "INTEGER", "text": "TEXT"}

    types_of_values = True
    begin = "BEGIN"

    def __init__(self, engine: sa.Engine, *, owned: bool, given: sa.Connection | None = None) -> None:
        super().__init__(engine, owned=owned, given=given)
        self.has_threads = owned  # others may have been opened for one thread only

    def connect(self) -> Connection:
        """Return another connection, or the only one of a database in memory."""
        if self._engine.url.database in (None, "", ":memory:"):
            return _Shared(self.main)
        return super().connect()

    def groups(self, query: str, functions: Collection[str]) -> bool:
        """Whether one of the functions is an aggregate, such as one that the user's program has added."""
        known = {
            name.lower() for (name,) in self.main.rows("SELECT name FROM pragma_function_list WHERE type IN ('a', 'w')")
        }
        return not known.isdisjoint(functions)

    # ------------------------------------------------------------ the catalogue

    def find(self, table: Table) -> Relation | None:
        """Return the table or view: a temporary one, one of the file, or one of an attached file, in this order."""
        schemas = [name for _, name, _ in self.main.rows("PRAGMA database_list")]
        schemas.sort(key=lambda name: (name != "temp", name != "main"))
        if len(table.parts) > 1:
            schemas = [name for name in schemas if name.lower() == table.parts[-2].lower()]
        elif "temp" not in schemas:
            schemas.insert(0, "temp")
        for schema in schemas:
            rows = self.main.rows(
                f"SELECT name, type, sql FROM {self.quote(schema)}.sqlite_master WHERE type IN ('table', 'view') AND "
                f"name = {self.string(table.parts[-1])} COLLATE NOCASE"
            )
            if rows:
                return self._relation(schema, *rows[0])
        return None

    def _relation(self, schema: str, name: str, kind: str, sql: str) -> Relation:
        if kind == "table" and sql.lstrip().upper().startswith("CREATE VIRTUAL"):
            kind = "virtual table"
        columns = [
            Column(row[1], row[2], is_generated=row[6] in (2, 3))
            for row in self.main.rows(f"PRAGMA {self.quote(schema)}.table_xinfo({self.quote(name)})")
            if row[6] != 1
        ]
        return Relation(Table((schema, name)), kind, tuple(columns), is_temporary=schema == "temp")

    def row_key(self, relation: Relation) -> RowKey | None:
        """Return a key without NULLs, or the row number."""
        schema, name = (self.quote(part) for part in relation.table.parts)
        facts = self.main.rows(f"PRAGMA {schema}.table_xinfo({name})")
        primary = [row[1] for row in sorted(facts, key=lambda row: row[5]) if row[5]]
        required = {row[1] for row in facts if row[3]}
        if len(primary) == 1 and any(row[5] and row[2].upper() == "INTEGER" for row in facts):
            required.add(primary[0])  # another name of the row number
        unique = []
        for _, index, is_unique, origin, partial in self.main.rows(f"PRAGMA {schema}.index_list({name})"):
            columns = [row[2] for row in self.main.rows(f"PRAGMA {schema}.index_info({self.quote(index)})")]
            if is_unique and not partial and origin != "pk" and None not in columns:
                unique.append(columns)
        key = key_of([primary], unique, required, self.field)
        if key is not None:
            return key
        names = {column.name.lower() for column in relation.columns}
        own = next((word for word in ("rowid", "_rowid_", "oid") if word not in names), None)
        if own is None:
            return None
        try:
            self.main.rows(f"SELECT {own} FROM {schema}.{name} LIMIT 0")
        except SqlError:
            # Without a row number, the columns of the primary key are never NULL.
            return key_of([primary], [], primary, self.field)
        return RowKey(("{0}." + own,), f"the row number ({own})")

    def has_triggers(self, relation: Relation) -> bool:
        """Whether the table has triggers, temporary ones included."""
        schema, name = relation.table.parts
        return any(
            self.main.rows(
                f"SELECT 1 FROM {self.quote(place)}.sqlite_master WHERE type = 'trigger' AND tbl_name = "
                f"{self.string(name)} COLLATE NOCASE"
            )
            for place in {schema, "temp"}
        )

    def same(self, left: str, right: str, kind: str) -> str:
        """Return the comparison of bytes, whatever the column's collation."""
        return f"{left} IS {right} COLLATE BINARY"

    def digest(self, columns: Sequence[Column]) -> str:
        """Return the values as literals: SQLite has no hashes."""
        return " || ',' || ".join(f"quote({self.field(column.name)})" for column in columns) or "''"

    def temporary(self, name: str, beside: Table | None = None) -> str:
        """Return the name in the session's own schema."""
        return f"temp.{self.quote(name)}"

    # ------------------------------------------------------------ the driver

    def cancel_on(self, driver: Any) -> None:
        """Interrupt what runs."""
        driver.interrupt()

    def has_transaction(self, driver: Any, connection: Connection) -> bool:
        """Whether a transaction is open."""
        return bool(driver.in_transaction)


class _Shared(AlchemyConnection):
    """The only connection to a database in memory, which stays open."""

    def __init__(self, main: AlchemyConnection) -> None:
        super().__init__(main._engine, main._connection)
