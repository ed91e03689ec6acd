"""Places in the user's code, as messages name them: code that was captured from a notebook is known by its cells."""

from __future__ import annotations

import re
from pathlib import Path

CAPTURED_FILE = "captured_from_session.py"
_CELL = re.compile(r"# (cell \[\d+\])")


def file_name(relative: str) -> str:
    """Return the name of a file of the zoo; `relative` is its path from there."""
    return "this session" if relative == CAPTURED_FILE else relative


def place(path: Path, relative: str, line: int) -> str:
    """Return the place of a line of that file: `cell [3]` for captured code, else `layers.py, line 12`."""
    if relative == CAPTURED_FILE:
        above = path.read_text(encoding="utf-8").splitlines()[:line]
        cells = [found[1] for one in above if (found := _CELL.fullmatch(one))]
        if cells:
            return cells[-1]
    return f"{file_name(relative)}, line {line}"
