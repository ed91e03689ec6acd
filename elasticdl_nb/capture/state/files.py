"""Which kind of file an object goes into: the plainest form that restores it exactly."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

from elasticdl_nb.capture.state import writing
from elasticdl_nb.capture.state.code import CodeWriter

MOST_DEEP = 50


def suffix_for(value: Any) -> str:
    """Return .npy, .json, .parquet or .pkl."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and type(value) is numpy.ndarray and value.dtype.kind in "biufcSUMm" and value.dtype.isnative:
        return ".npy" if value.flags.writeable else ".pkl"
    if type(value) in (list, dict) and _is_json(value, set(), 0):
        return ".json"
    if pandas is not None and type(value) is pandas.DataFrame and _is_simple_frame(value, pandas):
        return ".parquet"
    return ".pkl"


def write_file(
    value: Any, suffix: str, file: BinaryIO, code: CodeWriter, surveys: Iterable[writing.Survey], plan: Any = None
) -> None:
    """Write an object to a file with that suffix; raises CannotTravel."""
    if suffix == ".npy":
        sys.modules["numpy"].save(file, value, allow_pickle=False)
    elif suffix == ".json":
        file.write(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    elif suffix == ".parquet":
        value.to_parquet(file)
    else:
        writing.write(value, file, code, surveys, plan)


def _is_json(value: Any, seen: set[int], depth: int) -> bool:
    """Whether JSON restores the value exactly: plain types only, and no object in two places."""
    kind = type(value)
    if kind in (str, int, bool, type(None)):
        return kind is not str or value.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if kind is float:
        return value == value and value not in (float("inf"), float("-inf"))
    if kind not in (list, dict) or depth > MOST_DEEP or id(value) in seen:
        return False
    seen.add(id(value))
    if kind is dict:
        return all(type(key) is str and _is_json(item, seen, depth + 1) for key, item in value.items())
    return all(_is_json(item, seen, depth + 1) for item in value)


def _is_simple_frame(frame: Any, pandas: Any) -> bool:
    index = frame.index
    if type(index) is not pandas.RangeIndex or (index.start, index.step, index.name) != (0, 1, None) or frame.attrs:
        return False
    names = list(frame.columns)
    if not all(type(name) is str for name in names) or len(set(names)) < len(names) or frame.columns.name is not None:
        return False
    return all(dtype.kind in "biuf" and type(dtype).__module__.startswith("numpy") for dtype in frame.dtypes)
