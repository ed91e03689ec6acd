"""What workers ask of parameter servers, whether these run in their own processes or in the worker's.

`ps.client.ParameterClient` and `ps.inprocess.InProcessServers` both implement `ParameterServers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.parameters.arrays import Array, Counts, Dense, Ids, RowGradients
from elasticdl_nb.runtime.parameters.effects import TaskPart
from elasticdl_nb.runtime.parameters.mapped.form import Part
from elasticdl_nb.runtime.parameters.table import TableSpec


class ServersLost(ElasticDLError):
    """A parameter server is gone, does not answer, or has been rolled back to a checkpoint.

    The master knows or will find out. The worker's current task no longer counts, and the master announces when there
    are servers again.
    """


@dataclass(frozen=True)
class Push:
    """Gradients on their way from a worker to the parameters, and what goes with them.

    Gradients are already clipped, unless the mean of several will be; `dense` holds those of variables, `rows` those of
    rows. `sizes` has, for variables whose gradient is a sum over the occurrences of ids in a batch, the sum of the
    sizes of its parts: see `Update`. `counts` has, for tables that count ids, how often each of those of `rows` was
    seen. Every other field is a plain value that reaches each server as it is: a new one needs only its line here.
    """

    dense: Dense = field(default_factory=dict)
    rows: RowGradients = field(default_factory=dict)
    version: int = 0
    """The version of the parameters from which the gradients were computed."""
    learning_rate: float | None = None
    """Overrides the optimizer's own."""
    source: str = ""
    """The sender. `sequence` is a number it gives to no other push, so that a push sent again counts once."""
    sequence: int = 0
    part: TaskPart | None = None
    """The records that they were computed from: these take effect once, even if others send them too."""
    distinct: bool = False
    """The ids of each table are distinct, so that nobody has to look for equal ones."""
    oldest_epoch: int = 0
    """All tasks of earlier epochs are complete."""
    sizes: Dense = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True)
class StepRequest:
    """One request of a worker: apply its gradients, if any, and then return values.

    `lookup` requests rows, int64 ids [n] by table (absent ones are kept if `create`, and otherwise only computed for
    the answer); `pull` requests all dense values.
    """

    push: Push | None = None
    lookup: Mapping[str, Ids] = field(default_factory=dict)
    create: bool = True
    pull: bool = True


@dataclass(frozen=True)
class StepResult:
    """The result of a step.

    `accepted`: the gradients count. If not, `reason` says why, and they must be computed again from `dense`. `version`
    is the parameters' version after the step, `dense` all dense values (None if not requested), `rows` the requested
    rows, [n, dim] by table, in one of the types of `halves.HELD`. Arrays may be read-only.
    """

    accepted: bool
    version: int
    dense: dict[str, Array] | None = None
    rows: dict[str, NDArray[Any]] = field(default_factory=dict)
    reason: str = ""


class ParameterServers(Protocol):
    """The parameters of a model. Every method may be called from any thread.

    All raise ServersLost when servers are gone, or when a push cannot count because one before it was lost, and
    DataError when the arguments do not fit what they hold. Arrays passed in must not change before the result is there.
    """

    def initialize(self, optimizer: Mapping[str, Any], dense: Dense, tables: Sequence[TableSpec]) -> dict[str, Array]:
        """Declare the model; return the current dense values.

        `optimizer` is what `keras.optimizers.serialize` returns; `dense` has the worker's own initial values, float32
        of any shape, of all variables that are not rows of tables, trainable or not. They count only where another
        worker or a checkpoint has not set values yet. Must be called first; may be called again. Raises ModelError for
        an optimizer that is not available, and DataError for a checkpoint of another model.
        """
        ...

    def pull(self) -> tuple[dict[str, Array], int]:
        """Return all dense values, and their version."""
        ...

    def lookup(self, table: str, ids: Ids, *, create: bool = True) -> Array:
        """Return the rows of `ids`, int64 [n], as float32 [n, dim].

        Absent rows get their initial value; they are kept if `create`, and otherwise only returned.
        """
        ...

    def step(self, request: StepRequest) -> StepResult:
        """Carry out the request; the fields that identify its sender are filled in here."""
        ...

    def step_async(self, request: StepRequest) -> Future[StepResult]:
        """Like `step`, without waiting. Pushes arrive in the order of the calls."""
        ...

    def fetch(self, lookup: Mapping[str, Ids], *, pull: bool = True) -> Future[StepResult]:
        """Fetch rows of several tables (creating them), and all dense values if `pull`, without a step or waiting."""
        ...

    def flush(self) -> None:
        """Wait until every `step_async` is done; raises the error of the first that failed."""
        ...

    def position(self, epoch: int, index: int) -> int | None:
        """Return how many records of a task have taken effect on every server; None if all of them have."""
        ...

    def settle(self) -> int:
        """Apply the gradients that wait for others (synchronous mode), however few they are; return the version."""
        ...

    def assign(self, values: Dense) -> None:
        """Replace dense values without a step: variables that are not trained, such as moving averages."""
        ...

    def export(self, table: str) -> Iterator[tuple[Ids, Array]]:
        """Yield all rows of a table in blocks, ids int64 [n] and rows float32 [n, dim], as of this call."""
        ...

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        ...

    def write(self, table: str, stem: Path, dtype: str) -> list[Part]:
        """Let every server write its part of a table, for `mapped.reading`; return the parts, in the servers' order.

        `stem` is what the files' names begin with, in a folder that all servers have. No steps may be made meanwhile.
        Raises DataError if a server cannot write.
        """
        ...

    def close(self) -> None:
        """Close the connection to the servers."""
        ...
