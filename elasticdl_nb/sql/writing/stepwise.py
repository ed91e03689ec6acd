"""Changes tables in databases that cannot do so in a transaction: MySQL and MariaDB.

Anything new is created under a temporary name. The last step gives it its real name, and the server does that
completely or not at all. MariaDB runs all steps as one statement. It either completes them or undoes them, even if the
client dies. On MySQL, a client that is killed between the steps leaves a column or table `elasticdl_nb_…` behind.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable

from elasticdl_nb.sql.engines import Connection, Engine, Table
from elasticdl_nb.sql.language.errors import SqlError

PREFIX = "elasticdl_nb_"
_PATIENCE_SECONDS = 600.0
_OTHER_ROWS = "elasticdl_nb: other rows"
_BLOCK = f"""BEGIN NOT ATOMIC
{{add}};
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; {{drop}}; RESIGNAL; END;
  START TRANSACTION;
  {{update}};
  SET @elasticdl_nb_changed = ({{right}});
  IF @elasticdl_nb_changed <> {{rows}} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{_OTHER_ROWS}'; END IF;
  COMMIT;
  {{rename}};
END;
END"""


class OtherRowsError(Exception):
    """The UPDATE changes more or fewer rows than expected; the argument is how many."""


def add_column(
    engine: Engine, connection: Connection, table: Table, column: tuple[str, str], update: Callable[[str], str],
    right: Callable[[str], str], rows: int,
) -> None:  # fmt: skip
    """Add a column (name, type) and set its values in the given number of rows, or leave the table as it was and raise.

    For the column's quoted name, `update` is the statement that sets the values, and `right` the query that counts how
    many are as they should be. Raises OtherRowsError if these are not as many as `rows`.
    """
    name, kind = column
    altered, aside = f"ALTER TABLE {engine.quoted(table.parts)}", engine.quote(PREFIX + secrets.token_hex(4))
    add = f"{altered} ADD COLUMN {aside} {kind}{' INVISIBLE' if engine.has_blocks else ''}"
    drop = f"{altered} DROP COLUMN {aside}"
    rename = f"{altered} CHANGE COLUMN {aside} {engine.quote(name)} {kind}"
    ours = connection.rows("SELECT CONNECTION_ID()")[0][0]
    try:
        if engine.has_blocks:
            parts = {"add": add, "drop": drop, "update": update(aside), "right": right(aside), "rename": rename}
            connection.run(_BLOCK.format(**parts, rows=rows))
            return
        connection.run(add)
        with connection.transaction():
            connection.run(update(aside))
            changed = int(connection.rows(right(aside))[0][0])
            if changed != rows:
                raise OtherRowsError(changed)
        connection.run(rename)
    except BaseException as error:
        found = None
        if isinstance(error, SqlError) and error.problem.endswith(_OTHER_ROWS):
            found = int(connection.rows("SELECT @elasticdl_nb_changed")[0][0])
        _undo(engine, connection, ours, drop)
        if found is not None:
            raise OtherRowsError(found) from None
        raise


def check_count(connection: Connection, table: str, rows: int) -> None:
    """Raise SqlError if a table (a quoted name) does not have this number of rows."""
    found = int(connection.rows(f"SELECT COUNT(*) FROM {table}")[0][0])
    if found != rows:
        raise SqlError(f"{rows:,} rows were predicted, but {found:,} would be written. Nothing was changed")


def _undo(engine: Engine, connection: Connection, conversation: int, drop: str) -> None:
    """Remove what adding a column has left behind, as soon as the server has ended what was running."""
    try:
        still = connection.rows("SELECT CONNECTION_ID()")[0][0] == conversation
    except SqlError:
        still = False
    if still:  # it has ended, and the connection is as it was
        with contextlib.suppress(SqlError):  # there may be nothing left
            connection.run(drop)
        return
    _undo_elsewhere(engine, conversation, drop)


def _undo_elsewhere(engine: Engine, conversation: int, drop: str) -> None:
    """End a connection that is lost, whichever step it is at, and remove what it has left behind."""
    with engine.connect() as connection:
        with contextlib.suppress(SqlError):  # it may have ended
            connection.run(f"KILL {conversation}")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        alive = f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {conversation}"
        while connection.rows(alive)[0][0] and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(SqlError):  # there may be nothing left
            connection.run(drop)


def exchange(engine: Engine, connection: Connection, table: Table, made_by: str, rows: int, *, replaces: bool) -> None:
    """Create a table with `CREATE TABLE … {made_by}` under another name, and exchange the names in one step.

    Raises SqlError, and changes nothing, if it does not have the given number of rows.
    """
    *schema, own = table.parts
    aside, former = (engine.quoted([*schema, f"{PREFIX}{word}_{own}"[:60]]) for word in ("new", "old"))
    wanted = engine.quoted(table.parts)
    connection.run(f"DROP TABLE IF EXISTS {aside}, {former}")
    try:
        connection.run(f"CREATE TABLE {aside} {made_by}")
        check_count(connection, aside, rows)
        names = [f"{wanted} TO {former}"] if replaces else []
        connection.run(f"RENAME TABLE {', '.join([*names, f'{aside} TO {wanted}'])}")
    except BaseException:
        with engine.connect() as another:  # this one may have been cut off
            another.run(f"DROP TABLE IF EXISTS {aside}")
        raise
    connection.run(f"DROP TABLE IF EXISTS {former}")
