"""What two jobs must not write to at the same time: an output, or a directory of checkpoints."""

from __future__ import annotations

import os
import time

from elasticdl_nb.given.paths import is_remote
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import ownership
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

ENDING_SECONDS = 3.0
"""How long a job may take to be gone once its clients have seen its end."""

_OPTIONS = ("output", "checkpoint_dir")


def check_not_shared(spec: JobSpec, folder: JobFolder) -> None:
    """Raise OptionError if another job that runs or is being prepared writes to the same place; `folder` is this job's.

    Jobs of this user on this machine are all known. For a directory of checkpoints, its own record names jobs of
    others, too. A job that is about to end gets a few seconds for that.
    """
    deadline = time.monotonic() + ENDING_SECONDS
    while True:
        try:
            _check(spec, folder)
            return
        except OptionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _check(spec: JobSpec, folder: JobFolder) -> None:
    wanted = {option: _place(getattr(spec, option)) for option in _OPTIONS if getattr(spec, option)}
    if not wanted:
        return
    for other in JobFolder.all():
        if other.path == folder.path or not _runs(other):
            continue
        theirs = other.spec()
        for option, place in wanted.items():
            if theirs.on_kubernetes == spec.on_kubernetes and _place(getattr(theirs, option)) == place:
                raise OptionError(
                    option,
                    f"{place} is also written to by the job {other.name!r}, which is running; choose another place, or "
                    f"wait for it (elasticdl attach {other.name}) or end it (elasticdl cancel {other.name})",
                )
    if spec.checkpoint_dir and not spec.on_kubernetes:
        try:
            ownership.check(spec.checkpoint_dir, ownership.Owner.of(folder))
        except ownership.InUseError as error:
            raise OptionError("checkpoint_dir", str(error)) from None


def _runs(job: JobFolder) -> bool:
    return not job.is_over() and (job.is_alive() or job.is_in_preparation())


def _place(path: str) -> str:
    return path.rstrip("/") if not path or is_remote(path) else os.path.realpath(path.removeprefix("file://"))
