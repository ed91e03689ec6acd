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

    def string(self, value: str) -> str:
        """Return a text as SQL; whether a backslash escapes depends on the session, so there must be none."""
        return f"_utf8mb4 X'{value.encode().hex()}'" if "\\" in value else super().string(value)

    def exact_text(self, expression: str) -> str:
        """Return the bytes in UTF-8: to MySQL, texts that differ in case or accents are equal."""
        return f"CAST(CONVERT({expression} USING utf8mb4) AS BINARY)"

    def update_from(self, table: Table, column: str, value: str, source: str, condition: str) -> str:
        """Return the UPDATE as MySQL writes it."""
        return f"UPDATE {self.quoted(table.parts)} AS t JOIN {source} ON {condition} SET t.{column} = {value}"

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Check the privileges that the statements need: here, CREATE and ALTER cannot be tried and undone."""
        from elasticdl_nb.sql.engines import grants

        grants.check(connection, statements, self.label)
