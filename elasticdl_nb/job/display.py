"""What users see of a job, from its start to its end: nothing, or its progress on a terminal.

Notebooks and commands have displays of their own: `elasticdl_nb.magics.displays` and `elasticdl_nb.cli.running`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from elasticdl_nb.job.handle import Job
from elasticdl_nb.runtime.protocol import master_pb2 as pb

_PACKAGE = Path(__file__).parents[1]
_NOTEBOOK = "elasticdl_nb.magics.displays"

ProgressChoice = bool | Callable[[pb.JobStatus], None] | None
"""Whether a job is shown: always, never, or only on a terminal (None); or a function that gets each status."""


class Display:
    """Shows nothing. Derived classes show what they override.

    First come the steps of preparation, which may include making an image. Then the job is either refused, followed
    to its end, or left running.
    """

    def preparing(self, doing: str) -> None:
        """Show what is being done before the job runs, such as "checking the data"."""

    def making_image(self) -> AbstractContextManager[None]:
        """Show the progress of images that are built and pushed within the block."""
        return nullcontext()

    def refused(self) -> None:
        """Show that the job was refused."""

    def show(self, job: Job, *, wait: bool) -> None:
        """Show a running job, until its end if `wait` is true; then raise what `Job.wait` raises."""
        if wait:
            self.follow(job)
        else:
            self.leave(job)

    def follow(self, job: Job) -> None:
        """Show the job until its end, and raise what `Job.wait` raises."""
        job.wait(progress=False)

    def leave(self, job: Job) -> None:
        """Show that the job runs, and return at once."""


class TerminalDisplay(Display):
    """Shows a job on stderr, or hands each status to a function."""

    def __init__(self, progress: ProgressChoice = None) -> None:
        self._progress = progress
        self._visible = False if callable(progress) else progress

    def making_image(self) -> AbstractContextManager[None]:
        """Show it as a bar, or as lines if there is no terminal."""
        from elasticdl_nb.images.showing import shown

        return shown(self._visible)

    def follow(self, job: Job) -> None:
        """See `Display.follow`."""
        self._announce(job)
        job.wait(progress=self._progress)

    def leave(self, job: Job) -> None:
        """See `Display.leave`."""
        self._announce(job)

    def _announce(self, job: Job) -> None:
        self.tell(f"Job {job.name}.{job.dashboard_note()}")

    def tell(self, text: str) -> None:
        """Show a message, if jobs are shown."""
        if self._visible or (self._progress is None and sys.stderr.isatty()):
            print(text, file=sys.stderr, flush=True)  # noqa: T201


def notebook_display(kind: str) -> Display | None:
    """Return the display for a job that a cell of a notebook starts, as the magics have it; None outside of kernels."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is None:
        return None
    # In a layer above this one, and only loaded where there is a notebook.
    display: Display = importlib.import_module(_NOTEBOOK).display_for(shell, kind)
    return display


@contextmanager
def notes(say: Callable[[str], None]) -> Iterator[None]:
    """Pass warnings to `say` as readable lines, instead of showing lines of this package's source."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *rest, **options: say(f"Note: {message}")
        yield


@contextmanager
def readable_notes() -> Iterator[None]:
    """Let warnings of this package be shown without lines of its source; whether they are shown is as it was."""
    before = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        ours = category is UserWarning and Path(filename).is_relative_to(_PACKAGE)
        return f"Note: {message}\n" if ours else before(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = before
