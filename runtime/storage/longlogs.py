"""Keeping the logs of a job that does not end within bounds: of one that has grown too long, the end is left."""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 64 << 20
"""A longer log is cut."""

KEPT_BYTES = 8 << 20
"""What is left of it."""


def cut(path: Path, most: int = MOST_BYTES, keep: int = KEPT_BYTES) -> None:
    """Leave only the last whole lines of a log of more than `most` bytes, at most `keep` bytes of them.

    Processes that write to it must append. What one writes at this very moment may be lost. Nothing else is, if this
    fails: the lines are copied over the log's beginning, which takes no room on a full disk, and only then is it cut.
    Raises OSError.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    if size <= most:
        return
    with path.open("r+b", buffering=0) as file:
        file.seek(size - keep)
        end = file.read()
        lines = end[end.find(b"\n") + 1 :]
        kept = f"[{size - len(lines):,} bytes of earlier lines were dropped]{os.linesep}".encode() + lines
        file.seek(0)
        written = 0
        while written < len(kept):
            written += file.write(kept[written:])
        file.truncate(written)
