"""Data given as pandas, Arrow or Polars frames: written to Parquet, which the job then reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.tables.frames import as_table, check_names, is_frame

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ROWS_PER_GROUP", "is_frame", "write_frame", "write_stream"]

# Readers seek to row groups, and a task should not have to skip many rows of one.
ROWS_PER_GROUP = 65_536


def write_frame(frame: Any, path: str | os.PathLike[str], option: str) -> None:
    """Write the frame's columns to a Parquet file, in the frame's order of rows.

    A pandas index is left out unless it has a name. Only some batches of a `pyarrow.RecordBatchReader` are in memory at
    a time. Raises OptionError, which names `option` and the column, for a frame without rows or with values that no
    column type can hold.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(frame, pa.RecordBatchReader):
        check_names(frame.schema.names, option)
        rows = write_stream(frame, path)
    else:
        table = as_table(frame, option)
        rows = table.num_rows
        pq.write_table(table, path, row_group_size=ROWS_PER_GROUP)
    if not rows:
        raise OptionError(option, "the frame has no rows")


def write_stream(reader: pa.RecordBatchReader, path: str | os.PathLike[str]) -> int:
    """Write groups of rows as they arrive; return the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    total, waiting = 0, []
    with reader, pq.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            total += batch.num_rows
            waiting.append(batch)
            if sum(item.num_rows for item in waiting) >= ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(waiting), row_group_size=ROWS_PER_GROUP)
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=ROWS_PER_GROUP)
    return total
