"""A directory of checkpoints: `step-000000120/` holds the job's state after step 120.

A checkpoint is written under a hidden name, gets a manifest (the job, and size and CRC-32 of each file) and the task
queue's state from the same instant, and is flushed to the disk. Only then does it get its final name, so a checkpoint
with that name survives a power failure.

A directory may hold checkpoints of several jobs, one after another (see `ownership`). A job removes only its own. Those
that turn out to be damaged are kept aside as `damaged-step-…`, the latest few of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DamagedCheckpoint, DataError
from elasticdl_nb.runtime.storage.ownership import taken_by

MANIFEST = "manifest.json"
QUEUE = "queue.json"
KEPT_DAMAGED = 3
"""Damaged checkpoints that are kept in a directory."""

_PREFIX = "step-"
_COMPACTED = ".compacted-"
_DAMAGED = "damaged-"
_FIRST_FORM = {"step", "files"}
"""The fields of manifests that were written before they had a checksum."""


# ------------------------------------------------------------ manifests


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of: size and CRC-32 of each file, by name; `date` is when it was sealed."""

    step: int
    files: dict[str, list[int]]
    job: str = ""
    date: float = 0.0

    @property
    def checksum(self) -> int:
        """A checksum of the manifest itself."""
        return zlib.crc32(json.dumps(asdict(self), sort_keys=True).encode())

    def write(self, path: Path) -> None:
        """Write it into a checkpoint that is still under its hidden name."""
        text = json.dumps({**asdict(self), "checksum": self.checksum})
        durable.write(path / MANIFEST, text.encode(), flush=False)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Return a checkpoint's manifest; raise DamagedCheckpoint if there is none or it is damaged."""
        try:
            values = json.loads((path / MANIFEST).read_bytes())
            checksum = None if set(values) == _FIRST_FORM else values.pop("checksum")
            manifest = cls(**values)
            files = {str(name): [int(size), int(crc)] for name, (size, crc) in manifest.files.items()}
            if checksum is None or manifest.checksum == checksum:
                return replace(manifest, step=int(manifest.step), files=files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        raise DamagedCheckpoint(f"{path / MANIFEST}: not the manifest of a checkpoint, or damaged", path)


# ------------------------------------------------------------ writing


def begin(directory: str | os.PathLike[str], step: int, job: str) -> Path:
    """Make and return the folder for a job's checkpoint of this step.

    What processes that died while writing left behind is removed. Raises OSError, also if the directory has become
    another job's.
    """
    if other := taken_by(directory, job):
        raise OSError(errno.EBUSY, f"it belongs to the job {other!r} now", os.fspath(directory))
    for path in Path(directory).glob(f".{_PREFIX}*"):
        if not (path / MANIFEST).exists():
            durable.remove(path)
    path = Path(directory) / f".{_PREFIX}{step:09d}.{secrets.token_hex(4)}"
    path.mkdir(parents=True)
    return path


def seal(path: Path, step: int, job: str, inherited: Collection[str] = ()) -> None:
    """Write the manifest of a checkpoint of this job whose files are complete. Raises OSError.

    Folders in it look after themselves. Files that it shares with an earlier checkpoint of this job are not read again:
    they must be as they were when that was sealed. So must those that are named in `inherited`, though the earlier one
    may be gone by now. A checkpoint that is sealed already, by a master that died before it could complete it, stays as
    it was sealed.
    """
    if _job_of(path) == job:
        return
    own = [file for file in path.iterdir() if file.is_file() and file.name not in (MANIFEST, QUEUE)]
    shared = [file for file in own if file.name in inherited or file.stat().st_nlink > 1]
    known = _shared(path.parent, job) if shared else {}
    files = {file.name: (file in shared and known.get(_inode(file))) or _described(file) for file in own}
    # Some file systems give files another number each time.
    if strange := [file for file in shared if files[file.name] not in known.values()]:
        raise OSError(errno.EIO, "shared with a checkpoint that is damaged or gone", os.fspath(strange[0]))
    Manifest(step, files, job, time.time()).write(path)


def commit(path: str | os.PathLike[str], queue: dict[str, Any], job: str) -> str:
    """Add the task queue's state to a sealed checkpoint and give it its final name, which is returned.

    Raises OSError or DataError if that fails, and then leaves earlier checkpoints untouched.
    """
    unfinished = Path(path)
    if not unfinished.exists() and (done := _finished(unfinished, job)):
        return os.fspath(done)  # by a master that died before it could note it
    manifest = Manifest.read(unfinished)
    durable.write(unfinished / QUEUE, json.dumps(queue).encode(), flush=False)
    replace(manifest, files={**manifest.files, QUEUE: _described(unfinished / QUEUE)}).write(unfinished)
    final = next(name for name in _final_names(unfinished, job) if _may_replace(name, job))
    durable.put(unfinished, final)
    return os.fspath(final)


def _final_names(unfinished: Path, job: str) -> Iterator[Path]:
    """The name that a checkpoint gets, and the next best if that is taken by another job."""
    plain = unfinished.with_name(unfinished.name[1:].partition(".")[0])
    yield plain
    yield plain.with_name(f"{plain.name}-{job}")


def _may_replace(path: Path, job: str) -> bool:
    return not path.exists() or _job_of(path) == job or path.name.endswith(f"-{job}")


def has(directory: str | os.PathLike[str], step: int, job: str) -> bool:
    """Whether there is a complete checkpoint of this job's step."""
    return _finished(Path(directory, f".{_PREFIX}{step:09d}"), job) is not None


def _finished(unfinished: Path, job: str) -> Path | None:
    return next((name for name in _final_names(unfinished, job) if _job_of(name) == job), None)


def whereabouts(unfinished: Path) -> Iterator[Path]:
    """Yield where the checkpoint that was begun at this path may be: there, or under one of its final names."""
    yield unfinished
    plain = unfinished.name[1:].partition(".")[0]
    yield from sorted(unfinished.parent.glob(f"{plain}*"))


def begin_compacting(directory: Path, place: str) -> Path:
    """Make and return a hidden folder for a file that will take the place of several; `place` is who writes it.

    What the same writer made before is removed. Once it is sealed, checkpoints may share its file. Raises OSError.
    """
    for left in directory.glob(f"{_COMPACTED}{place}.*"):
        durable.remove(left)
    path = directory / f"{_COMPACTED}{place}.{secrets.token_hex(4)}"
    path.mkdir()
    return path


def _shared(directory: Path, job: str) -> dict[tuple[int, int], list[int]]:
    """Size and CRC-32 of files of a job's checkpoints that have several names, sealed ones included, by inode."""
    found = {}
    for path in directory.iterdir():
        with contextlib.suppress(DataError, OSError):
            holds = path.name.lstrip(".").startswith(_PREFIX) or path.name.startswith(_COMPACTED)
            if holds and (manifest := Manifest.read(path)).job == job:
                for name, described in manifest.files.items():
                    if (path / name).stat().st_nlink > 1:
                        found[_inode(path / name)] = described
    return found


def _inode(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def prune(newest: str | os.PathLike[str], keep: int, job: str) -> None:
    """Remove this job's checkpoints up to its `newest` that counts, except those that `to_keep` names.

    What cannot be removed stays.
    """
    with contextlib.suppress(OSError):
        kept = to_keep(newest, keep, job)
        for path in _up_to(newest, job) if keep else ():
            if path not in kept:
                discard(path)


def to_keep(newest: str | os.PathLike[str], keep: int, job: str) -> list[Path]:
    """Return the last `keep` of this job's checkpoints up to the `newest`, oldest first; 0 keeps all, and names none.

    Where these all share files with the newest, and one before them does not, that one takes the place of the oldest of
    them: so damage to one file on the disk leaves a checkpoint to go back to.
    """
    own = _up_to(newest, job)
    if not keep or len(own) <= keep:
        return own if keep else []
    kept = own[-keep:]
    alone = [path for path in own if not _inodes(path) & _inodes(own[-1])]
    if keep > 1 and alone and alone[-1] not in kept:
        kept = [alone[-1], *kept[1:]]
    return kept


def _up_to(newest: str | os.PathLike[str], job: str) -> list[Path]:
    """A job's complete checkpoints up to this one, oldest first."""
    own = [path for path in completed(os.path.dirname(newest)) if _job_of(path) == job]
    return own[: own.index(Path(newest)) + 1] if Path(newest) in own else []


def _inodes(path: Path) -> set[tuple[int, int]]:
    with contextlib.suppress(OSError):
        return {_inode(file) for file in path.iterdir() if file.is_file()}
    return set()


def discard(path: str | os.PathLike[str]) -> None:
    """Remove a checkpoint, or what was written of it; what cannot be removed stays."""
    if os.path.basename(path).startswith("."):
        durable.remove(path)
        return
    with contextlib.suppress(OSError):
        durable.take_away(path)


def damaged_name(path: str | os.PathLike[str]) -> str:
    """What a checkpoint is called once it is known to be damaged."""
    return f"{_DAMAGED}{os.path.basename(path)}"


def set_aside(path: str | os.PathLike[str]) -> None:
    """Give a damaged checkpoint another name, under which nothing looks for it; the oldest of those are removed."""
    aside = Path(path).with_name(damaged_name(path))
    with contextlib.suppress(OSError):
        durable.remove(aside)
        os.rename(path, aside)
        os.utime(aside)
    kept = sorted(aside.parent.glob(f"{_DAMAGED}{_PREFIX}*"), key=lambda one: one.stat().st_mtime)
    for old in kept[:-KEPT_DAMAGED]:
        durable.remove(old)


def discard_unfinished(directory: str | os.PathLike[str]) -> None:
    """Remove leftovers of processes that died while writing or publishing, and files that no checkpoint will share."""
    for pattern in (f".{_PREFIX}*", f"{_COMPACTED}*", ".held-*"):
        for path in Path(directory).glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


# ------------------------------------------------------------ reading


def completed(directory: str | os.PathLike[str]) -> list[Path]:
    """The complete checkpoints in a directory, oldest first; damaged ones may be among them.

    Those of the job that wrote last come last, each job's in the order of their steps.
    """
    found: list[tuple[Path, Manifest]] = []
    for path in Path(directory).glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # being removed
            if (path / MANIFEST).exists():
                found.append((path, _manifest_or_name(path)))
    latest: dict[str, float] = {}
    for _, manifest in found:
        latest[manifest.job] = max(manifest.date, latest.get(manifest.job, 0.0))
    found.sort(key=lambda one: (latest[one[1].job], one[1].job, one[1].step, one[0].name))
    return [path for path, _ in found]


def candidates(path: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints that a path stands for, the best first: the one it names, or those in the directory it names."""
    given = Path(path)
    return [given] if (given / MANIFEST).exists() else completed(given)[::-1]


def find(path: str | os.PathLike[str]) -> Path:
    """Return the checkpoint at a path: the one it names, or the newest intact one in the directory it names.

    Raises DamagedCheckpoint if none is intact; the error says what is wrong with each.
    """
    problems = []
    for candidate in candidates(path):
        try:
            verify(candidate)
            return candidate
        except DataError as error:
            problems.append(str(error))
    raise DamagedCheckpoint("; ".join(problems) or f"{path}: no checkpoint found (no {_PREFIX}…/{MANIFEST})", path)


def verify(path: Path, contents_of: Collection[str] | None = None) -> int:
    """Return the step of a checkpoint; raise DamagedCheckpoint if a file is missing, truncated or changed.

    With `contents_of`, only the contents of these files are read; the others must exist and have their size.
    """
    manifest = Manifest.read(path)
    for name, (size, crc) in manifest.files.items():
        file = path / name
        try:
            if file.stat().st_size != size:
                problem = f"has {file.stat().st_size} bytes, but was written with {size}"
            elif (contents_of is None or name in contents_of) and _crc(file) != crc:
                problem = "damaged (its checksum does not match)"
            else:
                continue
        except FileNotFoundError:
            problem = "missing from the checkpoint"
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        raise DamagedCheckpoint(f"{file}: {problem}", path)
    return manifest.step


def _manifest_or_name(path: Path) -> Manifest:
    """A checkpoint's manifest or, if that is damaged, what its name says."""
    try:
        return Manifest.read(path)
    except DataError:
        digits = path.name.removeprefix(_PREFIX).partition("-")[0]
        return Manifest(int(digits) if digits.isdigit() else 0, {}, date=path.stat().st_mtime)


def _job_of(path: Path) -> str | None:
    try:
        return Manifest.read(path).job
    except DataError:
        return None


def _described(file: Path) -> list[int]:
    return [file.stat().st_size, _crc(file)]


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
