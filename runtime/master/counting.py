"""Counting the records of a job's data, and finding the files that appear in it later."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from elasticdl_nb.runtime.data.discovery import Discovery
from elasticdl_nb.runtime.data.following import Appeared, FollowingReader, appeared_in
from elasticdl_nb.runtime.data.reader import FileRecords, expanded, open_reader
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.master.decisions.events import DataCounted, Failed
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage import usedfiles
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.pauses import pause_after

if TYPE_CHECKING:
    from elasticdl_nb.runtime.data.topics.growth import TopicDiscovery
    from elasticdl_nb.runtime.data.topics.reader import TopicReader


def count_data(folder: JobFolder) -> DataCounted | Failed:
    """Count the records of all files, which may take a long time; return the result as an event."""
    try:
        if not folder.spec().follow:
            return DataCounted(_count(folder, "data"), _count(folder, "validation_data"))
        reader = _following(folder)
        assert reader.metadata is not None  # written down before any file can be deleted
        if not isinstance(reader, FollowingReader):
            from elasticdl_nb.runtime.data.topics.identity import Identity

            with contextlib.closing(Identity(reader.topic)) as identity:
                left = usedfiles.give_of_topic(folder, reader.topic.url, reader.known.offsets, identity.check)
            return DataCounted(tuple(left), _count(folder, "validation_data"))
        return DataCounted(tuple(usedfiles.give(folder, reader.files())), _count(folder, "validation_data"))
    except (ElasticDLError, OSError) as error:
        return Failed(pb.Failure(message=str(error)))


def discovery_of(folder: JobFolder, reached: Mapping[str, int] = MappingProxyType({})) -> Discovery | TopicDiscovery:
    """Return what looks for what is new in the data that a job follows; raises DataError and OptionError.

    Of a topic, `reached` are the offsets up to which its partitions are known to the job.
    """
    spec, reader = folder.spec(), _following(folder)
    if not isinstance(reader, FollowingReader):
        from elasticdl_nb.runtime.data.topics.growth import TopicDiscovery

        earlier = usedfiles.before(folder).offsets
        each = spec.minibatch_size * spec.num_minibatches_per_task
        return TopicDiscovery(reader, reached, earlier, each, usedfiles.reached_in(folder))
    known = {**reader.listing, **usedfiles.before(folder).files}  # the older stamps, so that changes since are told
    appeared = Appeared(appeared_in(folder.listings, "data"))
    expand = partial(expanded, params=spec.data_reader_params)
    return Discovery(reader, spec.data, expand, known, appeared, pause_after)


def _following(folder: JobFolder) -> FollowingReader | TopicReader:
    spec = folder.spec()
    reader: Any = open_reader(spec.data, spec.data_reader_params, "data", folder.listings, follow=True)
    return reader  # type: ignore[no-any-return]


def _count(folder: JobFolder, option: str) -> tuple[FileRecords, ...]:
    spec = folder.spec()
    paths: tuple[str, ...] = getattr(spec, option)
    return tuple(open_reader(paths, spec.data_reader_params, option, folder.listings).files()) if paths else ()
