"""Changes tables in databases that cannot do so in a transaction: MySQL and MariaDB.

Anything new is created under a temporary name. The last step gives it its real name, and the server does that
completely or not at all. MariaDB runs all steps as one statement. It either completes them or undoes them, even if the
client dies. On MySQL, a client that is killed between the steps leaves a column or table `elasticdl_nb_…` behind.
"""

from __future__ import annotations

import contextlib
import secrets
import time

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
  SET @elasticdl_nb_changed = ROW_COUNT();
  IF @elasticdl_nb_changed <> {{rows}} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{_OTHER_ROWS}'; END IF;
  COMMIT;
  {{rename}};
END;
END"""


class OtherRowsError(Exception):
    """The UPDATE changes more or fewer rows than expected; the argument is how many."""


def add_column(
    engine: Engine, connection: Connection, table: Table, column: tuple[str, str], source: tuple[str, str, str],
    rows: int,
) -> None:  # fmt: skip
    """Add a column (name, type) and set its values in the given number of rows, or leave the table as it was and raise.

    `source` is what `Engine.update_from` takes: value, tables, condition. Raises OtherRowsError.
    """
    name, kind = column
    altered, aside = f"ALTER TABLE {engine.quoted(table.parts)}", engine.quote(PREFIX + secrets.token_hex(4))
    add = f"{altered} ADD COLUMN {aside} {kind}{' INVISIBLE' if engine.has_blocks else ''}"
    drop = f"{altered} DROP COLUMN {aside}"
    rename = f"{altered} CHANGE COLUMN {aside} {engine.quote(name)} {kind}"
    update = engine.update_from(table, aside, *source)
    ours = connection.rows("SELECT CONNECTION_ID()")[0][0]
    try:
        if engine.has_blocks:
            connection.run(_BLOCK.format(add=add, drop=drop, update=update, rows=rows, rename=rename))
            return
        connection.run(add)
        with connection.transaction():
            changed = connection.run(update)
            if changed != rows:
                raise OtherRowsError(changed)
        connection.run(rename)
    except BaseException as error:
        changed = None
        if isinstance(error, SqlError) and error.problem.endswith(_OTHER_ROWS):
            changed = int(connection.rows("SELECT @elasticdl_nb_changed")[0][0])
        _undo(engine, ours, drop)
        if changed is not None:
            raise OtherRowsError(changed) from None
        raise


def _undo(engine: Engine, conversation: int, drop: str) -> None:
    """End the connection that was adding a column, whichever step it is at, and remove what it has left behind."""
    with engine.connect() as connection:
        with contextlib.suppress(SqlError):  # it may have ended
            connection.run(f"KILL {conversation}")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        alive = f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {conversation}"
        while connection.rows(alive)[0][0] and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(SqlError):  # there may be nothing left
            connection.run(drop)


def exchange(engine: Engine, connection: Connection, table: Table, made_by: str, *, replaces: bool) -> None:
    """Create a table with `CREATE TABLE … {made_by}` under another name, and exchange the names in one step."""
    *schema, own = table.parts
    aside, former = (engine.quoted([*schema, f"{PREFIX}{word}_{own}"[:60]]) for word in ("new", "old"))
    wanted = engine.quoted(table.parts)
    connection.run(f"DROP TABLE IF EXISTS {aside}, {former}")
    try:
        connection.run(f"CREATE TABLE {aside} {made_by}")
        names = [f"{wanted} TO {former}"] if replaces else []
        connection.run(f"RENAME TABLE {', '.join([*names, f'{aside} TO {wanted}'])}")
    except BaseException:
        with engine.connect() as another:  # this one may have been cut off
            another.run(f"DROP TABLE IF EXISTS {aside}")
        raise
    connection.run(f"DROP TABLE IF EXISTS {former}")
