"""Folders of versions of a trained model, which are called 1, 2, …; the highest number is the newest.

Jobs that publish while they train make such folders. Beside the trained model itself, each of their versions has a
record that says what it includes. A version gets its name once it is complete, and then never changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError

RECORD = "version.json"
MESSAGE = "trained_model.pb"
"""The file that makes a folder a trained model."""

_ASIDE = re.compile(r"\.(\d+)\.\d+\.[0-9a-f]{8}")


@dataclass(frozen=True)
class VersionRecord:
    """What a version includes: the job's `step` and `records` that were in its model at the time `includes_until`.

    Times are in seconds since 1970. `final` says that it is the trained model with which the job ended. `follows` has
    the ids of each server's files in the checkpoint that it was made of. What comes after the last of them may be a
    delta; after an earlier one, too, unless the job has gone back since, which it had done `rollbacks` times.
    """

    job: str
    step: int
    records: int
    includes_until: float
    published: float
    final: bool = False
    checkpoint: str = ""
    follows: list[list[str]] = field(default_factory=list)
    rollbacks: int = 0

    def bases(self, rollbacks: int) -> list[list[str]]:
        """Return the ids after which a delta may come, of each server, when the job has gone back so many times."""
        return self.follows if rollbacks == self.rollbacks else [ids[-1:] for ids in self.follows]

    def write(self, folder: Path) -> None:
        """Write it into the folder of a version that has no name yet. Raises OSError."""
        durable.write(folder / RECORD, json.dumps(asdict(self), indent=1).encode(), flush=False)

    @classmethod
    def read(cls, folder: Path) -> VersionRecord:
        """Read back what `write` wrote; raises DataError if there is none or it is damaged."""
        try:
            return cls(**json.loads((folder / RECORD).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{folder / RECORD} cannot be read: {error}") from None


def numbered(folder: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """Return the versions in a folder, oldest first; none if it cannot be read."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.isdecimal() and name.isascii() and (Path(folder, name) / MESSAGE).is_file():
                found.append((int(name), Path(folder, name)))
    return sorted(found)


def is_version_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path on this machine holds versions of a trained model, rather than being one."""
    return not Path(path, MESSAGE).exists() and bool(numbered(path))


def newest(path: str) -> str:
    """Return the newest version in a folder of versions; any other path or URL is returned as it is."""
    if not path or "://" in path or not is_version_folder(path):
        return path
    return os.fspath(numbered(path)[-1][1])


def has_only_versions(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder that exists has nothing but versions in it, hidden files aside."""
    versions = {path.name for _, path in numbered(folder)}
    return all(name in versions or name.startswith(".") for name in os.listdir(folder))


def next_number(folder: str | os.PathLike[str]) -> int:
    """Return a number above that of everything in a folder."""
    with contextlib.suppress(FileNotFoundError):
        return 1 + max((int(name) for name in os.listdir(folder) if name.isdecimal() and name.isascii()), default=0)
    return 1


def records_of(folder: str | os.PathLike[str]) -> list[tuple[int, Path, VersionRecord]]:
    """Return the versions in a folder that jobs have published, oldest first, with their records."""
    found = []
    for number, path in numbered(folder):
        with contextlib.suppress(DataError):
            found.append((number, path, VersionRecord.read(path)))
    return found


def held(path: str, folder: Path) -> str:
    """Return a version that stays, though its job may remove the one at `path`: the same files, in a new folder.

    Where that cannot be made, and for everything but versions that jobs have published, returns the path.
    """
    if "://" in path or not Path(path, RECORD).exists():
        return path
    try:
        shutil.copytree(path, folder, copy_function=os.link)
    except (OSError, shutil.Error):
        durable.remove(folder)
        return path
    return os.fspath(folder)


def clear_left_behind(folder: str | os.PathLike[str]) -> None:
    """Remove what processes of this machine that are dead have left of versions that they wrote or removed."""
    with contextlib.suppress(FileNotFoundError):
        for number in {match[1] for name in os.listdir(folder) if (match := _ASIDE.fullmatch(name))}:
            durable.clear_left_behind(Path(folder, number))


def prune(folder: str | os.PathLike[str], keep: int) -> None:
    """Remove all but the last `keep` versions that jobs have published; 0 keeps all. What cannot be removed stays."""
    published = records_of(folder)
    for _, path, _ in published[:-keep] if keep else ():
        with contextlib.suppress(OSError):
            durable.take_away(path)


def records_in(state: Mapping[str, Any]) -> int:
    """Return how many records are in the model, of the state that a checkpoint keeps of its job's tasks."""
    queue = state["queue"]
    return int(queue["records_done"]) + sum(sum(skip) for _, _, _, _, _, *skip in queue["waiting"])
