"""`from elasticdl.python.data.reader.recordio_reader import RecordIODataReader`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elasticdl_nb import data

from .data_reader import AbstractDataReader

__all__ = ["RecordIODataReader"]


class RecordIODataReader(AbstractDataReader):
    """Reads the RecordIO files of a directory, whatever their names; a file, a pattern or a list does as well."""

    def __init__(self, data_dir: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._reader = data.open_reader(data_dir, {"format": "recordio"})

    def create_shards(self) -> dict[str, tuple[int, int]]:
        """See the base class."""
        return {file.path: (0, file.records) for file in self._reader.files()}

    def read_records(self, task: Any) -> Iterator[bytes]:
        """See the base class."""
        for chunk in self._reader.read(task.shard_name, task.start, task.end):
            assert isinstance(chunk, data.Records)
            yield from chunk.to_list()
