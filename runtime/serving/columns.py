"""Columns of a table as clients send them, for models that were trained with a label: what is missing, and moments.

Models get of a column what `data.columntypes` makes of it. What JSON has no word for comes as text: dates, times of day
and durations, as ISO 8601 writes them. A number could be seconds or milliseconds.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elasticdl_nb.runtime.data.columntypes import Column, normalise, to_numpy
from elasticdl_nb.runtime.serving.problems import invalid

DTYPES = {
    "text": "string", "integer": "int64", "boolean": "bool", "float": "float64", "decimal": "float64",
    "date": "string", "timestamp": "string", "time": "string", "duration": "string",
}  # fmt: skip
"""What clients send for a column of each kind, in TensorFlow's names."""

WHOLE = ("integer", "boolean")
"""Kinds whose type has no word for a missing value: they come as float64 then."""

MOST_EXACT = 2.0**53
"""From here on a float64 may stand for several whole numbers."""

_DURATION = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(\.\d{1,9})?S)?)?")


def _timestamp(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _date(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    if moment.time() != datetime.time() or moment.tzinfo:
        raise ValueError(text)
    return moment.replace(tzinfo=datetime.UTC)


def _time(text: str) -> datetime.time:
    moment = datetime.time.fromisoformat(text)
    if moment.tzinfo:
        raise ValueError(text)
    return moment


def _duration(text: str) -> datetime.timedelta:
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise ValueError(text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:5])
    size = datetime.timedelta(days, seconds + float(found[6] or 0), hours=hours, minutes=minutes)
    return -size if found[1] else size


_READERS: dict[str, tuple[Callable[[str], Any], pa.DataType, str]] = {
    "date": (_date, pa.timestamp("us", "UTC"), "a date such as 2024-01-31"),
    "timestamp": (_timestamp, pa.timestamp("us", "UTC"), "a moment such as 2024-01-31T12:00:00, in UTC or with +01:00"),
    "time": (_time, pa.time64("us"), "a time of day such as 12:00:00, without a zone"),
    "duration": (_duration, pa.duration("us"), "a duration such as P1DT12H30M0.5S"),
}
MOMENTS = tuple(_READERS)


def wanted(kind: str) -> str:
    """Return what a value of these kinds must be, in words."""
    return _READERS[kind][2]


def numbers(name: str, kind: str, texts: NDArray[Any]) -> NDArray[Any]:
    """Return dates and the like, texts [n], as models get them: seconds, NaN where the text is empty.

    Raises Refused for a text that is none.
    """
    read, arrow, words = _READERS[kind]
    values: list[Any] = []
    for content in texts:
        try:
            text = content.decode()
            values.append(read(text) if text else None)
        except (ValueError, OverflowError):
            shown = repr(content.decode(errors="replace"))[:60]
            raise invalid(f"the input {name!r} must have {words}, not {shown}") from None
    try:
        return to_numpy(normalise(pa.array(values, arrow), Column(name, "float64")))
    except pa.ArrowInvalid:  # a duration of thousands of years, for example
        raise invalid(f"the input {name!r} has values outside of the range of a {kind}") from None


def check_whole(name: str, kind: str, values: NDArray[Any]) -> None:
    """Raise Refused unless a column of whole numbers or booleans that came as floats has such values, or NaN."""
    known = values[~np.isnan(values)]
    if kind == "boolean":
        right = bool(np.isin(known, (0.0, 1.0)).all())
    else:
        right = bool((np.isfinite(known) & (np.floor(known) == known)).all())
    if not right:
        raise invalid(f"the input {name!r} must have {'booleans' if kind == 'boolean' else 'whole numbers'}")


def with_missing(columns: dict[str, NDArray[Any]], kinds: dict[str, str]) -> dict[str, NDArray[Any]]:
    """Return the columns of whole numbers and booleans as float64 if one of them is; other columns stay.

    Raises Refused for numbers that this would change.
    """
    whole = [name for name, kind in kinds.items() if kind in WHOLE]
    if all(columns[name].dtype != np.float64 for name in whole):
        return columns
    floats = {name: columns[name].astype(np.float64) for name in whole}
    for name, values in floats.items():
        if (np.abs(values) >= MOST_EXACT).any():
            raise invalid(
                f"the input {name!r} has whole numbers from 2**53 on; send records in which numbers are missing apart"
            )
    return columns | floats
