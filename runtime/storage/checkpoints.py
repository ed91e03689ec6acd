"""A directory of checkpoints: `step-000000120/` holds the job's state after step 120.

A checkpoint is written under a hidden name, gets a manifest (size and CRC-32 of each file) and the task queue's state
from the same instant, and is flushed to the disk. Only then does it get its final name, so a checkpoint with that name
survives a power failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import zlib
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError

MANIFEST = "manifest.json"
QUEUE = "queue.json"
_PREFIX = "step-"


def begin(directory: str | os.PathLike[str], step: int) -> Path:
    """Make and return the folder for this step's checkpoint."""
    path = Path(directory) / f".{_PREFIX}{step:09d}.{secrets.token_hex(4)}"
    path.mkdir(parents=True)
    return path


def seal(path: Path, step: int) -> None:
    """Write the manifest of a checkpoint whose files are complete."""
    files = {file.name: [file.stat().st_size, _crc(file)] for file in path.iterdir()}
    durable.write(path / MANIFEST, json.dumps({"step": step, "files": files}).encode(), flush=False)


def commit(path: str | os.PathLike[str], queue: dict[str, Any]) -> str:
    """Add the task queue's state to a sealed checkpoint and give it its final name, which is returned.

    Raises OSError if that fails, and then leaves earlier checkpoints untouched.
    """
    unfinished = Path(path)
    final = unfinished.with_name(unfinished.name[1:].partition(".")[0])
    if final.exists() and not unfinished.exists():
        return os.fspath(final)  # by a master that died before it could note it
    durable.write(unfinished / QUEUE, json.dumps(queue).encode(), flush=False)
    durable.put(unfinished, final)
    return os.fspath(final)


def prune(directory: str | os.PathLike[str], keep: int) -> None:
    """Remove all but the newest `keep` checkpoints; 0 keeps all."""
    complete = completed(directory)
    for path in complete[: max(0, len(complete) - keep)] if keep else []:
        with contextlib.suppress(OSError):
            durable.take_away(path)


def discard_unfinished(directory: str | os.PathLike[str]) -> None:
    """Remove leftovers of processes that died while writing."""
    for path in Path(directory).glob(f".{_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def completed(directory: str | os.PathLike[str]) -> list[Path]:
    """The complete checkpoints in a directory, oldest first."""
    return sorted(path for path in Path(directory).glob(f"{_PREFIX}*") if (path / MANIFEST).exists())


def find(path: str | os.PathLike[str]) -> Path:
    """Return the checkpoint at a path: the one it names, or the newest intact one in the directory it names.

    Raises DataError if none is intact; the error says what is wrong with each.
    """
    given = Path(path)
    candidates = [given] if (given / MANIFEST).exists() else completed(given)[::-1]
    problems = []
    for candidate in candidates:
        try:
            verify(candidate)
            return candidate
        except DataError as error:
            problems.append(str(error))
    raise DataError("; ".join(problems) or f"{given}: no checkpoint found (no {_PREFIX}…/{MANIFEST})")


def verify(path: Path) -> int:
    """Return the step of a checkpoint; raise DataError if one of its files is missing, truncated or changed."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files = dict(manifest["files"])
        step = int(manifest["step"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path / MANIFEST}: not the manifest of a checkpoint") from None
    for name, (size, crc) in files.items():
        file = path / name
        if not file.exists():
            raise DataError(f"{file}: missing from the checkpoint")
        if file.stat().st_size != size:
            raise DataError(f"{file}: has {file.stat().st_size} bytes, but was written with {size}")
        if _crc(file) != crc:
            raise DataError(f"{file}: damaged (its checksum does not match)")
    return step


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
