"""The meaning of a trained model's outputs: numbers, or the classes that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.record.modelrecord import Label

Outputs = np.ndarray[Any, Any]
_ROWS_AT_ONCE = 65_536


def value_kind(label: Label | None) -> str:
    """Return the kind of value that a model with this label predicts: integer, float, boolean or text."""
    classes = _classes(label)
    if classes is None:
        return "float"
    if label is not None and label.kind == "boolean":
        return "boolean"
    if all(isinstance(value, int) for value in classes):
        return "integer"
    return "text" if all(isinstance(value, str) for value in classes) else "float"


def decoder(label: Label | None) -> Callable[[Outputs], Sequence[Any]]:
    """Return a function from outputs, [n] or [n, k], to values for a column: numbers, or the classes they stand for.

    If there are several outputs but no known classes, the prediction is the number of the greatest output.
    """
    classes = _classes(label)
    kind = value_kind(label)

    def decode(outputs: Outputs) -> Sequence[Any]:
        if classes is None:
            numbers = outputs if outputs.ndim == 1 else outputs.argmax(axis=-1)
            return list(numbers.astype(float))
        # WITH may have asked for more classes than the label had values.
        found = [classes[place] if place < len(classes) else None for place in chosen(outputs).tolist()]
        return [None if value is None else bool(value) for value in found] if kind == "boolean" else found

    return decode


def chosen(outputs: Outputs) -> Outputs:
    """Return the class number that each output, [n] or [n, k], stands for."""
    return (outputs > 0.5).astype(int) if outputs.ndim == 1 else outputs.argmax(axis=-1)


def _classes(label: Label | None) -> tuple[Any, ...] | None:
    """Return the values that a prediction may have; None if it is a number."""
    return None if label is None or label.task == "probability" else label.classes


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
