"""Records that could not be used, kept in files beside each other: JSON lines, a file for each range of offsets.

A file appears when it is complete. A range that is read again writes the same file; offsets that are in another file
already, as those of a job that was cancelled in the midst of a range, are left out.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from elasticdl_nb.runtime.data import files

_NAME = re.compile(r"(\d+)-(\d+)-(\d+)\.jsonl")


class Letter(NamedTuple):
    """A record that could not be used, and why."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    reason: str


def write(folder: str, topic: str, partition: int, start: int, end: int, letters: Sequence[Letter]) -> None:
    """Write those of offsets [start, end) of a partition into a folder, which may be in an object store."""
    name = f"{partition:05d}-{start:015d}-{end:015d}.jsonl"
    there = [one for one in _ranges(folder, partition) if one != (start, end)]
    left = [one for one in letters if not any(a <= one.offset < b for a, b in there)]
    if not left:
        return
    with files.write_aside(os.path.join(folder, name)) as file:
        for one in left:
            file.write(json.dumps(_line(topic, partition, one)).encode() + b"\n")


def _ranges(folder: str, partition: int) -> list[tuple[int, int]]:
    fs, inner = files.file_system(files.plain(folder), "dead_letters")
    try:
        names = [path.rpartition("/")[2] for path in fs.ls(inner, detail=False)]
    except FileNotFoundError:
        return []
    found = [match for name in names if (match := _NAME.fullmatch(name)) and int(match[1]) == partition]
    return [(int(match[2]), int(match[3])) for match in found]


def _line(topic: str, partition: int, letter: Letter) -> dict[str, Any]:
    return {
        "topic": topic, "partition": partition, "offset": letter.offset, "timestamp": letter.timestamp,
        "key": _text(letter.key), "value": _text(letter.value), "reason": letter.reason,
    }  # fmt: skip


def _text(value: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as text, or, if they are none, in base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
