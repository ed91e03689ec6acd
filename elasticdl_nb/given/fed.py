"""Data of a training that a process of its own goes on writing, into the directory that the training follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Fed:
    """The data of a job that gets it from such a process: `module` is what Python runs, with the job's folder.

    `settings` are for that process, as JSON values. They are kept, readable for this user alone, until the job is over.
    `begin` writes the first file into the directory.
    """

    module: str
    settings: Mapping[str, Any]
    begin: Callable[[Path], None]
