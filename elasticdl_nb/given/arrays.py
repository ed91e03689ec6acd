"""Data given as `fit` takes it: arrays, or a dataset of batches.

A record is what `fit` calls x, y and sample_weight, each an array or arrays in lists, tuples and dicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elasticdl_nb.given.datakinds import CURES, is_dataset, is_sequence, sparse_kind
from elasticdl_nb.runtime.data.columntypes import STRING, Column
from elasticdl_nb.runtime.errors import DataError, OptionError
from elasticdl_nb.runtime.spec import ARRAY_INPUT, JobKind, JobSpec
from elasticdl_nb.tables.arrayrecord import (
    FILE,
    ArrayColumn,
    ArrayRecord,
    leaves,
    named,
    read_record,
)
from elasticdl_nb.tables.frames import as_table, is_frame

BYTES_PER_BATCH = 2**25
"""Readers load a batch of the file at a time."""


class Arrays:
    """The records of one option: their record, and their values batch by batch."""

    def __init__(self, value: Any, option: str, kind: JobKind) -> None:
        self._option, self._kind = option, kind
        self._batches = self._of_dataset(value) if is_dataset(value) or is_sequence(value) else None
        first = next(self._batches, None) if self._batches is not None else self._parts(value)
        if first is None:
            raise OptionError(option, "the dataset has no records")
        self._first = self._flat(first)
        self.rows = self._rows(self._first)
        parts = dict(zip(("x", "y", "w"), first, strict=True))
        columns = tuple(_described(name, array, option) for name, array in self._first.items())
        self.record = ArrayRecord(columns, *(named(part, name) for name, part in parts.items()))

    @property
    def batch_size(self) -> int:
        """How many records the dataset has in a batch, 0 for arrays."""
        return 0 if self._batches is None else self.rows

    @property
    def schema(self) -> pa.Schema:
        """The names and types of the columns."""
        kinds = {one.name: Column(one.name, one.dtype, one.shape).arrow_type for one in self.record.columns}
        return pa.schema([*kinds.items()])

    @property
    def rows_per_batch(self) -> int:
        """How many records a batch of the file has."""
        return max(1, BYTES_PER_BATCH // sum(_bytes(array) for array in self._first.values()))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the records; a dataset is read to its end. Raises OptionError for records that differ in shape."""
        yield from self._cut(self._first)
        for parts in self._batches or ():
            yield from self._cut(self._flat(parts))

    def _cut(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[pa.RecordBatch]:
        rows, schema, size = self._rows(arrays), self.schema, self.rows_per_batch
        for column in self.record.columns:
            found = _described(column.name, arrays[column.name], self._option) if column.name in arrays else "nothing"
            if found != column:
                raise OptionError(self._option, f"has {column} in its first batch, but {found} in another")
        for start in range(0, rows, size):
            columns = [
                _column(arrays[field.name][start : start + size], field.type, f"{self._option}: {field.name}")
                for field in schema
            ]
            yield pa.record_batch(columns, schema=schema)

    # -------------------------------------------------------------- what was given

    def _parts(self, value: Any) -> tuple[Any, Any, Any]:
        """Return x, y and sample_weight of a value, as `fit` takes a tuple apart."""
        parts = value if isinstance(value, tuple) else (value,)
        if self._kind == "predict" and len(parts) > 1:
            raise OptionError(
                self._option, "give x alone: an array, or a list or dict of them for several inputs, not a tuple"
            )
        if len(parts) > 3:
            raise OptionError(self._option, f"a tuple of {len(parts)}: give (x, y) or (x, y, sample_weight)")
        x, y, w = (*parts, None, None)[:3]
        if x is None:
            raise OptionError(self._option, "x is None: give (x, y)")
        return x, y, w

    def _flat(self, parts: tuple[Any, Any, Any]) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of their columns."""
        found: dict[str, NDArray[Any]] = {}
        for role, part in zip(("x", "y", "w"), parts, strict=True):
            for name, array in zip(leaves(named(part, role)), leaves(part), strict=True):
                found[name] = _as_numpy(array, name, self._option)
                if found[name].ndim == 0:
                    cure = "not an array of records" if self._batches is None else "not a batch; add .batch(32)"
                    raise OptionError(self._option, f"{name} is the single value {found[name]}, {cure}")
        return found

    def _rows(self, arrays: Mapping[str, NDArray[Any]]) -> int:
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
            raise OptionError(self._option, f"arrays of different lengths: {listed}")
        rows = next(iter(lengths.values()))
        if not rows:
            raise OptionError(self._option, "the arrays have no records")
        return rows

    def _of_dataset(self, dataset: Any) -> Iterator[tuple[Any, Any, Any]]:
        if is_dataset(dataset) and int(dataset.cardinality()) == -1:
            raise OptionError(self._option, "the dataset has no end: leave out its repeat()")
        if is_sequence(dataset) and dataset.num_batches is None:
            raise OptionError(self._option, "the dataset does not say how many batches it has")
        elements = iter(dataset) if is_dataset(dataset) else (dataset[place] for place in range(dataset.num_batches))
        for element in elements:
            if self._kind == "predict" and isinstance(element, tuple):
                element = element[0]  # as `predict` does
            yield self._parts(element)


# ------------------------------------------------------------------ one array


def _as_numpy(value: Any, name: str, option: str) -> NDArray[Any]:
    kind = type(value).__name__
    if kind in CURES:
        raise OptionError(option, f"{name} {CURES[kind]}")
    if sparse_kind(value):
        raise OptionError(option, f"{name} is a sparse {kind}; make it dense with .toarray()")
    if np.ma.is_masked(value):
        raise OptionError(option, f"{name} is a masked array; say what its masked values are, with .filled(…)")
    if is_frame(value):
        value = _of_frame(value, name, option)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # as of a tensor of PyTorch that requires a gradient
        raise OptionError(option, f"{name} cannot become a NumPy array: {error}") from None
    if array.dtype.kind == "O":
        if not all(isinstance(item, (str, bytes)) for item in array.ravel()):
            raise OptionError(
                option, f"{name} has Python objects; convert it, for example with .astype('float32') or .astype(str)"
            )
        return array
    if array.dtype.kind in "US" or type(array.dtype).__name__ == "StringDType":
        return array.astype(object)
    if array.dtype.kind not in "biuf" or array.dtype.name not in _DTYPES:
        raise OptionError(option, f"{name} has values of type {array.dtype}; convert it, for example to float32")
    return array


_DTYPES = frozenset(
    ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]
)


def _of_frame(frame: Any, name: str, option: str) -> Any:
    """Return a frame of numbers as an array, as `fit` does."""
    if hasattr(frame, "to_numpy"):
        array = np.asarray(frame.to_numpy())
    else:
        array = np.column_stack([column.to_numpy(zero_copy_only=False) for column in _columns(frame, option)])
    if array.dtype.kind == "O":
        try:
            array = array.astype("float64")
        except (TypeError, ValueError):
            if array.ndim > 1 or not all(isinstance(item, (str, bytes)) for item in array):
                raise OptionError(
                    option,
                    f"{name} is a frame with columns that are no numbers; give the frame with its label as data, and "
                    "name that with label: see docs/frames.md",
                ) from None
    return array


def _columns(frame: Any, option: str) -> list[pa.Array]:
    return [column.combine_chunks() for column in as_table(frame, option).columns]


def _described(name: str, array: NDArray[Any], option: str) -> ArrayColumn:
    if 0 in array.shape[1:]:
        raise OptionError(option, f"{name} has no values: its shape is {array.shape}")
    return ArrayColumn(name, STRING if array.dtype.kind == "O" else array.dtype.name, array.shape[1:])


def _bytes(array: NDArray[Any]) -> int:
    """About how many bytes a record of it takes."""
    return max(1, array.nbytes // len(array)) * (4 if array.dtype.kind == "O" else 1)


def _column(array: NDArray[Any], kind: pa.DataType, what: str) -> pa.Array:
    shape, values = array.shape[1:], array.reshape(-1)
    if values.dtype.kind == "O":
        try:
            made = pa.array([item.decode() if isinstance(item, bytes) else item for item in values], pa.string())
        except UnicodeError as error:
            raise DataError(f"{what} has bytes that are no text: {error}") from None
    else:
        made = pa.array(np.ascontiguousarray(values))
    for length in reversed(shape):
        made = pa.FixedSizeListArray.from_arrays(made, length)
    return made.cast(kind) if made.type != kind else made


# ------------------------------------------------------------------ the model


def check_trained(record: ArrayRecord | None, spec: JobSpec) -> None:
    """Raise OptionError if a trained model does not take what it is given: arrays in this form, or None for others."""
    from elasticdl_nb.runtime.model.saving.trained import read_trained_model

    _, definition = read_trained_model(spec.trained_model)
    if record is None:
        if definition.overridden(spec).input_fn == ARRAY_INPUT:
            raise OptionError("data", "the model was trained on arrays; give arrays, for example frame.to_numpy()")
        return
    if definition.input_fn != ARRAY_INPUT:
        raise OptionError("data", "the model was not trained on arrays; give files or a frame, as in its training")
    check_same_form(record, read_record(Path(definition.zoo, FILE).read_bytes()), "data", labels=spec.kind != "predict")


def check_same_form(record: ArrayRecord, trained: ArrayRecord, option: str, *, labels: bool = True) -> None:
    """Raise OptionError if arrays are not nested as those of the training, or have values of another kind."""
    for part, wanted, words in (
        (record.features, trained.features, "x"),
        (record.labels, trained.labels if labels else record.labels, "y"),
    ):
        if part is None and wanted is not None:
            raise OptionError(option, f"has no {words}; give (x, y)")
        mine, theirs = {one.name: one for one in record.of(part)}, {one.name: one for one in trained.of(wanted)}
        if part != wanted:
            listed = ["; ".join(map(str, those.values())) or "nothing" for those in (mine, theirs)]
            raise OptionError(option, f"{words} is {listed[0]}, but in training it was {listed[1]}")
        for name, one in mine.items():
            other = theirs.get(name, one)
            if (one.dtype == STRING) != (other.dtype == STRING) or len(one.shape) != len(other.shape):
                raise OptionError(option, f"has {one}, but in training there was {other}")
