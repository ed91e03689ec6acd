"""Converting Arrow's types to the few that models see.

======================================  ===================================================================
in the file                             what a model gets
======================================  ===================================================================
integers, floats                        the same dtype; floats: missing values are NaN
integers with missing values            float64, NaN where missing
bool; with missing values               bool; float64 (1, 0, NaN)
strings, binary, dictionaries of them   string; missing values are ""
decimals                                float64
dates, timestamps                       int64, whole seconds since 1970 UTC (float64 if values are missing)
times, durations                        float64, seconds
lists, all of one length k              the inner dtype, [k] per record (lists of lists: [k, m])
======================================  ===================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError

STRING = "string"
types = pa.types


@dataclass(frozen=True)
class Column:
    """A column as models see it: `dtype` is NumPy's name or "string", `shape` is the shape of one value."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    @cached_property
    def arrow_type(self) -> pa.DataType:
        """Type of the arrays that `normalise` returns; text may come as binary."""
        kind = pa.string() if self.dtype == STRING else pa.from_numpy_dtype(np.dtype(self.dtype))
        for length in reversed(self.shape):
            kind = pa.list_(kind, length)
        return kind


# ------------------------------------------------------------------ types


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are strings or bytes."""
    return _is_binary(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_binary(kind: pa.DataType) -> bool:
    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def dtype_of(kind: pa.DataType, nulls: bool) -> str:
    """Return the dtype that models get for an Arrow type; raise TypeError if it is not supported."""
    if types.is_dictionary(kind):
        return dtype_of(kind.value_type, nulls)
    if is_list(kind):
        return dtype_of(kind.value_type, nulls=False)
    if is_text(kind):
        return STRING
    if types.is_floating(kind):
        return str(np.dtype(kind.to_pandas_dtype()).name)
    if types.is_decimal(kind) or types.is_time(kind) or types.is_duration(kind) or types.is_null(kind):
        return "float64"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "float64" if nulls else "int64"
    if types.is_integer(kind) or types.is_boolean(kind):
        return "float64" if nulls else np.dtype(kind.to_pandas_dtype()).name
    raise TypeError(f"a model cannot take values of type {kind}")


def common_dtype(first: str, second: str) -> str:
    """Return the dtype that holds values of both; raise TypeError if one is text and the other is not."""
    if first == second:
        return first
    if STRING in (first, second):
        raise TypeError(f"text in one file and {first if second == STRING else second} in another")
    return str(np.promote_types(first, second).name)


def list_shape(kind: pa.DataType, value: Any) -> tuple[int, ...]:
    """Return the shape of a column's lists, from its type and, where that leaves it open, from one value."""
    shape: tuple[int, ...] = ()
    while is_list(kind):
        length = kind.list_size if types.is_fixed_size_list(kind) else len(value or ())
        value = value[0] if value else None
        shape = (*shape, length)
        kind = kind.value_type
    return shape


# ------------------------------------------------------------------ values


def normalise(array: pa.Array, column: Column) -> pa.Array:
    """Return the array with the column's type and without missing values; raise DataError if a list does not fit."""
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if column.shape:
        return _normalise_lists(array, column)
    if column.dtype == STRING:
        target = pa.binary() if _is_binary(array.type) else pa.string()
        array = array.cast(target) if array.type != target else array
        return array.fill_null("" if target == pa.string() else b"") if array.null_count else array
    if array.type == column.arrow_type and not array.null_count:
        return array
    array = _as_number(array).cast(column.arrow_type, safe=False)
    if array.null_count == 0:
        return array
    if not np.issubdtype(np.dtype(column.dtype), np.floating):
        raise DataError(f"column {column.name!r} has missing values that the file's statistics do not show")
    return array.fill_null(pa.scalar(float("nan"), column.arrow_type))


def _normalise_lists(array: pa.Array, column: Column) -> pa.Array:
    lengths = pc.list_value_length(array) if is_list(array.type) else pa.nulls(len(array))
    wrong = pc.fill_null(pc.not_equal(lengths.cast(pa.int64()), column.shape[0]), True)
    if (row := pc.index(wrong, True).as_py()) >= 0:
        length = lengths[row].as_py()
        what = "no list" if length is None else f"a list of {length} values"
        raise DataError(
            f"column {column.name!r} has {what} where the first record has {column.shape[0]}; all lists in a column "
            "must have the same length"
        )
    values = array.flatten()
    if values.null_count and column.dtype != STRING and not column.dtype.startswith("float"):
        raise DataError(f"column {column.name!r} has lists with missing values, of a type that has no NaN")
    inner = normalise(values, Column(column.name, column.dtype, column.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(inner, column.shape[0])


def _as_number(array: pa.Array) -> pa.Array:
    kind = array.type
    if types.is_boolean(kind) and array.null_count:
        return array.cast(pa.int8())
    if types.is_timestamp(kind) or types.is_date(kind):
        return array.cast(pa.timestamp("s", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
    if types.is_time(kind) or types.is_duration(kind):
        ticks = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        return pc.divide(array.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(pa.float64()), ticks)
    return array


def to_numpy(array: pa.Array) -> NDArray[Any]:
    """Return a normalised array as NumPy, [n] or [n, …]; text as an object array of bytes."""
    shape = [len(array)]
    while types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    if is_text(array.type):
        array = array.cast(pa.binary())
    return np.asarray(array.to_numpy(zero_copy_only=False)).reshape(shape)
