"""PostgreSQL's COPY, through psycopg: rows leave and enter the server as text, on the connection of the session."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv

from elasticdl_nb.sql.engines import arrowtypes
from elasticdl_nb.sql.engines.engine import Fetch
from elasticdl_nb.sql.language.errors import SqlError

_PLACE = re.compile(r"column #(?P<column>\d+): Row #(?P<row>\d+): .*invalid value '(?P<value>.*)'", re.DOTALL)
_ACTIVE = 1  # a command has not come to its end


def start(
    driver: Any, query: str, schema: pa.Schema, batch_rows: int, stack: contextlib.ExitStack,
    do: Callable[[Callable[[], Any]], Any], quote: Callable[[str], str],
) -> Fetch:  # fmt: skip
    """Run the query; return what fetches its next batch of rows.

    `do` runs what has to wait for the server, and `stack` gets what must be closed. Raises SqlError for a value that
    its Arrow type cannot hold, with its place.
    """
    listed = ", ".join(_read(f"q.{quote(field.name)}", field.type) for field in schema)
    command = f"COPY (SELECT {listed} FROM (\n{query}\n) AS q) TO STDOUT (FORMAT csv, ENCODING 'UTF8')"
    style = driver.execute("SHOW DateStyle").fetchone()[0]
    if not style.startswith("ISO"):
        driver.execute("SET DateStyle = 'ISO'")
        stack.callback(lambda: driver.execute(f"SET DateStyle = '{style}'"))
    cursor = stack.enter_context(driver.cursor())
    copying = cursor.copy(command)
    copy = do(copying.__enter__)
    stack.callback(_leave, driver, copying)
    done = 0

    def some() -> tuple[bytes, int]:
        buffer, rows = io.BytesIO(), 0
        while rows < batch_rows and (data := copy.read()):
            buffer.write(data)
            rows += 1
        return buffer.getvalue(), rows

    def fetch() -> pa.RecordBatch | None:
        nonlocal done
        text, rows = do(some)
        if not rows:
            return None
        batch = _parse(text, schema, done)
        done += rows
        return batch

    return fetch


def _leave(driver: Any, copying: Any) -> None:
    """End the COPY; psycopg cancels one that was not read to its end only if there is an error."""
    unread = SqlError("not read to the end") if driver.info.transaction_status == _ACTIVE else None
    with contextlib.suppress(SqlError):
        copying.__exit__(type(unread) if unread else None, unread, None)


def _read(expression: str, kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return f"{expression} AT TIME ZONE 'UTC'"
    return f"encode({expression}, 'hex')" if pa.types.is_binary(kind) else expression


def _parse(text: bytes, schema: pa.Schema, before: int) -> pa.RecordBatch:
    names = [str(place) for place in range(len(schema))]
    try:
        table = csv.read_csv(
            io.BytesIO(text),
            read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=max(len(text), 1)),
            parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types={name: _parsed(field.type) for name, field in zip(names, schema, strict=True)},
                null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False, true_values=["t"],
                false_values=["f"],
            ),
        )  # fmt: skip
    except pa.ArrowException as error:
        raise _named(error, schema, before) from None
    columns = [_column(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _named(error: Exception, schema: pa.Schema, before: int) -> SqlError:
    """Return the error with the column's name, and the row's number in the whole result."""
    found = _PLACE.search(str(error))
    if found is None:
        return SqlError(f"PostgreSQL's rows cannot be read: {error}")
    field = schema.field(int(found["column"]))
    return SqlError(f"row {before + int(found['row']):,}, column {field.name!r}: {found['value']} is not a valid "
                    f"{field.type}; CAST it, or leave the row out")  # fmt: skip


def _parsed(kind: pa.DataType) -> pa.DataType:
    """The type that a column is parsed as."""
    if pa.types.is_binary(kind):
        return pa.string()
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else kind


def _column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_binary(kind):
        return pa.array([None if value is None else bytes.fromhex(value) for value in array.to_pylist()], kind)
    return array if array.type == kind else array.cast(kind)


def insert(driver: Any, table: str, reader: pa.RecordBatchReader) -> None:
    """Add rows to a table."""
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for batch in reader:
            for row in arrowtypes.to_rows(batch):
                copy.write_row(row)
