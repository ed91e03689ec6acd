"""Counting the records of a job's data."""

from __future__ import annotations

from elasticdl_nb.runtime.data.reader import FileRecords, open_reader
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master.decisions.events import DataCounted, Failed
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


def count_data(folder: JobFolder) -> DataCounted | Failed:
    """Count the records of all files, which may take a long time; return the result as an event."""
    try:
        return DataCounted(_count(folder, "data"), _count(folder, "validation_data"))
    except (ElasticDLError, OSError) as error:
        return Failed(pb.Failure(message=str(error)))


def _count(folder: JobFolder, option: str) -> tuple[FileRecords, ...]:
    spec = folder.spec()
    paths: tuple[str, ...] = getattr(spec, option)
    return tuple(open_reader(paths, spec.data_reader_params, option, folder.listings).files()) if paths else ()
