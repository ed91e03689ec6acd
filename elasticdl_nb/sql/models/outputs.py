"""A trained model's outputs, as its jobs write them; `record.meaning` says what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elasticdl_nb.sql.language.errors import SqlError

Outputs = np.ndarray[Any, Any]
_ROWS_AT_ONCE = 65_536


def read_outputs(path: str) -> Iterator[Outputs]:
    """Yield the outputs that a prediction job wrote, [n] or [n, k], some rows at a time, in the order of the rows.

    Raises SqlError for an output that is NaN or infinite.
    """
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if len(names) > 1:
        raise SqlError(f"the model has several outputs ({', '.join(names)}); SQL needs a model with one")
    done = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE):
        column = batch.column(0)
        outputs = _as_array(column)
        if outputs.dtype.kind == "f" and not np.isfinite(outputs).all():
            odd = ~np.isfinite(outputs.reshape(len(column), -1)).all(axis=1)
            raise SqlError(
                f"the model's output is NaN or infinite for row {done + int(odd.argmax()) + 1:,} of the query, so "
                "nothing was written; look for values in it that are far from those of the training"
            )
        done += len(column)
        yield outputs


def _as_array(column: pa.Array) -> Outputs:
    several = pa.types.is_fixed_size_list(column.type)
    outputs: Outputs = (column.flatten() if several else column).to_numpy(zero_copy_only=False)
    return outputs.reshape(len(column), -1) if several else outputs
