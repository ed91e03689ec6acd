"""Reads from its grants what a MySQL or MariaDB account may do: there, CREATE cannot be tried and undone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from elasticdl_nb.sql.engines.engine import Connection
from elasticdl_nb.sql.language.errors import SqlError

_NAME = r"`(?:``|[^`])+`"
_GRANT = re.compile(rf"GRANT (?P<what>.+?) ON (?:TABLE )?(?P<database>{_NAME}|\*)\.(?P<table>{_NAME}|\*) TO ")
_STATEMENT = re.compile(
    rf"(?P<verb>CREATE TABLE|ALTER TABLE|UPDATE|DROP TABLE)\s+(?:IF EXISTS\s+)?(?P<name>{_NAME}(?:\.{_NAME})?)"
)


def check(connection: Connection, statements: Sequence[str], label: str) -> None:
    """Raise SqlError if the account lacks the privilege for one of these statements on its table."""
    current = connection.rows("SELECT DATABASE()")[0][0] or ""
    lines = [str(row[0]) for row in connection.rows("SHOW GRANTS")]
    if any(" ON " not in line for line in lines):
        return  # a role, whose privileges are not listed: the statement itself will show what is allowed
    granted = [match for line in lines if (match := _GRANT.match(line))]
    for statement in statements:
        found = _STATEMENT.match(statement)
        if found is None:
            continue
        first, dot, second = found["name"].partition("`.`")
        database, table = (first.strip("`"), second.strip("`")) if dot else (current, first.strip("`"))
        privilege = found["verb"].removesuffix(" TABLE")
        if not any(_allows(grant, privilege, database, table) for grant in granted):
            raise SqlError(f"{label}: this account may not {privilege} {database}.{table}")


def _allows(grant: re.Match[str], privilege: str, database: str, table: str) -> bool:
    names = {part.strip().upper() for part in grant["what"].split(",")}
    if not names & {privilege, "ALL PRIVILEGES", "ALL"}:
        return False
    pattern = grant["database"].strip("`")
    # In grants, % and _ stand for other characters.
    like = re.escape(pattern).replace("%", ".*").replace(r"\_", "_").replace("_", ".")
    in_database = pattern == "*" or re.fullmatch(like, database) is not None
    return in_database and grant["table"].strip("`") in ("*", table)
