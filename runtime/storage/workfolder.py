"""The folder that a job's processes work in if the model reads files that their working directory lacks.

It belongs to the job, so that nothing is put among the user's own files, and what the model's code writes there stays
with the job's logs. The processes of a job say where it is; any other process stays where it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from elasticdl_nb.runtime import durable

_folders: list[Path] = []


def offer(folder: Path) -> None:
    """Let this process change to `folder`, which need not exist yet, when a model's files are missing."""
    _folders[:] = [folder]


def enter(source: str | os.PathLike[str], names: Iterable[str]) -> bool:
    """Change to the offered folder, with the files `names` of the folder `source`; False if none was offered.

    Files that are there already stay as they are: another process of the job has put them there, and may have changed
    them since.
    """
    if not _folders:
        return False
    for name in names:
        target = _folders[0] / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            durable.write(target, Path(source, name).read_bytes())
    os.chdir(_folders[0])
    return True
