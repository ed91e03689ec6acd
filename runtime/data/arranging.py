"""Columns of records as arrays: so many records at a time, in the order of the data or in another.

Each value is copied once on its way, to where TensorFlow takes it over without another copy. Texts that repeat are
numbers until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elasticdl_nb.runtime.data import columntypes
from elasticdl_nb.runtime.data.chunks import Metadata

_ALIGNMENT = 64
"""Of memory that TensorFlow shares with NumPy; it copies what lies anywhere else."""
_REPEATED = 4
"""How often texts must come on average to be worth numbers."""

Order = Callable[[int], NDArray[Any]]
"""Returns the order of so many records."""


@dataclass(frozen=True)
class Texts:
    """Texts of some records, as bytes: `values` are those of the `codes`, or of the records if there are no codes."""

    values: NDArray[np.object_]
    codes: NDArray[np.int32] | None = None


def is_texts(metadata: Metadata, name: str) -> bool:
    """Whether a column has one text for each record; `arrange` returns values and codes of these."""
    return metadata.column_dtypes[name] == columntypes.STRING and not metadata.column_shapes.get(name)


def arrange(
    batches: Iterator[pa.RecordBatch], metadata: Metadata, at_once: int, wanted: frozenset[str] | None = None,
    order: Order | None = None, together: int = 0,
) -> Iterator[list[NDArray[Any]]]:  # fmt: skip
    """Yield arrays of `at_once` records each, but the last ones, column by column in the order of the names.

    A column of texts is two arrays: values as bytes [m], and each record's place among these as int32 [n], or int32
    [0] if there is a value for each record. All others are one, [n, …], in memory of their own. With `order`, every
    `together` records are put into another order. Columns that are not wanted need not be in `batches`; zeros and
    empty texts are in their place.
    """
    names = sorted(metadata.column_names)
    for window in windows(batches, together if order else at_once):
        count = sum(map(len, window))
        places = order(count) if order else None
        columns = {name: _column(window, metadata, name, at_once) for name in names if wanted is None or name in wanted}
        for start in range(0, count, at_once):
            size = min(at_once, count - start)
            part = None if places is None else places[start : start + size]
            arrays: list[NDArray[Any]] = []
            for name in names:
                arrays += _taken(columns[name], part) if name in columns else _nothing(metadata, name, size)
            yield arrays


def windows(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[list[pa.RecordBatch]]:
    """Cut batches so that those of each list have `size` records together, but for the last list."""
    kept: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + len(batch) >= size:
            kept.append(batch.slice(0, size - count))
            batch = batch.slice(size - count)
            yield kept
            kept, count = [], 0
        if len(batch):
            kept.append(batch)
            count += len(batch)
    if kept:
        yield kept


def with_codes(texts: pa.Array) -> pa.Array:
    """Return normalised texts as codes and a dictionary, where they repeat; others as they are."""
    head = texts.slice(0, 512)
    if len(head.unique()) * 2 > len(head):
        return texts
    coded = texts.dictionary_encode()
    return coded if len(coded.dictionary) * _REPEATED <= len(texts) else texts


# ------------------------------------------------------------------ a column


def _column(window: Sequence[pa.RecordBatch], metadata: Metadata, name: str, at_once: int) -> Texts | NDArray[Any]:
    arrays = [batch.column(name) for batch in window]
    if is_texts(metadata, name):
        return _texts(arrays, at_once // _REPEATED)
    return _joined([columntypes.to_numpy(array) for array in arrays])


def _texts(arrays: Sequence[pa.Array], most: int) -> Texts:
    """Texts with codes, if all arrays have them and there are at most so many values."""
    if all(map(_is_coded, arrays)) and sum(len(array.dictionary) for array in arrays) <= most:
        values = [columntypes.to_numpy(array.dictionary) for array in arrays]
        starts = np.cumsum([0, *map(len, values)])
        codes = [array.indices.to_numpy() + np.int32(start) for array, start in zip(arrays, starts, strict=False)]
        return Texts(_joined(values), _joined(codes))
    return Texts(_joined([
        columntypes.to_numpy(array.dictionary)[array.indices.to_numpy()] if _is_coded(array)
        else columntypes.to_numpy(array)
        for array in arrays
    ]))  # fmt: skip


def _is_coded(array: pa.Array) -> bool:
    return bool(pa.types.is_dictionary(array.type))


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _taken(column: Texts | NDArray[Any], places: NDArray[Any] | None) -> list[NDArray[Any]]:
    """The values at these places, or all, in new memory."""
    if not isinstance(column, Texts):
        return [_copied(column, places)]
    if column.codes is None:
        texts = np.array(column.values) if places is None else column.values[places]
        return [texts, np.empty(0, np.int32)]
    return [column.values, _copied(column.codes, places)]


def _copied(array: NDArray[Any], places: NDArray[Any] | None) -> NDArray[Any]:
    if array.dtype == object:
        return np.array(array) if places is None else array[places]
    count = len(array) if places is None else len(places)
    copy = _aligned((count, *array.shape[1:]), array.dtype)
    if places is None:
        copy[...] = array
    else:
        np.take(array, places, axis=0, out=copy, mode="clip")
    return copy


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _nothing(metadata: Metadata, name: str, count: int) -> list[NDArray[Any]]:
    if is_texts(metadata, name):
        return [np.array([b""], object), np.zeros(count, np.int32)]
    dtype = metadata.column_dtypes[name]
    shape = (count, *metadata.column_shapes.get(name, ()))
    if dtype == columntypes.STRING:
        return [np.full(shape, b"", object)]
    array = _aligned(shape, np.dtype(dtype))
    array.fill(0)
    return [array]
