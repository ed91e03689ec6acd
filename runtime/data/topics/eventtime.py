"""When the event of a record took place, and whether the record came late.

Both depend on nothing but the record itself, so that a range of offsets that is read again has the same late records.
"""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elasticdl_nb.runtime.data.columntypes import Column
from elasticdl_nb.runtime.data.topics.address import UNITS
from elasticdl_nb.runtime.errors import DataError

NEVER = np.iinfo(np.int64).min
"""Where a value says no time."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999


def check_column(column: Column, *, is_bool: bool, where: str) -> None:
    """Raise DataError for a field that cannot hold times."""
    if column.shape or is_bool:
        what = "lists" if column.shape else "booleans"
        raise DataError(f"{where}: event_time={column.name}: the field holds {what}, not times")


def times(values: pa.Array, unit: str) -> NDArray[np.int64]:
    """Return milliseconds since 1970, rounded down, for numbers in this unit or texts in ISO 8601 that name a zone."""
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        return np.array([_of_text(value) for value in values.to_pylist()], np.int64)
    numbers = values.to_numpy(zero_copy_only=False)
    if np.issubdtype(numbers.dtype, np.integer):
        scaled = numbers.astype(np.int64)
        known = np.abs(scaled.astype(np.float64)) < 2.0**62 / 1000
        scaled = np.where(known, scaled, 0)
        scaled = scaled // 1000 if unit == "us" else scaled * int(UNITS[unit])
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            floating = np.floor(numbers.astype(np.float64) * UNITS[unit])
            known = np.abs(floating) < 2.0**62
        scaled = np.where(known, floating, 0).astype(np.int64)
    found: NDArray[np.int64] = np.where(known & (scaled >= _FIRST) & (scaled <= _LAST), scaled, NEVER)
    return found


def _of_text(value: str | bytes | None) -> int:
    try:
        text = value.decode() if isinstance(value, bytes) else value or ""
        moment = datetime.datetime.fromisoformat(text)
        return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)
    except (ValueError, TypeError, OverflowError):  # no text of this form, no zone, or a time before the year 1
        return NEVER


def why_late(event: int, came: int) -> str:
    """Say why a record is late; its event, and when Kafka got it, in milliseconds since 1970."""
    return f"it came late: {(came - event) / 1000:,.0f} seconds after its event, of {text_of(event)}"


def text_of(milliseconds: int) -> str:
    """Return a moment in words."""
    try:
        moment = _EPOCH + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return f"{milliseconds} ms since 1970"
    return moment.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
