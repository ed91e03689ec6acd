"""How far a training is in the time of its events, if a process feeds it with files in the order of that time.

A plain object. That process writes it to the job's folder whenever something changes, so it is there again whatever has
died.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple, Self

from elasticdl_nb.runtime.protocol import master_pb2 as pb


class FedFile(NamedTuple):
    """A file, how many records it has, and the times of the first and last event up to which it goes.

    Times are in seconds since 1970; None is for one that no calendar has, and for none.
    """

    name: str
    records: int
    first: float | None
    last: float | None

    def is_used(self, unfinished: str, listed: str) -> bool:
        """Whether nothing is left of it; see `Fed.fill`."""
        return not self.records or ("" < self.name <= listed and (not unfinished or self.name < unfinished))


@dataclass(frozen=True)
class Fed:
    """The files; their names are in their order. If events are known that are in none yet, a last one has no name."""

    files: Sequence[FedFile] = ()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote."""
        return cls(tuple(FedFile(*one) for one in json.loads(text)))

    def to_json(self) -> str:
        """Return it as a text."""
        return json.dumps(self.files)

    def fill(self, status: pb.JobStatus, unfinished: str, listed: str) -> None:
        """Write the event time into a status and, unless the job is over, the lag.

        `listed` is the last file that the job knows, `unfinished` the first that is not used as a whole; "" for none.
        """
        names = os.path.basename(unfinished), os.path.basename(listed)
        used = list(takewhile(lambda one: one.is_used(*names), self.files))
        rest = self.files[len(used) :]
        times = [one.last for one in used if one.last is not None]
        if times:
            status.event_time = status.event_time_oldest = times[-1]
        if status.finished_at:
            return
        if not rest and times:
            status.lag_seconds = 0.0
        elif rest and rest[0].first is not None:
            # Events that were in no file when the process last looked may be used by now.
            oldest = max([rest[0].first, *times[-1:]])
            status.lag_seconds = max(0.001, status.updated_at - oldest)
