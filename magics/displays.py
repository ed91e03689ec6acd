"""How notebooks show a job and its start: live, in batch, or in IPython on a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from elasticdl_nb.images import ImageStatus, listening
from elasticdl_nb.images.showing import print_lines
from elasticdl_nb.job import Job
from elasticdl_nb.job.display import Display
from elasticdl_nb.job.frontend import in_live_notebook
from elasticdl_nb.job.terminal import PlainLines
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.errors import JobFailed
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.widgets.image import ImageView
from elasticdl_nb.widgets.render import mimebundle
from elasticdl_nb.widgets.view import JobView

_VIEW_SECONDS = 10.0
_LOG_LINES = 20


def display_for(shell: InteractiveShell, kind: str = "") -> Display:
    """Return the display for a job of this kind that suits this shell."""
    if in_live_notebook():
        return LiveDisplay(kind)
    return BatchDisplay() if getattr(shell, "kernel", None) is not None else ShellDisplay()


class ShellDisplay(Display):
    """Prints below the input. If the shell waits for a job, shows it on stderr."""

    def making_image(self) -> AbstractContextManager[None]:
        """Print a line for each step that takes time."""
        return listening(print_lines(say))

    def follow(self, job: Job) -> None:
        """See `Display.follow`."""
        _announce(job)
        job.wait(progress=True)

    def leave(self, job: Job) -> None:
        """Print how to wait for the job, or end it."""
        _announce(job)
        goes_on = (
            "" if is_over(job.status()) else "\nIt continues by itself: job.wait() waits for it, job.cancel() ends it."
        )
        say(f"{job!r}{goes_on}")


class BatchDisplay(ShellDisplay):
    """Prints milestones, and ends with a picture that stays in the notebook, however the job ends."""

    def follow(self, job: Job) -> None:
        """See `Display.follow`; if the job fails, the last lines of its logs are printed."""
        _announce(job)
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


class LiveDisplay(Display):
    """Draws one picture below the cell, from the first step of a job's preparation to its end."""

    def __init__(self, kind: str = "") -> None:
        self._title = f"{kind} job".strip()
        self._place: Any = None
        self._image: ImageView | None = None

    def preparing(self, doing: str) -> None:
        """Show the step as the detail of a job that is starting."""
        status = pb.JobStatus(name=self._title, detail=doing, remaining_seconds=-1, updated_at=time.time())
        self._draw(mimebundle(status))

    def making_image(self) -> AbstractContextManager[None]:
        """Draw it in place of the job's picture."""
        return listening(self._show_image)

    def _show_image(self, status: ImageStatus) -> None:
        if self._image is None:
            self._image = ImageView(self._place)
        self._image.show(status)

    def refused(self) -> None:
        """Remove the picture."""
        if self._place is not None:
            self._draw({})

    def follow(self, job: Job) -> None:
        """See `Display.follow`."""
        view = self._view(job)
        try:
            job.wait(progress=False)
        finally:
            view.wait(_VIEW_SECONDS if is_over(job.status()) else 0)

    def leave(self, job: Job) -> None:
        """Let the view continue while the notebook does other work; for a job that has ended, leave its picture."""
        if is_over(status := job.status()):
            self._draw(mimebundle(status))
        else:
            self._view(job)

    def _view(self, job: Job) -> JobView:
        return JobView(job, job.folder.identity, job.folder.is_watched).show(self._place)

    def _draw(self, bundle: dict[str, str]) -> None:
        if self._place is None:
            self._place = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._place.update(bundle, raw=True)


def _announce(job: Job) -> None:
    say(f"Job {job.name}.{job.dashboard_note()}")


def say(text: str) -> None:
    """Print below the cell."""
    print(text, file=sys.stdout, flush=True)  # noqa: T201
