"""How far a training on a Kafka topic is: of each partition, the last record of the furthest task that is done.

A plain object. Watchers get event times from it, checkpoints what tells the topic from another of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from elasticdl_nb.runtime.protocol import master_pb2 as pb


class Learnt:
    """Knows the last record of each partition, by path."""

    def __init__(self, messages: Iterable[pb.LastRecord] = ()) -> None:
        self._last = {one.path: one for one in messages}

    def done(self, last: pb.LastRecord) -> None:
        """A task of a partition is done; tasks may be so in any order."""
        before = self._last.get(last.path)
        if before is not None and last.end <= before.end:
            return
        self._last[last.path] = after = pb.LastRecord()
        after.CopyFrom(last)
        if not last.HasField("event_time") and before is not None and before.HasField("event_time"):
            after.event_time = before.event_time

    # ------------------------------------------------------------ event time

    def _times(self) -> list[float]:
        return [one.event_time / 1000 for one in self._last.values() if one.HasField("event_time")]

    @property
    def newest(self) -> float:
        """The event time of the partition that is the furthest, in seconds since 1970; 0 if there is none."""
        return max(self._times(), default=0.0)

    @property
    def oldest(self) -> float:
        """The event time of the partition that is the least far, in seconds since 1970; 0 if there is none."""
        return min(self._times(), default=0.0)

    def lag(self, ends: Mapping[str, int], date: float, *, ahead: bool) -> float:
        """Return how many seconds before `date` the last event is, in the partition that is the least far.

        Only those count that have more offsets, as their `ends` say. If there are none, the lag is 0, unless tasks are
        `ahead` all the same, because they are done in another order: then all partitions count.
        """
        waiting = [
            one for path, one in self._last.items() if ends.get(path, 0) > one.end and one.HasField("event_time")
        ]
        times = [one.event_time / 1000 for one in waiting] or (self._times() if ahead else [])
        return max(0.001, date - min(times)) if times else 0.0

    # ------------------------------------------------------------ checkpoints and the journal

    def snapshot(self) -> dict[str, list[Any]]:
        """State as JSON values."""
        return {
            one.path: [one.end, one.offset, one.fingerprint, one.event_time if one.HasField("event_time") else None]
            for one in self._last.values()
        }

    @classmethod
    def of_snapshot(cls, state: Mapping[str, list[Any]]) -> Learnt:
        """Return what `snapshot` was made of."""
        return cls(
            pb.LastRecord(path=path, end=end, offset=offset, fingerprint=fingerprint, event_time=event_time)
            for path, (end, offset, fingerprint, event_time) in state.items()
        )

    def marks(self) -> dict[str, tuple[int, str]]:
        """Offset and fingerprint of each partition's last record, by path."""
        return {one.path: (one.offset, one.fingerprint) for one in self._last.values()}

    def messages(self) -> list[pb.LastRecord]:
        """Return everything, in the order of the partitions' paths."""
        return [self._last[path] for path in sorted(self._last)]
