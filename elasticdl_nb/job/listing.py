"""All jobs on this machine, as a list that is displayed as a table."""

from __future__ import annotations

import html
import io
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, overload

from elasticdl_nb.job import Job
from elasticdl_nb.runtime.control.status import elapsed, format_duration, format_metrics, latest_metrics, phase_name
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("name", "kind", "phase", "progress", "metrics", "started", "duration")


class JobList(Sequence[Job]):
    """Jobs, the newest first. Prints as a table in a terminal and in a notebook."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = list(jobs)

    @overload
    def __getitem__(self, index: int) -> Job: ...

    @overload
    def __getitem__(self, index: slice) -> JobList: ...

    def __getitem__(self, index: int | slice) -> Job | JobList:
        return JobList(self._jobs[index]) if isinstance(index, slice) else self._jobs[index]

    def __len__(self) -> int:
        return len(self._jobs)

    def _statuses(self) -> list[pb.JobStatus]:
        return [job.status() for job in self._jobs]

    def __repr__(self) -> str:
        if not self._jobs:
            return "no jobs yet"
        from rich.console import Console

        console = Console(file=io.StringIO(), width=140, force_terminal=False, force_jupyter=False)
        with console.capture() as capture:
            console.print(table(self._statuses()))
        return "\n".join(line.rstrip() for line in capture.get().strip().splitlines())

    def _repr_html_(self) -> str:
        if not self._jobs:
            return "<p>no jobs yet</p>"
        head = "".join(f"<th>{column}</th>" for column in COLUMNS)
        now = time.time()
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row(status, now)) + "</tr>"
            for status in self._statuses()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def row(status: pb.JobStatus, now: float) -> tuple[str, ...]:
    """Return the values of `COLUMNS` for one job."""
    started = datetime.fromtimestamp(status.started_at).strftime("%Y-%m-%d %H:%M") if status.started_at else ""
    return (
        status.name,
        status.kind,
        phase_name(status),
        f"{status.progress:.0%}",
        format_metrics(latest_metrics(status)),
        started,
        format_duration(elapsed(status, now)) if status.started_at else "",
    )


def table(statuses: Iterable[pb.JobStatus]) -> Table:
    """Return a rich table of these jobs."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        made.add_column(column, overflow="fold", no_wrap=column in ("phase", "progress", "started", "duration"))
    now = time.time()
    for status in statuses:
        made.add_row(*row(status, now))
    return made


def jobs(*, kube_context: str = "", namespace: str = "") -> JobList:
    """Return all jobs known on this machine, running and ended, the newest first.

    With a namespace or a context of the kube-config, return all jobs there. Raises ClusterError.
    """
    if kube_context or namespace:
        from elasticdl_nb.job.clusterjobs import known_jobs, link_again

        folders = list(known_jobs(kube_context, namespace))
        for folder in folders:
            link_again(folder)
    else:
        folders = JobFolder.all()
    return JobList([Job(folder) for folder in folders])
