"""Counting the records of a job's data, and finding the files that appear in it later."""

from __future__ import annotations

from functools import partial

from elasticdl_nb.runtime.data.discovery import Discovery
from elasticdl_nb.runtime.data.following import Appeared, FollowingReader, appeared_in
from elasticdl_nb.runtime.data.reader import FileRecords, expanded, open_reader
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master.decisions.events import DataCounted, Failed
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage import usedfiles
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.pauses import pause_after


def count_data(folder: JobFolder) -> DataCounted | Failed:
    """Count the records of all files, which may take a long time; return the result as an event."""
    try:
        if not folder.spec().follow:
            return DataCounted(_count(folder, "data"), _count(folder, "validation_data"))
        reader = _following(folder)
        assert reader.metadata is not None  # written down before any file can be deleted
        return DataCounted(tuple(usedfiles.give(folder, reader.files())), _count(folder, "validation_data"))
    except (ElasticDLError, OSError) as error:
        return Failed(pb.Failure(message=str(error)))


def discovery_of(folder: JobFolder) -> Discovery:
    """Return what looks for new files in the data that a job follows; raises DataError and OptionError."""
    spec, reader = folder.spec(), _following(folder)
    known = {**reader.listing, **usedfiles.before(folder).files}  # the older stamps, so that changes since are told
    appeared = Appeared(appeared_in(folder.listings, "data"))
    expand = partial(expanded, params=spec.data_reader_params)
    return Discovery(reader, spec.data, expand, known, appeared, pause_after)


def _following(folder: JobFolder) -> FollowingReader:
    spec = folder.spec()
    reader = open_reader(spec.data, spec.data_reader_params, "data", folder.listings, follow=True)
    assert isinstance(reader, FollowingReader)
    return reader


def _count(folder: JobFolder, option: str) -> tuple[FileRecords, ...]:
    spec = folder.spec()
    paths: tuple[str, ...] = getattr(spec, option)
    return tuple(open_reader(paths, spec.data_reader_params, option, folder.listings).files()) if paths else ()
