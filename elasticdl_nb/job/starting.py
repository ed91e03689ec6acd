"""Starting a job: the one way that Python, the command line, notebooks and SQL share.

Most callers need `start_job` alone. `Start` is for those that have something slow to do first, such as running a cell:
the job's processes import what they need meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from elasticdl_nb.job.display import Display
from elasticdl_nb.job.handle import Job
from elasticdl_nb.job.launch import begin, dismiss, launch
from elasticdl_nb.job.preparing import prepared
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.spec import JobKind
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


def start_job(
    kind: JobKind,
    given: Mapping[str, Any],
    display: Display | None = None,
    *,
    wait: bool | None = None,
    detach: bool = False,
) -> Job:
    """Start the job that these options describe, show it, and return its handle.

    With `wait` it is shown until its end. By default that is so, except for a detached job and in a live notebook.
    Raises what `Start.submit` raises, and what the display raises: from waiting, see `Job.wait`.
    """
    shown = display or Display()
    with Start(kind, shown) as start:
        job = start.submit(given, detach=detach)
    shown.show(job, wait=waits(wait, detach=detach))
    return job


def waits(wait: bool | None, *, detach: bool = False) -> bool:
    """Whether a call waits for its job: what it says, and by default unless it is detached or in a live notebook."""
    return not (detach or in_live_notebook()) if wait is None else wait


class Start:
    """The start of one job, as a context. If its block fails there is no job, and no process is left behind."""

    def __init__(self, kind: JobKind, display: Display) -> None:
        self._kind, self._display = kind, display
        self._early: EarlyProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss()
        if error is not None:
            self._display.refused()

    def begin(self, doing: str) -> None:
        """Start the job's processes before the job is known, and show what is being done meanwhile."""
        self._early = begin()
        self._display.preparing(doing)

    def submit(self, given: Mapping[str, Any], *, detach: bool = False) -> Job:
        """Start the job that these options describe, and return its handle.

        The job ends together with those who wait for it, unless it is detached or belongs to a live notebook: see
        `Job.wait` for what an interrupt does. Raises OptionError, DataError and ModelError for what is wrong with the
        options, before anything runs; ImageError and ClusterError for a job on Kubernetes; JobFailed if the master does
        not start.
        """
        tell = self._display.preparing
        with self._display.making_image(), prepared(self._kind, given, tell) as folder:
            if folder.spec().yaml:
                raise OptionError(
                    "yaml", f"submits nothing, and is for the command line: elasticdl {self._kind} --yaml=FILE …"
                )
            if folder.spec().on_kubernetes:
                from elasticdl_nb.job.clusterjobs import start

                self._dismiss()
                start(folder, tell)
            else:
                tell("starting the master")
                launch(folder, self._early)
        self._early = None
        return Job(folder, foreground=not (detach or in_live_notebook()))

    def _dismiss(self) -> None:
        if self._early is not None:
            dismiss(self._early)
            self._early = None


@contextmanager
def dry_run(kind: JobKind, given: Mapping[str, Any]) -> Iterator[JobFolder]:
    """Yield the folder of the job that these options describe, after all checks. Nothing is started, and none is left.

    Raises what `Start.submit` raises for what is wrong with the options.
    """
    with prepared(kind, given) as folder:
        yield folder
        folder.remove()


def write_manifests(kind: JobKind, given: Mapping[str, Any], display: Display) -> str:
    """Write what this job would be on a cluster into the file that its option `yaml` names; return the file's path."""
    with display.making_image(), dry_run(kind, given) as folder:
        if not folder.spec().on_kubernetes:
            raise OptionError("yaml", "is for jobs on Kubernetes; say platform='kubernetes', too")
        from elasticdl_nb.job.clusterjobs import write_yaml

        return write_yaml(folder)


def in_live_notebook() -> bool:
    """Whether this is a notebook kernel that a person works with, rather than a program or a notebook run in batch."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return False
    # Those who run notebooks in batch say that nobody is there to answer.
    parent: dict[str, Any] = kernel.get_parent("shell") or {}
    return bool(parent.get("content", {}).get("allow_stdin", False))
