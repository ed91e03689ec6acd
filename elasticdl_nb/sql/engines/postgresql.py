"""PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from elasticdl_nb.sql.engines.alchemy import AlchemyEngine
from elasticdl_nb.sql.engines.engine import BATCH_ROWS, Connection, RowKey, Table


class PostgresEngine(AlchemyEngine):
    """PostgreSQL."""

    dialect = "postgres"

    def string(self, value: str) -> str:
        """Return a text as SQL; whether a backslash escapes depends on the session, unless there is an E."""
        text = super().string(value)
        return "E" + text.replace("\\", "\\\\") if "\\" in value else text

    def row_key(self, table: Table) -> RowKey | None:
        """Return the row's place and version, so that a change in the meantime is noticed."""
        return RowKey(("{}.ctid", "CAST({}.xmin AS TEXT)"))

    def as_double(self, expression: str, kind: str) -> str:
        """Return a number as a double; a boolean must become an integer first."""
        return super().as_double(f"CAST({expression} AS INTEGER)" if kind == "boolean" else expression, kind)

    def pulled(self, expression: str, kind: str) -> str:
        """Return everything but numbers and moments as text: enumerations, UUIDs and others have no Arrow type."""
        return f"CAST({expression} AS TEXT)" if kind == "text" else super().pulled(expression, kind)

    def seconds(self, expression: str, kind: str) -> str:
        """Return a moment or a time in seconds."""
        return f"CAST(EXTRACT(EPOCH FROM {expression}) AS DOUBLE PRECISION)"

    def listing(self, expression: str) -> str:
        """Return an array's numbers, with nothing for NULL."""
        return f"array_to_string({expression}, ',', '')"

    def finite(self, expression: str, kind: str) -> str:
        """Return the expression without infinities and NaN."""
        if kind in ("date", "timestamp"):
            return f"CASE WHEN isfinite({expression}) THEN {expression} END"
        if kind not in ("float", "decimal"):
            return expression
        return f"CASE WHEN {expression} NOT IN ('NaN', 'Infinity', '-Infinity') THEN {expression} END"

    def stream(self, query: str, batch_rows: int = BATCH_ROWS) -> pa.RecordBatchReader:
        """Return the rows through ADBC if it is installed, which is several times faster."""
        from elasticdl_nb.sql.engines import adbc

        if adbc.is_installed():
            return adbc.stream(self.url, self.label, query)
        return super().stream(query, batch_rows)

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Try the statements, without waiting long for others that use the table."""
        with connection.transaction(keep=False):
            connection.run("SET LOCAL lock_timeout = '5s'")
            for statement in statements:
                connection.run(statement)
