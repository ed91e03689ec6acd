"""What is sent to the Docker engine: the Dockerfile and what it copies, as a reproducible tar archive."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from elasticdl_nb.images.recipe import Recipe
from elasticdl_nb.images.secrets import refuse_credentials
from elasticdl_nb.runtime.model.saving.zoofiles import IGNORE_FILE, STATE, zoo_files

_REQUIREMENTS = re.compile(r"(requirements|constraints)[\w.-]*\.txt")


def files_of_zoo(zoo: Path) -> dict[str, Path]:
    """Return the files of a zoo that go into an image, keyed by their names with '/'.

    .dockerignore excludes files, except for the values of a packaged notebook, which is nothing without them.
    """
    found = dict(zoo_files(zoo))
    found.pop(IGNORE_FILE, None)
    patterns = ignore_patterns(zoo)
    if patterns:
        from docker.utils.build import exclude_paths

        kept = {path.replace("\\", "/") for path in exclude_paths(str(zoo), patterns)}
        found = {name: path for name, path in found.items() if name in kept or name.startswith(STATE)}
    return found


def ignore_patterns(zoo: Path) -> list[str]:
    """Return the patterns of a zoo's .dockerignore."""
    try:
        lines = (zoo / IGNORE_FILE).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def requirements_of_zoo(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the zoo's requirements files with their contents: requirements.txt and those it includes.

    Raises OptionError("model_zoo", …) if one contains a credential. Empty for a zoo without a requirements.txt.
    """
    if "requirements.txt" not in files:
        return {}
    texts = {name: path.read_text() for name, path in files.items() if _REQUIREMENTS.fullmatch(name)}
    for name, text in texts.items():
        refuse_credentials(name, text)
    return texts


def write_context(
    target: BinaryIO,
    recipe: Recipe,
    files: Mapping[str, Path],
    requirements: Mapping[str, str],
    framework: Mapping[str, bytes],
) -> None:
    """Write the archive; `framework` maps names to the contents of the framework's files."""
    with tarfile.open(fileobj=target, mode="w") as archive:
        _add(archive, "Dockerfile", recipe.dockerfile().encode())
        for name, content in framework.items():
            _add(archive, name, content)
        for name, text in requirements.items():
            _add(archive, f"requirements/{name}", text.encode())
        folder = tarfile.TarInfo("zoo")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, path in sorted(files.items()):
            _add(archive, f"zoo/{name}", path.read_bytes())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))
