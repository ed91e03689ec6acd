"""Starts jobs: Python, the command line, notebooks and SQL all share this way.

Most callers need only `start_job`. `Start` is for those that have something slow to do first, such as running a cell.
Meanwhile, the job's processes import what they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from elasticdl_nb.job.display import Display
from elasticdl_nb.job.frontend import in_live_notebook
from elasticdl_nb.job.handle import Job
from elasticdl_nb.job.launch import begin, dismiss, launch
from elasticdl_nb.job.preparing import prepared
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform.early import EarlyProcess
from elasticdl_nb.runtime.spec import JobKind, JobSpec
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

    With `wait`, show it until its end. That is the default, except for a detached job and in a live notebook.
    Raises what `Start.submit` raises and, while the job is shown, what `Job.wait` raises.
    """
    shown = display or Display()
    with Start(kind, shown) as start:
        waited = waits(wait, detach=detach)
        job = start.submit(given, detach=detach, waited=waited)
    shown.show(job, wait=waited)
    return job


def waits(wait: bool | None, *, detach: bool = False) -> bool:
    """Whether a call waits for its job: as given, or by default unless the job is detached or in a live notebook."""
    return not (detach or in_live_notebook()) if wait is None else wait


class Start:
    """The start of one job, as a context manager. If its block fails, there is no job and no process left behind."""

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

    def submit(self, given: Mapping[str, Any], *, detach: bool = False, waited: bool = False) -> Job:
        """Start the job that these options describe, and return its handle; `waited` if the caller then waits for it.

        The job ends with the processes that wait for it, unless it is detached or belongs to a live notebook; `Job`
        says what an interrupt does. Raises OptionError, DataError and ModelError if something is wrong with the
        options, before anything runs; ImageError and ClusterError for a job on Kubernetes; and JobFailed if the master
        does not start.
        """
        tell = self._display.preparing
        foreground = not (detach or in_live_notebook())
        with self._display.making_image(), prepared(self._kind, given, tell, self._begin_for) as folder:
            if folder.spec().yaml:
                raise OptionError(
                    "yaml", f"is only for the command line, and submits nothing: elasticdl {self._kind} --yaml=FILE …"
                )
            if folder.spec().on_kubernetes:
                from elasticdl_nb.job.clusterjobs import start

                self._dismiss()
                start(folder, tell)
            else:
                tell("starting the master")
                if waited and foreground:
                    folder.mark_waited_for()
                launch(folder, self._early)
        self._early = None
        return Job(folder, foreground=foreground)

    def _begin_for(self, spec: JobSpec) -> None:
        """Start the job's processes, if they can be started before the job is: variables of its own come too late."""
        if self._early is None and not spec.envs:
            self._early = begin()

    def _dismiss(self) -> None:
        if self._early is not None:
            dismiss(self._early)
            self._early = None


@contextmanager
def dry_run(kind: JobKind, given: Mapping[str, Any]) -> Iterator[JobFolder]:
    """Yield the folder of the job that these options describe, after all checks. Start nothing; remove it in the end.

    Raises what `Start.submit` raises if something is wrong with the options.
    """
    with prepared(kind, given) as folder:
        yield folder
        folder.remove()


def write_manifests(kind: JobKind, given: Mapping[str, Any], display: Display) -> str:
    """Write what this job would be on a cluster to the file that its option `yaml` names; return the file's path."""
    with display.making_image(), dry_run(kind, given) as folder:
        if not folder.spec().on_kubernetes:
            raise OptionError("yaml", "is for jobs on Kubernetes; also give platform='kubernetes'")
        from elasticdl_nb.job.clusterjobs import write_yaml

        return write_yaml(folder)
