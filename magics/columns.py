"""The columns of the data that a cell names, for completion."""

from __future__ import annotations

import contextlib
import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DATA = re.compile(r"--data(?:=|\s+)(\S+)")


def columns_of(written: str, namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of the columns of `--data` in a magic's options; empty if it is no frame and no readable file.

    Names that cannot be written without quotes are left out.
    """
    found = _DATA.search(written)
    if found is None:
        return []
    names = _of_frame(namespace.get(found[1][1:])) if found[1].startswith("$") else _of_file(found[1])
    return [name for name in names if name and not re.search(r"[\s,'\"]", name)]


def _of_frame(value: object) -> list[str]:
    if isinstance(value, Mapping):
        names: Any = value
    else:
        names = getattr(value, "column_names", None) or getattr(value, "columns", None)
    return [str(name) for name in names] if names is not None else []


def _of_file(name: str) -> list[str]:
    path = Path(os.path.expanduser(name))
    with contextlib.suppress(OSError, ValueError, ImportError):
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                return next(csv.reader(file), [])
    return []
