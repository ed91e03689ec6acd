"""What blows cost: the time to the next useful step, and the work that was thrown away. Plain objects, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from elasticdl_nb.runtime.protocol import master_pb2 as pb


@dataclass
class Blow:
    """One blow, `at` seconds after the start. `seconds` is None as long as no useful step has followed it.

    A step is useful once the job has done more records than before the blow or, if the blow takes the job back to a
    checkpoint, more than that holds. `records` and `steps` are those that this going back has thrown away.
    """

    at: float
    what: str
    goes_back: bool = False
    seconds: float | None = None
    records: int = 0
    steps: int = 0


@dataclass
class Report:
    """What a job's blows have cost, and how often its records were used.

    `done` and `total` are numbers of uses of records, according to the master. `uses` says for how many records the
    trained model itself has counted which number of uses; it is empty for a model that does not count.
    """

    blows: list[Blow] = field(default_factory=list)
    phase: str = ""
    done: int = 0
    total: int = 0
    epochs: int = 1
    restarts: int = 0
    rollbacks: int = 0
    uses: Mapping[float, int] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether the job had ended when this was reported."""
        return self.phase in ("SUCCEEDED", "FAILED", "CANCELLED")

    @property
    def is_exact(self) -> bool:
        """Whether the job has succeeded, and each record was used exactly as often as said, as far as is known."""
        exact = self.phase == "SUCCEEDED" and self.done == self.total
        return exact and set(self.uses) <= {float(self.epochs)}

    def lines(self) -> list[str]:
        """The report as a table and a summary, to be shown."""
        rows = [f"{'at':>7}  {'next step':>10}  {'thrown away':>22}  what"]
        for blow in self.blows:
            after = "-" if blow.seconds is None else f"{blow.seconds:.1f} s"
            lost = f"{blow.records} records, {blow.steps} steps" if blow.records or blow.steps else "-"
            rows.append(f"{blow.at:>6.1f}s  {after:>10}  {lost:>22}  {blow.what}")
        again = sum(blow.records for blow in self.blows)
        rows.append(
            f"{len(self.blows)} blow(s): {self.restarts} process(es) replaced, back to a checkpoint {self.rollbacks} "
            f"time(s), {again} records thrown away and computed again."
        )
        return [*rows, self._count()]

    def _count(self) -> str:
        said = f"{self.done} of {self.total} uses of records, according to the master"
        if self.phase != "SUCCEEDED":
            return f"The job is {self.phase.lower()}: {said}."
        if self.uses:
            counted = ", ".join(f"{number} record(s) {uses:g} times" for uses, number in sorted(self.uses.items()))
            said += f"; according to the model, {counted} ({self.epochs} expected)"
        return f"{'Each record was used as often as said' if self.is_exact else 'NOT as often as said'}: {said}."


class Ledger:
    """Keeps account of blows and of what the job's status shows meanwhile."""

    def __init__(self) -> None:
        self.report = Report()
        self._open: dict[int, int] = {}
        self._waits_for_rollback: set[int] = set()
        self._records = self._step = 0

    def struck(self, at: float, what: str, *, goes_back: bool = False) -> None:
        """A blow has hit the job; `goes_back` if it takes the job back to a checkpoint."""
        number = len(self.report.blows)
        self.report.blows.append(Blow(at, what, goes_back))
        self._open[number] = self._records
        if goes_back:
            self._waits_for_rollback.add(number)

    def seen(self, at: float, status: pb.JobStatus) -> None:
        """The job has this status."""
        report = self.report
        if status.rollbacks > report.rollbacks:
            self._went_back(status)
        for number, mark in list(self._open.items()):
            if status.records_done > mark and number not in self._waits_for_rollback:
                report.blows[number].seconds = max(0.0, at - report.blows[number].at)
                del self._open[number]
        self._records, self._step = status.records_done, status.step
        report.phase = pb.JobPhase.Name(status.phase)
        report.done, report.total, report.rollbacks = status.records_done, status.records_total, status.rollbacks
        report.epochs = max(status.num_epochs, 1)
        report.restarts = sum(one.restarts for one in status.instances)

    def _went_back(self, status: pb.JobStatus) -> None:
        if self.report.blows:
            taken_back = [blow for blow in self.report.blows if blow.goes_back] or self.report.blows
            taken_back[-1].records += max(0, self._records - status.records_done)
            taken_back[-1].steps += max(0, self._step - status.step)
        self._waits_for_rollback.clear()
        self._open = {number: status.records_done for number in self._open}
