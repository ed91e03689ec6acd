"""MySQL and MariaDB."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

from elasticdl_nb.sql.engines.alchemy import AlchemyEngine
from elasticdl_nb.sql.engines.engine import Connection
from elasticdl_nb.sql.engines.relations import Column, Relation, RowKey, Table, key_of
from elasticdl_nb.sql.language.errors import SqlError

# Flags of the server's status in the protocol.
_IN_TRANSACTION, _AUTOCOMMIT = 1, 2
_HALF_A_YEAR = 181 * 86_400


class MySqlEngine(AlchemyEngine):
    """MySQL and MariaDB."""

    dialect = "mysql"
    quotes = "`"
    double = "DOUBLE"
    text = "CHAR"
    types: ClassVar = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "text": "TEXT"}
    transactional_ddl = False
    writes_in_transaction = False
    begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT"

    @property
    def has_blocks(self) -> bool:  # type: ignore[override]
        """Only MariaDB has them."""
        return bool(getattr(self._engine.dialect, "is_mariadb", False))

    def _has_database(self) -> bool:
        """Whether there is a current database; without one, every table needs the name of its own."""
        return bool(self.main.rows("SELECT DATABASE()")[0][0])

    def tables(self) -> list[str]:
        """Return the tables and views of the current database or, without one, of all databases."""
        if self._has_database():
            return super().tables()
        found = self.main.rows(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN "
            "('information_schema', 'mysql', 'performance_schema', 'sys') ORDER BY 1, 2"
        )
        return [f"{schema}.{name}" for schema, name in found]

    def string(self, value: str) -> str:
        """Return a text as SQL; whether a backslash escapes depends on the session, so there must be none."""
        return f"_utf8mb4 X'{value.encode().hex()}'" if "\\" in value else super().string(value)

    def exact_text(self, expression: str) -> str:
        """Return the bytes in UTF-8: to MySQL, texts that differ in case or accents are equal."""
        return f"CAST(CONVERT({expression} USING utf8mb4) AS BINARY)"

    def finite(self, expression: str, kind: str) -> str:
        """Return the expression without moments such as 0000-00-00; there are no infinities."""
        if kind not in ("date", "timestamp"):
            return expression
        return f"CASE WHEN {self.seconds(expression, kind)} IS NOT NULL THEN {expression} END"

    def seconds(self, expression: str, kind: str) -> str:
        """Return a moment or a time in seconds."""
        if kind in ("date", "timestamp"):
            return f"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {expression}) / 1e6"
        return f"(TIME_TO_SEC({expression}) + MICROSECOND({expression}) / 1e6)"

    def watermark_problem(self, query: str, column: str) -> str:
        """Refuse a TIMESTAMP in a time zone in which an hour comes twice when summer ends."""
        if not self.main.is_zoned(f"SELECT {self.quote(column)} FROM (\n{query}\n) AS q"):
            return ""
        summer = "UNIX_TIMESTAMP('2026-07-01') - UNIX_TIMESTAMP('2026-01-01')"
        if int(self.rows(f"SELECT {summer}")[0][0]) == _HALF_A_YEAR:
            return ""
        return (
            f"{column!r} is a TIMESTAMP, and in the connection's time zone an hour comes twice when summer ends; use a "
            "DATETIME in UTC, or a URL whose connections are in UTC: ?init_command=SET time_zone='%2B00:00'"
        )

    def exact(self, expression: str, kind: str) -> str:
        """Return a text's bytes."""
        return self.exact_text(expression) if kind == "text" else expression

    def same(self, left: str, right: str, kind: str) -> str:
        """Return the comparison as MySQL writes it."""
        return f"{self.exact(left, kind)} <=> {self.exact(right, kind)}"

    def temporary(self, name: str, beside: Table | None = None) -> str:
        """Return the name in the database of the other table: the session may have none."""
        return self.quoted([*(beside.parts[:-1] if beside else ()), name])

    def dropping(self, temporary: str) -> str:
        """Return the statement; without TEMPORARY, it would commit an open transaction."""
        return f"DROP TEMPORARY TABLE IF EXISTS {temporary}"

    def digest(self, columns: Sequence[Column]) -> str:
        """Return a hash of the values' bytes."""
        values = []
        for column in columns:
            field = self.field(column.name)
            # The text of a FLOAT has too few digits.
            value = f"({field} + 0e0)" if column.type.lower().startswith("float") else field
            values.append(f"IFNULL(HEX(CAST({value} AS BINARY)), '-')")
        return f"MD5(CONCAT_WS(',', {', '.join(values)}))" if values else "''"

    def update_from(
        self, table: Table, column: str, value: str, source: str, condition: str, unchanged: Sequence[str] = ()
    ) -> str:
        """Return the UPDATE as MySQL writes it."""
        kept = "".join(f", t.{name} = t.{name}" for name in unchanged)
        joined = f"UPDATE {self.quoted(table.parts)} AS t JOIN {source} ON {condition}"
        return f"{joined} SET t.{column} = {value}{kept}"

    def groups(self, query: str, functions: Collection[str]) -> bool:
        """Whether the server, when it is strict, says so."""
        with self._mode("ONLY_FULL_GROUP_BY"):
            try:
                self.main.describe(query)
            except SqlError:
                return True
        return False

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Make values that do not fit errors: otherwise, they may be cut or clamped."""
        return self._mode("STRICT_ALL_TABLES")

    @contextlib.contextmanager
    def _mode(self, more: str) -> Iterator[None]:
        """Add a mode of SQL to the session's own."""
        mode = self.main.rows("SELECT @@sql_mode")[0][0]
        self.main.run(f"SET SESSION sql_mode = CONCAT(@@sql_mode, ',{more}')")
        try:
            yield
        finally:
            with contextlib.suppress(SqlError):  # a lost connection has lost this, too
                self.main.run(f"SET SESSION sql_mode = {self.string(mode)}")

    # ------------------------------------------------------------ the catalogue

    def find(self, table: Table) -> Relation | None:
        """Return the table or view of the session's database, or a temporary table that hides it."""
        database = table.parts[-2] if len(table.parts) > 1 else self.main.rows("SELECT DATABASE()")[0][0]
        if database is None:
            return None
        folds = int(self.main.rows("SELECT @@lower_case_table_names")[0][0]) != 0
        parts = tuple(part.lower() if folds else part for part in (database, table.parts[-1]))
        name = self.quoted(parts)
        try:
            shown = self.main.rows(f"SHOW CREATE TABLE {name}")[0]
        except SqlError as error:
            if "doesn't exist" in error.problem or "Unknown database" in error.problem:
                return None
            raise
        if not shown[1].startswith("CREATE T"):
            return Relation(Table(parts), "sequence" if shown[1].startswith("CREATE SEQ") else "view")
        columns = tuple(
            Column(row[0], row[1], "GENERATED" in row[5].upper(), "on update" in row[5].lower())
            for row in self.main.rows(f"SHOW COLUMNS FROM {name}")
        )
        storage = re.findall(r"\) ENGINE=(\w+)", shown[1])[-1:]
        why_not = "" if storage == ["InnoDB"] else f"its storage engine {''.join(storage)} has no transactions"
        is_temporary = shown[1].startswith("CREATE TEMPORARY")
        is_versioned = "WITH SYSTEM VERSIONING" in shown[1].upper()
        why_no_more = "it is system-versioned" if is_versioned else ""
        return Relation(
            Table(parts), "table", columns, is_temporary=is_temporary, why_not=why_not, why_no_more=why_no_more
        )

    def row_key(self, relation: Relation) -> RowKey | None:
        """Return a key without NULLs, or all columns."""
        keys: dict[str, list[tuple[int, str, bool]]] = {}
        for row in self.main.rows(f"SHOW INDEX FROM {self.quoted(relation.table.parts)}"):
            if not row[1]:
                keys.setdefault(row[2], []).append((row[3], row[4], row[9] == "YES"))
        whole = {name: [column for _, column, _ in sorted(parts)] for name, parts in keys.items()
                 if not any(column is None or may_be_null for _, column, may_be_null in parts)}  # fmt: skip
        key = key_of(
            [columns for name, columns in whole.items() if name == "PRIMARY"],
            [columns for name, columns in whole.items() if name != "PRIMARY"],
            {column for columns in whole.values() for column in columns},
            self.field,
        )
        return key or RowKey((), "the values of all other columns", is_copied=True)

    # ------------------------------------------------------------ the driver

    def cancel_on(self, driver: Any) -> None:
        """End the statement, from another connection."""
        with self._engine.connect() as another:
            another.exec_driver_sql(f"KILL QUERY {driver.thread_id()}")

    def has_transaction(self, driver: Any, connection: Connection) -> bool:
        """Whether a transaction is open, or would be with the next statement."""
        status = getattr(driver, "server_status", None)
        if status is not None:
            return bool(status & _IN_TRANSACTION) or not status & _AUTOCOMMIT
        return bool(connection.rows("SELECT @@in_transaction")[0][0])

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Check the privileges that the statements need: here, CREATE and ALTER cannot be tried and undone."""
        from elasticdl_nb.sql.engines import grants

        grants.check(connection, statements, self.label)
