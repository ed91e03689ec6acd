"""Parts of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.worker.batches import batch_size


def slices(batches: Iterator[Any], skip: int, share: Callable[[int], int]) -> Iterator[Any]:
    """Yield the records of batches after the first `skip`, at most `share(records of the batch)` at a time."""
    for batch in batches:
        records = batch_size(batch)
        start = min(skip, records)
        skip -= start
        while start < records:
            stop = min(records, start + share(records))
            yield (batch if (start, stop) == (0, records) else rows_of(batch, start, stop))
            start = stop


def rows_of(batch: Any, start: int, stop: int) -> Any:
    """Return records [start, stop) of a batch."""
    return tf.nest.map_structure(lambda values: _rows(values, start, stop), batch)


def _rows(values: Any, start: int, stop: int) -> Any:
    if isinstance(values, tf.SparseTensor):
        rest = values.dense_shape[1:]
        return tf.sparse.slice(
            values, tf.concat([[start], tf.zeros_like(rest)], 0), tf.concat([[stop - start], rest], 0)
        )
    return values[start:stop]
