"""MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from elasticdl_nb.sql.engines.alchemy import AlchemyEngine
from elasticdl_nb.sql.engines.engine import Connection, Table


class MySqlEngine(AlchemyEngine):
    """MySQL and MariaDB."""

    dialect = "mysql"
    quotes = "`"
    double = "DOUBLE"
    text = "CHAR"
    types: ClassVar = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "text": "TEXT"}
    transactional_ddl = False

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

    def kind_of(self, table: Table) -> str:
        """Return "table", "view" or nothing."""
        if len(table.parts) < 2 and not self._has_database():
            return ""
        return super().kind_of(table)

    def connect_for(self, table: Table) -> Connection:
        """Return another connection, on which temporary tables can be made: they need a database, too."""
        connection = self.connect()
        if len(table.parts) > 1 and not connection.rows("SELECT DATABASE()")[0][0]:
            connection.run(f"USE {self.quote(table.parts[-2])}")
        return connection

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

    def update_from(self, table: Table, column: str, value: str, source: str, condition: str) -> str:
        """Return the UPDATE as MySQL writes it."""
        return f"UPDATE {self.quoted(table.parts)} AS t JOIN {source} ON {condition} SET t.{column} = {value}"

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Check the privileges that the statements need: here, CREATE and ALTER cannot be tried and undone."""
        from elasticdl_nb.sql.engines import grants

        grants.check(connection, statements, self.label)
