"""A job's data as its workers read it: files, or whatever the model's custom_data_reader reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime.data.reader import Reader, open_reader
from elasticdl_nb.runtime.data.topics.names import any_topic
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec


class JobData:
    """The readers of a job's data options, each opened once; `tell` takes level and text of messages for users."""

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, listings: Path, tell: Callable[[str, str], None] | None = None
    ) -> None:
        self._spec, self._loaded, self._listings, self._tell = spec, loaded, listings, tell
        self._readers: dict[str, Reader] = {}
        self._is_custom = loaded.has_custom_data_reader

    def reader(self, option: str) -> Reader:
        """Return the reader of "data" or "validation_data"."""
        if option not in self._readers:
            self._readers[option] = self._open(option)
        return self._readers[option]

    def _open(self, option: str) -> Reader:
        spec = self._spec
        paths: tuple[str, ...] = getattr(spec, option)
        if not self._is_custom:
            follow = spec.follow and option == "data"
            reader: Any = open_reader(paths, spec.data_reader_params, option, self._listings, follow=follow)
            if any_topic(paths) and self._tell:
                reader.tell = self._tell
            return reader  # type: ignore[no-any-return]
        records_per_task = spec.minibatch_size * spec.num_minibatches_per_task
        return self._loaded.open_custom_data(paths, spec.data_reader_params, records_per_task)

    def account(self, task: pb.Task) -> dict[str, Any]:
        """Return what became of the records of a topic in a task of training that is done, as fields of TaskDone."""
        if self._is_custom or not any_topic(self._spec.data):
            return {}
        reader: Any = self.reader("data")
        found = asdict(reader.account([(span.path, span.start, span.end) for span in task.ranges]))
        return {**found, "last": found["last"] and pb.LastRecord(**found["last"])}

    def counted(self) -> pb.DataCounted | None:
        """Return what the model's custom_data_reader says there is to read; None if the model has no such reader."""
        if not self._is_custom:
            return None
        return pb.DataCounted(data=self._shards("data"), validation=self._shards("validation_data"))

    def _shards(self, option: str) -> list[pb.Shard]:
        if not getattr(self._spec, option):
            return []
        return [
            pb.Shard(path=file.path, start=file.start, records=file.records) for file in self.reader(option).files()
        ]
