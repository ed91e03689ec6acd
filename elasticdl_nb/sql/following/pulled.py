"""The files of rows that were pulled. Their names are all that is remembered of how far the database has been read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

_SUFFIX = ".parquet"


@dataclass(frozen=True)
class Pulled:
    """One file: its number, which orders them, and how many records it has.

    `read` is how many rows have been read since the very first, and `high` the highest watermark among them; `low` is
    the lowest of the file.
    """

    number: int = 0
    records: int = 0
    read: int = 0
    high: str = ""
    low: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        marks = ",".join(quote(mark, safe="") for mark in (self.low, self.high))
        return f"rows-{self.number:010d}-{self.records}-{self.read}-{marks}{_SUFFIX}"

    @classmethod
    def of(cls, name: str) -> Self | None:
        """Return what a file's name says; None for any other file."""
        parts = os.path.basename(name).removesuffix(_SUFFIX).split("-", 4)
        if len(parts) != 5 or parts[0] != "rows" or not all(part.isdecimal() for part in parts[1:4]):
            return None
        number, records, read = map(int, parts[1:4])
        low, _, high = map(unquote, parts[4].rpartition(","))  # older names have no `low`
        return cls(number, records, read, high, low)


def pulled_in(directory: Path) -> list[Pulled]:
    """Return the files of a directory, oldest first."""
    return sorted((one for path in os.listdir(directory) if (one := Pulled.of(path))), key=lambda one: one.number)


def last_of(paths: Iterable[str]) -> Pulled | None:
    """Return the last of these files; None if there is none among them."""
    return max((one for path in paths if (one := Pulled.of(path))), key=lambda one: one.number, default=None)
