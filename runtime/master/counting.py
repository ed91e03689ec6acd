"""Counting the records of a job's data."""

from __future__ import annotations

from elasticdl_nb.runtime.data.reader import FileRecords, open_reader
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master.decisions.events import DataCounted, Failed
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec


def count_data(spec: JobSpec) -> DataCounted | Failed:
    """Count the records of all files, which may take a long time; return the result as an event."""
    try:
        return DataCounted(_count(spec, "data", spec.data), _count(spec, "validation_data", spec.validation_data))
    except (ElasticDLError, OSError) as error:
        return Failed(pb.Failure(message=str(error)))


def _count(spec: JobSpec, option: str, paths: tuple[str, ...]) -> tuple[FileRecords, ...]:
    return tuple(open_reader(paths, spec.data_reader_params, option).files()) if paths else ()
