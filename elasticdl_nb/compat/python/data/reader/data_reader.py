"""`from elasticdl.python.data.reader.data_reader import AbstractDataReader`: what a `custom_data_reader` may return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Metadata:
    """What a reader knows of its records: the names of their columns, and maybe a type for each."""

    def __init__(self, column_names: Sequence[str] | None, column_dtypes: Mapping[str, Any] | None = None) -> None:
        self.column_names = column_names
        self.column_dtypes = column_dtypes


class AbstractDataReader(ABC):
    """The base that readers written for ElasticDL have; any class with its methods serves as well."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: B027
        """Take whatever parameters; a reader looks at its own."""

    @abstractmethod
    def read_records(self, task: Any) -> Iterator[Any]:
        """Yield records [`task.start`, `task.end`) of the shard `task.shard_name`: text, bytes, or lists of these."""

    @abstractmethod
    def create_shards(self) -> Mapping[str, tuple[int, int]] | Sequence[tuple[str, int, int]]:
        """Return what there is to read: {name: (start, count)}, or a list of (name, start, end)."""

    @property
    def records_output_types(self) -> Any:
        """The type of a record: text."""
        return str

    @property
    def metadata(self) -> Metadata:
        """What is known of the records: nothing."""
        return Metadata(None)
