"""Events as journal entries, and back. What is read here is only data: none of it names anything to call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb


def to_entry(event: events.Event, now: float, date: float) -> journal.Entry:
    """Return an event and its time as an entry; raise ValueError if no message can hold its content."""
    entry = journal.Entry(now=now, date=date)
    match event:
        case events.Said(key, message):  # the bulk of all events: built in the fastest way
            said = entry.said
            process = said.process
            process.role, process.index, process.incarnation = key
            said.message.MergeFrom(message)
        case events.Ticked():
            entry.ticked.SetInParent()
        case events.Greeted(hello):
            entry.greeted.CopyFrom(journal.Greeted(hello=hello))
        case events.Started(initial, problem):
            entry.started.CopyFrom(journal.Started(initial=initial, problem=problem))
        case events.Recovered(living):
            entry.recovered.CopyFrom(journal.Recovered(living=map(_process, living)))
        case events.DataCounted(data, validation):
            entry.data_counted.CopyFrom(journal.DataCounted(data=_shards(data), validation=_shards(validation)))
        case events.DataGrew(data, last):
            entry.data_grew.CopyFrom(journal.DataGrew(data=_shards(data), last=last))
        case events.StopAsked(reason):
            entry.stop_asked.CopyFrom(journal.StopAsked(reason=reason))
        case events.Exited(key, code, log_tail):
            entry.exited.CopyFrom(journal.Exited(process=_process(key), code=code, log_tail=log_tail))
        case events.Lost(key, reason, counts, log_tail):
            lost = journal.Lost(process=_process(key), reason=reason, counts=counts, log_tail=log_tail)
            entry.lost.CopyFrom(lost)
        case events.Stuck(key, reason):
            entry.stuck.CopyFrom(journal.Stuck(process=_process(key), reason=reason))
        case events.Runs(key):
            entry.runs.CopyFrom(journal.Runs(process=_process(key)))
        case events.Scaled(workers):
            entry.scaled.CopyFrom(journal.Scaled(workers=workers))
        case events.Cancelled(reason):
            entry.cancelled.CopyFrom(journal.Cancelled(reason=reason))
        case events.Failed(failure):
            entry.failed.CopyFrom(journal.Failed(failure=failure))
        case events.CheckpointBegun(number, path):
            entry.checkpoint_begun.CopyFrom(journal.CheckpointBegun(number=number, path=path))
        case events.CheckpointCommitted(path, final, kept):
            committed = journal.CheckpointCommitted(path=path, final=final, kept=kept)
            entry.checkpoint_committed.CopyFrom(committed)
        case events.CheckpointFailed(path, problem):
            entry.checkpoint_failed.CopyFrom(journal.CheckpointFailed(path=path, problem=problem))
        case events.Noted(level, text):
            entry.noted.CopyFrom(journal.Noted(level=level, text=text))
        case _:
            assert_never(event)
    return entry


def from_entry(entry: journal.Entry) -> events.Event:
    """Return the event in an entry made by `to_entry`; raise ValueError if it holds none."""
    match entry.WhichOneof("event"):
        case "said":
            return events.Said(_key(entry.said.process), entry.said.message)
        case "ticked":
            return events.Ticked()
        case "greeted":
            return events.Greeted(entry.greeted.hello)
        case "started":
            return events.Started(tuple(entry.started.initial), entry.started.problem)
        case "recovered":
            return events.Recovered(tuple(_key(process) for process in entry.recovered.living))
        case "data_counted":
            return events.DataCounted(_files(entry.data_counted.data), _files(entry.data_counted.validation))
        case "data_grew":
            return events.DataGrew(_files(entry.data_grew.data), entry.data_grew.last)
        case "stop_asked":
            return events.StopAsked(entry.stop_asked.reason)
        case "exited":
            return events.Exited(_key(entry.exited.process), entry.exited.code, entry.exited.log_tail)
        case "lost":
            lost = entry.lost
            return events.Lost(_key(lost.process), lost.reason, lost.counts, lost.log_tail)
        case "stuck":
            return events.Stuck(_key(entry.stuck.process), entry.stuck.reason)
        case "runs":
            return events.Runs(_key(entry.runs.process))
        case "scaled":
            return events.Scaled(entry.scaled.workers)
        case "cancelled":
            return events.Cancelled(entry.cancelled.reason)
        case "failed":
            return events.Failed(entry.failed.failure)
        case "checkpoint_begun":
            return events.CheckpointBegun(entry.checkpoint_begun.number, entry.checkpoint_begun.path)
        case "checkpoint_committed":
            committed = entry.checkpoint_committed
            return events.CheckpointCommitted(committed.path, committed.final, tuple(committed.kept))
        case "checkpoint_failed":
            return events.CheckpointFailed(entry.checkpoint_failed.path, entry.checkpoint_failed.problem)
        case "noted":
            return events.Noted(entry.noted.level, entry.noted.text)
    raise ValueError("an entry without an event")


def _process(key: Key) -> journal.Process:
    role, index, incarnation = key
    return journal.Process(role=role, index=index, incarnation=incarnation)


def _key(process: journal.Process) -> Key:
    return process.role, process.index, process.incarnation


def _shards(files: Iterable[FileRecords]) -> list[pb.Shard]:
    return [pb.Shard(path=file.path, start=file.start, records=file.records) for file in files]


def _files(shards: Iterable[pb.Shard]) -> tuple[FileRecords, ...]:
    return tuple(FileRecords(shard.path, shard.records, shard.start) for shard in shards)
