"""Showing a job's progress: in a live notebook, in batch, or in a terminal."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from elasticdl_nb.api import in_live_notebook
from elasticdl_nb.job import Job
from elasticdl_nb.job.terminal import PlainLines
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.widgets.render import mimebundle

_VIEW_SECONDS = 10.0
_LOG_LINES = 20


def show(shell: InteractiveShell, job: Job, *, wait: bool, place: Any = None) -> None:
    """Show a job; return when it is over if `wait` is true, else at once.

    `place` is the handle of a display that the job's view replaces.
    """
    if in_live_notebook():
        _show_live(job, wait, place)
    elif not wait:
        say(f"{job!r}\nIt runs by itself: job.wait() waits for it, job.cancel() ends it.")
    elif getattr(shell, "kernel", None) is not None:
        _show_in_batch(job)
    else:
        job.wait(progress=True)


def _show_live(job: Job, wait: bool, place: Any) -> None:
    if not wait and is_over(status := job.status()):
        bundle = mimebundle(status)
        if place is None:
            display(bundle, raw=True)  # type: ignore[no-untyped-call]
        else:
            place.update(bundle, raw=True)
        return
    from elasticdl_nb.widgets.view import JobView

    view = JobView(job).show(place)
    if wait:
        try:
            job.wait(progress=False)
        finally:
            view.wait(_VIEW_SECONDS if is_over(job.status()) else 0)


def _show_in_batch(job: Job) -> None:
    """Print milestones, and end with the picture that stays in the notebook, however the job ends."""
    lines = PlainLines()

    def tell(status: pb.JobStatus) -> None:
        for line in lines.feed(status, time.time()):
            say(line)

    try:
        job.wait(progress=tell)
    except JobFailed:
        say(f"The last lines of its logs:\n{job.logs(tail=_LOG_LINES)}")
        raise
    finally:
        display(mimebundle(job.status()), raw=True)  # type: ignore[no-untyped-call]


@contextmanager
def notes() -> Iterator[None]:
    """Show warnings as plain messages, without lines of this package's source."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *rest, **options: say(f"Note: {message}")
        yield


def say(text: str) -> None:
    """Print below the cell."""
    print(text, file=sys.stdout, flush=True)  # noqa: T201
