"""Data given as pandas, Arrow or Polars frames: written to Parquet, which the job then reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from elasticdl_nb.runtime.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa

# Readers seek to row groups, and a task should not have to skip many rows of one.
ROWS_PER_GROUP = 65_536


def is_frame(value: object) -> bool:
    """Whether the value is a table of columns: a pandas or Polars frame, or Arrow data."""
    return hasattr(value, "__arrow_c_stream__") or _is_lazy(value)


def _is_lazy(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "polars" and hasattr(value, "collect")


def write_frame(frame: Any, path: str | os.PathLike[str], option: str) -> None:
    """Write the frame's columns to a Parquet file, in the frame's order of rows.

    A pandas index is left out unless it has a name. Only some batches of a `pyarrow.RecordBatchReader` are in memory at
    a time. Raises OptionError, which names `option` and the column, for a frame without rows or with values that no
    column type can hold.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(frame, pa.RecordBatchReader):
        rows = _write_stream(frame, path)
    else:
        table = _table(frame, option)
        rows = table.num_rows
        pq.write_table(table, path, row_group_size=ROWS_PER_GROUP)
    if not rows:
        raise OptionError(option, "the frame has no rows")


def _write_stream(reader: pa.RecordBatchReader, path: str | os.PathLike[str]) -> int:
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


def _table(frame: Any, option: str) -> pa.Table:
    import pyarrow as pa

    if _is_lazy(frame):
        frame = frame.collect()
    if type(frame).__module__.partition(".")[0] == "pandas":
        return _from_pandas(frame, option)
    # Polars' own conversion produces types that every Parquet reader knows.
    return frame.to_arrow() if hasattr(frame, "to_arrow") else pa.table(frame)


def _from_pandas(frame: Any, option: str) -> pa.Table:
    import pyarrow as pa

    if not hasattr(frame, "columns"):
        frame = frame.to_frame()
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise OptionError(option, f"the frame has several columns named {twice!r}")
    columns = []
    for place, name in enumerate(names):
        try:
            columns.append(pa.Array.from_pandas(frame.iloc[:, place]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise OptionError(
                option,
                f"column {name!r} of the frame has values of different types ({error}); convert it, for "
                f"example with frame[{name!r}].astype(str), or leave it out",
            ) from None
    return pa.table(columns, names=names)
