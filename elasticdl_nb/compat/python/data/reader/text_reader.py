"""`from elasticdl.python.data.reader.text_reader import TextDataReader`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .data_reader import AbstractDataReader

__all__ = ["TextDataReader"]


class TextDataReader(AbstractDataReader):
    """Reads the lines of a text file, each with its end of line; `records_per_task` is not needed here."""

    def __init__(self, filename: str, records_per_task: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._filename = filename

    def get_size(self) -> int:
        """Return the number of lines."""
        with open(self._filename, encoding="utf-8") as file:
            return sum(1 for _ in file)

    def create_shards(self) -> dict[str, tuple[int, int]]:
        """See the base class."""
        return {self._filename: (0, self.get_size())}

    def read_records(self, task: Any) -> Iterator[str]:
        """See the base class."""
        with open(self._filename, encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number >= task.end:
                    return
                if number >= task.start:
                    yield line
