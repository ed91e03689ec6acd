"""`elasticdl train`, `evaluate`, `predict` and `attach`: run a job, or watch one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from elasticdl_nb.cli.arguments import JobParser, Parser, add_job, add_output_options, the_job
from elasticdl_nb.cli.output import as_json, failure, say, say_json, success, tell
from elasticdl_nb.cli.signals import Interrupted, interruptible
from elasticdl_nb.job import Job
from elasticdl_nb.job.display import TerminalDisplay, notes
from elasticdl_nb.job.starting import dry_run, start_job, write_manifests
from elasticdl_nb.job.terminal import Progress, progress_for
from elasticdl_nb.runtime.control.masterclient import watch_job
from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobKind

EXIT_CODES = {pb.SUCCEEDED: 0, pb.FAILED: 1, pb.CANCELLED: 130}


def run_job(kind: JobKind, arguments: Sequence[str]) -> int:
    """Run `elasticdl train|evaluate|predict ARGUMENTS`; return the exit code."""
    parsed = JobParser(kind).parse(arguments)
    display = CommandDisplay(quiet=parsed.quiet, json=parsed.json)
    with interruptible(), notes(tell):
        if parsed.dry_run:
            return _dry_run(kind, parsed)
        if parsed.given.get("yaml"):
            path = write_manifests(kind, parsed.given, display)
            say(f"What would be submitted is in {path}. Nothing was submitted.")
            return 0
        job = start_job(kind, parsed.given, display, wait=not parsed.detach, detach=parsed.detach)
        if parsed.detach:
            return 0
        _say_end(job, display.status, parsed)
    succeeded = display.status.phase == pb.SUCCEEDED
    return EXIT_CODES[display.status.phase] if succeeded or not display.exit_code else display.exit_code


class CommandDisplay(TerminalDisplay):
    """Shows jobs on stderr unless `quiet`; an interrupt cancels the job that is followed.

    `status` is the job's last one. `exit_code` is that of the interrupt, or 0 if there was none.
    """

    def __init__(self, *, quiet: bool, json: bool) -> None:
        super().__init__(not (quiet or json))
        self._quiet, self._json = quiet, json
        self.status = pb.JobStatus()
        self.exit_code = 0

    def leave(self, job: Job) -> None:
        """Print how to find it again."""
        if self._json:
            say_json(as_json(job, job.status()))
        else:
            say(f"{job.name}\nSee: elasticdl attach {job.name}. End it: elasticdl cancel {job.name}.")

    def follow(self, job: Job) -> None:
        """Show the job until its end; an interrupt cancels it. Raises nothing, however the job ended."""
        with progress_for(not self._quiet) as show:
            try:
                if not self._quiet and not self._json:
                    tell(f"Job {job.name}, logs in {job.folder.logs}. Ctrl-C cancels it.{job.dashboard_note()}")
                self.status = _follow(job, show, waiting=True)
            except Interrupted as interrupt:
                self.exit_code = interrupt.exit_code
                tell(f"Cancelling job {job.name} ({interrupt.reason}); interrupt again to stop waiting for that.")
                job.request_cancel(f"interrupted by {interrupt.reason}")
                self.status = _follow(job, show, waiting=False)
            job.settle()


def _dry_run(kind: JobKind, parsed: argparse.Namespace) -> int:
    with dry_run(kind, parsed.given) as folder:
        spec = folder.spec()
    if parsed.json:
        say_json(json.loads(spec.to_json()))
    else:
        say(f"Nothing is wrong with this job:\n{spec.to_json()}")
    return 0


def _follow(job: Job, show: Progress, *, waiting: bool) -> pb.JobStatus:
    status = pb.JobStatus()
    for status in watch_job(job.folder, waiting=waiting):
        show(status)
    return status


def _say_end(job: Job, status: pb.JobStatus, parsed: argparse.Namespace) -> None:
    if status.phase == pb.FAILED:
        tell(failure(job, status, whole_traceback=job.spec.log_level == "DEBUG"))
    elif status.phase == pb.CANCELLED:
        tell(f"Job {job.name} was cancelled.")
    elif not parsed.json:
        say(success(job, status))
    if parsed.json:
        say_json(as_json(job, status))


def run_attach(arguments: Sequence[str]) -> int:
    """Run `elasticdl attach NAME`: show a job until its end, or until an interrupt, which leaves the job running."""
    parser = Parser(
        prog="elasticdl attach",
        description="Show a job's progress until it has ended. Ctrl-C stops watching; the job keeps running.",
    )
    add_job(parser)
    add_output_options(parser)
    parsed = parser.parse(arguments)
    job = the_job(parsed)
    with interruptible():
        try:
            with progress_for(not parsed.quiet) as show:
                status = _follow(job, show, waiting=False)
        except Interrupted as interrupt:
            tell(f"Job {job.name} keeps running. End it: elasticdl cancel {job.name}")
            return interrupt.exit_code
    _say_end(job, status, parsed)
    return EXIT_CODES[status.phase] if is_over(status) else 0
