"""PostgreSQL."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from elasticdl_nb.sql.engines import postgrescopy
from elasticdl_nb.sql.engines.alchemy import AlchemyEngine
from elasticdl_nb.sql.engines.engine import Connection, Fetch
from elasticdl_nb.sql.engines.relations import Column, Relation, RowKey, Table, key_of
from elasticdl_nb.sql.language.errors import SqlError

_RELATION = """
SELECT n.nspname, c.relname, c.relkind, c.relpersistence = 't'
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass({})"""
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attgenerated <> '' OR attidentity = 'a'
FROM pg_attribute WHERE attrelid = to_regclass({}) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_UNIQUE = """
SELECT i.indexrelid, i.indisprimary, a.attname
FROM pg_index AS i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (number, place)
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = to_regclass({0}) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
AND NOT EXISTS (SELECT 1 FROM pg_attribute AS o WHERE o.attrelid = i.indrelid AND o.attnum = ANY (i.indkey)
                AND NOT o.attnotnull)
AND NOT EXISTS (SELECT 1 FROM pg_inherits JOIN pg_class AS p ON p.oid = inhparent
                WHERE inhparent = i.indrelid AND p.relkind <> 'p')
ORDER BY NOT i.indisprimary, i.indexrelid, k.place"""
_TRIGGERS = """
WITH RECURSIVE own (oid) AS (
    SELECT CAST(to_regclass({}) AS oid) UNION SELECT inhrelid FROM pg_inherits JOIN own ON inhparent = own.oid)
SELECT EXISTS (SELECT 1 FROM pg_trigger JOIN own ON tgrelid = own.oid WHERE NOT tgisinternal AND tgenabled <> 'D')
    OR EXISTS (SELECT 1 FROM pg_rewrite JOIN own ON ev_class = own.oid)"""
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}
_COPY = re.compile(r"\s*COPY\b.*\b(FROM\s+STDIN|TO\s+STDOUT)\b", re.IGNORECASE | re.DOTALL)
# libpq's PGTransactionStatusType
_ACTIVE, _IN_TRANSACTION, _FAILED = 1, 2, 3


class PostgresEngine(AlchemyEngine):
    """PostgreSQL."""

    dialect = "postgres"
    quoted_is_exact = True
    cursors_need_transaction = True
    errors_abort = True

    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"

    def fold(self, name: str) -> str:
        """Return the name in lower case."""
        return name.lower()

    def find(self, table: Table) -> Relation | None:
        """Return what the server finds in the session's search path, temporary tables first."""
        name = self.quoted(self.folded(table).parts)
        rows = self.main.rows(_RELATION.format(self.string(name)))
        if not rows:
            return None
        schema, own, kind, temporary = rows[0]
        columns = tuple(
            Column(column, declared, is_generated=generated)
            for column, declared, generated in self.main.rows(_COLUMNS.format(self.string(name)))
        )
        found = Table((schema, own))
        return Relation(found, _KINDS.get(kind, "not a table"), columns, is_temporary=temporary)

    def row_key(self, relation: Relation) -> RowKey | None:
        """Return a key without NULLs, or the row's place. Keys of inherited tables do not count for their children."""
        name = self.string(self.quoted(relation.table.parts))
        keys: dict[tuple[str, bool], list[str]] = {}
        for index, primary, column in self.main.rows(_UNIQUE.format(name)):
            keys.setdefault((index, primary), []).append(column)
        key = key_of(
            [columns for (_, primary), columns in keys.items() if primary],
            [columns for (_, primary), columns in keys.items() if not primary],
            {column for columns in keys.values() for column in columns},
            self.field,
        )
        what = "the row's partition and place (tableoid, ctid)"
        return key or RowKey(("CAST({0}.tableoid AS BIGINT)", "{0}.ctid"), what, stays=False)

    def has_triggers(self, relation: Relation) -> bool:
        """Whether the table or one that inherits from it has triggers, or rules for updates."""
        name = self.string(self.quoted(relation.table.parts))
        return bool(self.main.rows(_TRIGGERS.format(name))[0][0])

    def exact(self, expression: str, kind: str) -> str:
        """Return the text: some types cannot be compared, and equal values of others differ in their texts."""
        return f"CAST({expression} AS TEXT)"

    def digest(self, columns: Sequence[Column]) -> str:
        """Return a hash of the row's text."""
        return f"md5(CAST(ROW({', '.join(self.field(column.name) for column in columns)}) AS TEXT))"

    def temporary(self, name: str, beside: Table | None = None) -> str:
        """Return the name in the session's own schema."""
        return f"pg_temp.{self.quote(name)}"

    # ------------------------------------------------------------ the driver

    def check_statement(self, statement: str) -> None:
        """Refuse a COPY from or to the client: a session has no other end for its rows."""
        if _COPY.match(statement):
            raise SqlError("COPY from STDIN or to STDOUT needs a client such as psql; use SELECT to read rows, or "
                           "INSERT to add them")  # fmt: skip

    def _status(self, driver: Any) -> int:
        return int(driver.info.transaction_status)

    def has_transaction(self, driver: Any, connection: Connection) -> bool:
        """Whether a transaction is open, also one that has failed."""
        return self._status(driver) in (_IN_TRANSACTION, _FAILED)

    def is_aborted(self, driver: Any) -> bool:
        """Whether the open transaction has failed."""
        return self._status(driver) == _FAILED

    def is_busy(self, driver: Any) -> bool:
        """Whether a COPY or another command has not come to its end."""
        return self._status(driver) == _ACTIVE

    def start_copy(
        self, driver: Any, query: str, schema: pa.Schema, batch_rows: int, stack: contextlib.ExitStack,
        do: Callable[[Callable[[], Any]], Any],
    ) -> Fetch | None:  # fmt: skip
        """Read with COPY, which is several times as fast as a cursor, but has no lists."""
        if not hasattr(driver, "pgconn") or any(pa.types.is_list(field.type) for field in schema):
            return None
        return postgrescopy.start(driver, query, schema, batch_rows, stack, do, self.quote)

    # ------------------------------------------------------------ expressions

    def string(self, value: str) -> str:
        """Return a text as SQL; whether a backslash escapes depends on the session, unless there is an E."""
        text = super().string(value)
        return "E" + text.replace("\\", "\\\\") if "\\" in value else text

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

    def check(self, connection: Connection, statements: Sequence[str]) -> None:
        """Try the statements, without waiting long for others that use the table."""
        with connection.transaction(keep=False):
            connection.run("SET LOCAL lock_timeout = '5s'")
            for statement in statements:
                connection.run(statement)
