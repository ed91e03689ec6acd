"""Which versions of a trained model are at a path. Nothing here loads TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.saving.beginning import MESSAGE
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb

LARGEST = 2**63 - 1
"""The largest number of a version that TensorFlow Serving's clients know; folders with others are no versions."""


@dataclass(frozen=True)
class Found:
    """A version in a folder; `mark` changes whenever something else takes its place."""

    number: int
    path: str
    mark: tuple[int, int, int]


def newest(path: str) -> Found | None:
    """Return the newest version at a path, or None if there is none.

    The path is a trained model, which jobs may replace: its version is when it was trained, in seconds since 1970. Or
    it is a folder of trained models that are called 1, 2, …
    """
    if mark := mark_of(path):
        try:
            created = pb.TrainedModel.FromString(Path(path, MESSAGE).read_bytes()).created_at
        except Exception:  # it is being replaced, or damaged, which loading it will say
            created = mark[1] / 1e9
        return Found(max(1, int(created)), path, mark)
    try:
        names = [name for name in os.listdir(path) if name.isdecimal() and name.isascii() and int(name) <= LARGEST]
    except OSError:
        return None
    for name in sorted(names, key=int, reverse=True):
        if mark := mark_of(os.path.join(path, name)):
            return Found(int(name), os.path.join(path, name), mark)
    return None


def mark_of(path: str) -> tuple[int, int, int] | None:
    """Return the mark of the trained model in a folder, or None if there is none."""
    try:
        there = os.stat(os.path.join(path, MESSAGE))
    except OSError:
        return None
    return there.st_ino, there.st_mtime_ns, there.st_size


def must_be_there(path: str) -> Found:
    """Return the newest version at a path; raises OptionError if there is none."""
    found = newest(path)
    if found is None:
        raise OptionError(
            "trained_model", f"{path} is no trained model (it has no {MESSAGE}), nor a folder of them called 1, 2, …"
        )
    return found
