"""Copying the files of a model zoo, and their digest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elasticdl_nb.runtime.errors import OptionError

LARGEST_FILE = 50 * 2**20
LARGEST_ZOO = 500 * 2**20
MOST_FILES = 20_000
STATE = "state/"
"""Where a packaged notebook has the values of its objects."""

# Says which of a zoo's files stay out of images, so it is copied along.
IGNORE_FILE = ".dockerignore"

_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}
_SKIPPED_SUFFIXES = (".pyc", ".pyo", ".egg-info", ".dist-info")


@dataclass(frozen=True)
class ZooCopy:
    """What `copy_zoo` did: the copy's digest, and a note on each file it left out for its size."""

    digest: str
    notes: tuple[str, ...]


def zoo_files(root: Path, option: str = "model_zoo") -> Iterator[tuple[str, Path]]:
    """Every file that belongs to a zoo: its path relative to the root, with '/', and where it is; sorted by folder.

    Left out are hidden files and folders (but for the root's .dockerignore), byte code, virtual environments and
    installed packages. Links are followed, but no folder is entered twice. Raises OptionError(option, …) for a link
    that leads out of the root: what it points to would be copied into trained models and images.
    """
    seen: set[str] = set()
    home = os.path.realpath(root)
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if not _inside(real, home):
            raise _leaves(root, Path(folder), option)
        folders[:] = sorted(
            name for name in folders
            if not name.startswith(".") and name not in _SKIPPED_FOLDERS and not name.endswith(_SKIPPED_SUFFIXES)
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )  # fmt: skip
        for name in sorted(files):
            path = Path(folder) / name
            name_here = path.relative_to(root).as_posix()
            hidden = name.startswith(".") and name_here != IGNORE_FILE
            if hidden or name.endswith(_SKIPPED_SUFFIXES):
                continue
            if path.is_symlink() and not _inside(os.path.realpath(path), home):
                raise _leaves(root, path, option)
            if path.is_file():
                yield name_here, path


def _inside(path: str, home: str) -> bool:
    return path == home or path.startswith(home.rstrip(os.sep) + os.sep)


def _leaves(root: Path, path: Path, option: str) -> OptionError:
    there = os.path.realpath(path)
    problem = f"{path.relative_to(root)} in {root} leads to {there}, outside of the model zoo"
    return OptionError(option, f"{problem}; put a copy in its place, or remove it")


def copy_zoo(source: str | os.PathLike[str], target: str | os.PathLike[str], option: str = "model_zoo") -> ZooCopy:
    """Copy a zoo into the folder `target`, which may exist.

    Files above 50 MB are left out with a note. Raises OptionError(option, …) for a zoo of more than 500 MB or 20,000
    files, as that is most likely a folder that holds more than a zoo.
    """
    notes: list[str] = []
    chosen: list[tuple[str, Path]] = []
    sizes: dict[str, int] = {}
    for name, path in zoo_files(Path(source), option):
        size = path.stat().st_size
        if name.startswith(STATE):  # bounded where it was written, and the module beside it needs all of it
            chosen.append((name, path))
            continue
        if size > LARGEST_FILE and not name.endswith(".py"):
            notes.append(f"{name} ({size / 2**20:.0f} MB) is too large for a model zoo and was left out")
            continue
        chosen.append((name, path))
        top = name.partition("/")[0]
        sizes[top] = sizes.get(top, 0) + size
        if len(chosen) > MOST_FILES or sum(sizes.values()) > LARGEST_ZOO:
            largest = max(sizes, key=lambda item: sizes[item])
            limit = f"{MOST_FILES:,} files" if len(chosen) > MOST_FILES else f"{LARGEST_ZOO // 2**20} MB"
            raise OptionError(
                option,
                f"{source} has more than {limit} (most of it in {largest}), too much for a model zoo; use a folder "
                "that contains the models' code and little else",
            )
    for name, path in chosen:
        copy = Path(target) / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return ZooCopy(zoo_digest(target), tuple(notes))


def zoo_digest(root: str | os.PathLike[str]) -> str:
    """Return the SHA-256, in hexadecimal, of the names and contents of a zoo's files."""
    total = hashlib.sha256()
    for name, path in sorted(zoo_files(Path(root))):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        total.update(len(name.encode()).to_bytes(8, "little") + name.encode() + content)
    return total.hexdigest()
