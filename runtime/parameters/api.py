"""What workers ask of parameter servers, wherever those are: in processes of their own, or in the worker's.

`ps.client.ParameterClient` and `ps.inprocess.InProcessServers` both do what `ParameterServers` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.parameters.arrays import Array, Dense, Ids, RowGradients
from elasticdl_nb.runtime.parameters.effects import TaskPart
from elasticdl_nb.runtime.parameters.table import TableSpec


class ServersLost(ElasticDLError):
    """A parameter server is gone, does not answer, or has been rolled back to a checkpoint.

    The master knows or will hear of it: what the worker has in its hands is void, and the master says when there are
    servers again.
    """


@dataclass(frozen=True)
class Push:
    """Gradients on their way from a worker to the parameters, and what these must know of them.

    Gradients are clipped already; `dense` are those of variables, `rows` those of rows. Every other field is a plain
    value that reaches each server as it is: another one needs no more than its line here.
    """

    dense: Dense = field(default_factory=dict)
    rows: RowGradients = field(default_factory=dict)
    version: int = 0
    """That of the parameters from which the gradients were computed."""
    learning_rate: float | None = None
    """Wins over the optimizer's own."""
    source: str = ""
    """Who sends it; with `sequence`, a number that it gives to no other push, it may be sent again: it counts once."""
    sequence: int = 0
    part: TaskPart | None = None
    """The records that they were computed from: these have their effect once, whoever else sends them."""
    oldest_epoch: int = 0
    """All tasks of earlier epochs are complete."""


@dataclass(frozen=True)
class StepRequest:
    """What a worker asks for at once: to take its gradients, if any, and to give what is there after that.

    `lookup` asks for rows, int64 ids [n] by table (absent ones are kept if `create`, and only shown otherwise), `pull`
    for all dense values.
    """

    push: Push | None = None
    lookup: Mapping[str, Ids] = field(default_factory=dict)
    create: bool = True
    pull: bool = True


@dataclass(frozen=True)
class StepResult:
    """What came of a step.

    `accepted`: the gradients count. If not, `reason` says why, and they are to be computed again from `dense`.
    `version` is the parameters' after the step, `dense` all dense values (None if they were not asked for), `rows` the
    rows that were asked for, float32 [n, dim] by table. Arrays may be read-only.
    """

    accepted: bool
    version: int
    dense: dict[str, Array] | None = None
    rows: dict[str, Array] = field(default_factory=dict)
    reason: str = ""


class ParameterServers(Protocol):
    """The parameters of a model. Every method may be called from any thread.

    All raise ServersLost when servers are gone, or when a push cannot count as one before it was lost, and DataError
    when what was given does not fit what they hold. Arrays that are given must not change before the result is there.
    """

    def initialize(self, optimizer: Mapping[str, Any], dense: Dense, tables: Sequence[TableSpec]) -> dict[str, Array]:
        """Declare the model; return the dense values in force.

        `optimizer` is what `keras.optimizers.serialize` gives; `dense` has the worker's own initial values, float32 of
        any shape, of all variables that are not rows of tables, trainable or not. They count only where there are none
        yet, from another worker or a checkpoint. Comes first; may be said again. Raises ModelError for an optimizer
        that cannot be had, and DataError for a checkpoint of another model.
        """
        ...

    def pull(self) -> tuple[dict[str, Array], int]:
        """Return all dense values, and their version."""
        ...

    def lookup(self, table: str, ids: Ids, *, create: bool = True) -> Array:
        """Return the rows of `ids`, int64 [n], as float32 [n, dim].

        Rows that are absent get their initial value; they are kept if `create`, and only shown otherwise.
        """
        ...

    def step(self, request: StepRequest) -> StepResult:
        """Do what the request says; what identifies its sender is filled in here."""
        ...

    def step_async(self, request: StepRequest) -> Future[StepResult]:
        """Do as `step` does, without waiting. Pushes arrive in the order of the calls."""
        ...

    def fetch(self, lookup: Mapping[str, Ids], *, pull: bool = True) -> Future[StepResult]:
        """Take rows of several tables (creating them), and all dense values if `pull`, without a step or waiting."""
        ...

    def flush(self) -> None:
        """Wait until every `step_async` is done; raises what the first that failed raised."""
        ...

    def position(self, epoch: int, index: int) -> int | None:
        """Return how many records of a task have had their effect on every server; None if all of them have."""
        ...

    def settle(self) -> int:
        """Apply gradients that wait for those of others (synchronous mode), however few; return the version."""
        ...

    def assign(self, values: Dense) -> None:
        """Replace dense values without a step: variables that are not trained, such as moving averages."""
        ...

    def export(self, table: str) -> Iterator[tuple[Ids, Array]]:
        """Yield all rows of a table in blocks, ids int64 [n] and rows float32 [n, dim], as of this call."""
        ...

    def close(self) -> None:
        """Let go of the servers."""
        ...
