"""What two jobs must not write to at the same time: an output, or a directory of checkpoints."""

from __future__ import annotations

import os

from elasticdl_nb.given.paths import is_remote
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import ownership
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

_OPTIONS = ("output", "checkpoint_dir")


def check_not_shared(spec: JobSpec, folder: JobFolder) -> None:
    """Raise OptionError if another job that runs or is being prepared writes to the same place; `folder` is this job's.

    Jobs of this user on this machine are all known. For a directory of checkpoints, its own record names jobs of
    others, too.
    """
    wanted = {option: _place(getattr(spec, option)) for option in _OPTIONS if getattr(spec, option)}
    if not wanted:
        return
    for other in JobFolder.all():
        if other.path == folder.path or not (other.is_alive() or other.is_in_preparation()):
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


def _place(path: str) -> str:
    return path.rstrip("/") if not path or is_remote(path) else os.path.realpath(path.removeprefix("file://"))
