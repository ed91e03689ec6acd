"""Which files a training that follows its data has used: written with its model, read by a job that goes on from it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

NAME = "used_files.json"
"""The list in a trained model's directory."""


def before(folder: JobFolder) -> list[str]:
    """Return the files that the model was trained on that a job begins with; remembered in the job's folder."""
    kept = folder.listings / NAME
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        given, text = folder.spec().checkpoint_dir_for_init, "[]"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            text = Path(given, NAME).read_text() if given else text
        durable.write(kept, text.encode())
    return [str(path) for path in json.loads(kept.read_text())]


def write(folder: JobFolder, directory: Path) -> None:
    """Write the list of all files that the job and those before it have used; to be called at the job's end."""
    first = [path for path, _ in json.loads((folder.listings / "data.json").read_text())]
    appeared = folder.listings / "data.appeared"
    lines = appeared.read_text().splitlines() if appeared.exists() else []
    used = dict.fromkeys([*before(folder), *first, *(json.loads(line)[0] for line in lines)])
    (directory / NAME).write_text(json.dumps(list(used)))
