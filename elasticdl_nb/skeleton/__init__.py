"""The files of a new model zoo, for `elasticdl zoo init`."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

from elasticdl_nb.runtime.errors import OptionError

# Names in this package, where hidden files would be lost, and their names in the zoo.
FILES = {
    "my_model.py": "my_model.py",
    "requirements.txt": "requirements.txt",
    "README.md": "README.md",
    "dockerignore": ".dockerignore",
}


def write_skeleton(folder: Path) -> list[Path]:
    """Write the files to a folder, which is created if necessary; return their paths.

    Raises OptionError("model_zoo", …), and writes nothing, if one of them exists.
    """
    targets = {folder / name: source for source, name in FILES.items()}
    for target in targets:
        if os.path.lexists(target):
            raise OptionError("model_zoo", f"{target} already exists and was not changed; use another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError("model_zoo", f"{folder} cannot be created: {error.strerror}") from None
    for target, source in targets.items():
        target.write_bytes((importlib.resources.files(__name__) / source).read_bytes())
    return list(targets)
