"""A directory of checkpoints belongs to one job at a time.

While a job runs, a record in the directory names it. Another job that wants the directory is refused, and told by whom
it is used. When the job ends it removes the record; the directory, with the checkpoints in it, may then be another's.

Whether the job of a record still runs is known for certain where its folder is: on this machine. Elsewhere, as in
another pod, it is taken for alive until the record has not been renewed for a minute, by the clock of the file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

RECORD = ".owner.json"
RENEW_SECONDS = 10.0
"""How often a running job renews its record."""

SILENCE_LIMIT = 60.0
"""Seconds after which a record that is not renewed counts for nothing, if its job's folder is not on this machine."""


class InUseError(ElasticDLError):
    """The directory belongs to another job, which is running."""


@dataclass(frozen=True)
class Owner:
    """A job that uses a directory; `job` distinguishes it from all other jobs, of the same name too."""

    job: str
    name: str
    folder: str
    host: str

    @classmethod
    def of(cls, folder: JobFolder) -> Owner:
        """The job of this folder, on this machine."""
        return cls(folder.identity, folder.name, os.fspath(folder.path), os.uname().nodename)


def check(directory: str | os.PathLike[str], owner: Owner) -> None:
    """Raise InUseError if another job that is running uses the directory."""
    other = _read(Path(directory))
    if other is not None and other.job != owner.job and _is_alive(other, Path(directory)):
        raise InUseError(
            f"{os.fspath(directory)} is used by the job {other.name!r}, which is running; choose another directory, or "
            f"wait for it (elasticdl attach {other.name}) or end it (elasticdl cancel {other.name})"
        )


def claim(directory: str | os.PathLike[str], owner: Owner) -> None:
    """Make the directory, if need be, and make it this job's; raise InUseError, or OSError."""
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        check(path, owner)
        durable.write(path / RECORD, json.dumps(asdict(owner)).encode())


def renew(directory: str | os.PathLike[str], owner: Owner) -> None:
    """Show that the job still uses the directory; does nothing if it does not, or if the directory is gone."""
    with contextlib.suppress(OSError):
        if _read(Path(directory)) == owner:
            os.utime(Path(directory) / RECORD)


def release(directory: str | os.PathLike[str], owner: Owner) -> None:
    """The job has ended: others may have the directory."""
    with contextlib.suppress(OSError), _alone(Path(directory)):
        other = _read(Path(directory))
        if other is not None and other.job == owner.job:
            (Path(directory) / RECORD).unlink()


def taken_by(directory: str | os.PathLike[str], job: str) -> str:
    """The name of another job that the directory belongs to by now; empty if it is this job's, or nobody's."""
    other = _read(Path(directory))
    return other.name if other is not None and other.job != job else ""


def _read(directory: Path) -> Owner | None:
    try:
        return Owner(**json.loads((directory / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):  # nobody's, or a record that nobody can have written whole
        return None


def _is_alive(owner: Owner, directory: Path) -> bool:
    folder = JobFolder(owner.folder)
    with contextlib.suppress(OSError):
        if owner.host == os.uname().nodename and folder.path.exists():
            runs = not folder.is_over() and (folder.is_alive() or folder.is_in_preparation())
            return runs and folder.identity == owner.job
    return _age(directory) < SILENCE_LIMIT


def _age(directory: Path) -> float:
    """How long ago the record was renewed, by the clock of its file system; 0 if that cannot be known."""
    probe = Path(durable.aside_name(directory / RECORD))
    try:
        probe.touch()
        return probe.stat().st_mtime - (directory / RECORD).stat().st_mtime
    except OSError:
        return 0.0
    finally:
        durable.remove(probe)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others from claiming the directory meanwhile, where its file system can do that."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
