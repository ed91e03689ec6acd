"""What can happen to a job: the events that a coordinator receives, one type for each.

What a coordinator asks for in return is in `actions`. `runtime.master.entries` writes events down for the journal: a
new event needs a place there and in `Coordinator.handle`, which mypy enforces.
"""

from __future__ import annotations

from dataclasses import dataclass

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.protocol import master_pb2 as pb


@dataclass(frozen=True, slots=True)
class Started:
    """The job begins; the first event, once.

    `initial` are the checkpoints of another job that it may begin with, the best first; a `problem` means that it must
    not begin.
    """

    initial: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The master was restarted, and found these processes alive."""

    living: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class DataCounted:
    """The number of records in each file is known."""

    data: tuple[FileRecords, ...]
    validation: tuple[FileRecords, ...]


@dataclass(frozen=True, slots=True)
class DataGrew:
    """Files have appeared in data that the job follows; after the `last` of these events, none is looked for."""

    data: tuple[FileRecords, ...]
    last: bool = False


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A client wants a training that follows its data to end with a model; call `Coordinator.stop_problem` first."""

    reason: str


@dataclass(frozen=True, slots=True)
class Greeted:
    """A process said hello, perhaps not for the first time."""

    hello: pb.Hello

    @property
    def key(self) -> Key:
        """Who it says it is."""
        return self.hello.role or "worker", self.hello.worker, self.hello.incarnation


@dataclass(frozen=True, slots=True)
class Said:
    """A process sent a message, perhaps not for the first time."""

    key: Key
    message: pb.WorkerMessage


@dataclass(frozen=True, slots=True)
class Exited:
    """A process has ended; a negative code is the signal that ended it. `log_tail` is the end of its output."""

    key: Key
    code: int
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """A process has ended for a reason that its platform knows; it `counts` if the process itself was the cause."""

    key: Key
    reason: str
    counts: bool
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A process cannot start, for this reason; an empty reason means that it can again."""

    key: Key
    reason: str


@dataclass(frozen=True, slots=True)
class Runs:
    """A process runs, and should say hello soon."""

    key: Key


@dataclass(frozen=True, slots=True)
class Scaled:
    """A client wants this many workers; call `Coordinator.scaling_problem` first."""

    workers: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A client wants the job to end."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot continue."""

    failure: pb.Failure


@dataclass(frozen=True, slots=True)
class CheckpointBegun:
    """The folder for the checkpoint of a round is at this path."""

    number: int
    path: str


@dataclass(frozen=True, slots=True)
class CheckpointCommitted:
    """The checkpoint that was written at `path` is complete, and is at `final` now.

    `kept` are the job's checkpoints that stay once it counts; empty if all do.
    """

    path: str
    final: str
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """The checkpoint at `path` could not be completed; without a path, its folder could not be made."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something is to be told to users; `level` is "info" or "warning"."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


Event = (
    Started | Recovered | DataCounted | Greeted | Said | Exited | Lost | Stuck | Runs | Scaled | Cancelled | Failed
    | CheckpointBegun | CheckpointCommitted | CheckpointFailed | Noted | Ticked | DataGrew | StopAsked
)  # fmt: skip
