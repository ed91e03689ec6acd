"""What a zoo's modules call the zoo: `model_zoo`, in `from model_zoo.census import features`.

So they do where the folder above the zoo is on the import path. A job's copy of the zoo has another name, and nothing
but the imports tells.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

_IMPORTS = re.compile(
    r"^[ \t]*(?:from[ \t]+(\w+)\.(\w+)|import[ \t]+(\w+)\.(\w+)|from[ \t]+(\w+)[ \t]+import[\s(]+(\w+))", re.MULTILINE
)


def own_names(root: Path, files: Iterable[Path]) -> frozenset[str]:
    """Return the names N for which one of the files imports `N.x`, N is neither in the zoo nor installed, but x is."""
    found: dict[str, bool] = {}
    for path in files:
        for match in _IMPORTS.finditer(path.read_bytes().decode("utf-8", "replace")):
            first, second = (part for part in match.groups() if part is not None)
            if not found.get(first) and exists(root, second) and not exists(root, first):
                found[first] = not is_installed(first)
    return frozenset(name for name, own in found.items() if own)


def exists(root: Path, name: str) -> bool:
    """Whether there is a module or a folder of that name directly in the zoo."""
    return (root / name).is_dir() or (root / f"{name}.py").is_file()


def is_installed(name: str) -> bool:
    """Whether a package of that name is installed; what only the working directory or PYTHONPATH has does not count."""
    if name in sys.stdlib_module_names:
        return True
    installed = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    if PathFinder.find_spec(name, installed) is not None:
        return True
    # Packages installed with `pip install --editable` have finders of their own.
    others = [one for one in sys.meta_path if one is not PathFinder and not getattr(one, "of_a_zoo", False)]
    return any(finder.find_spec(name, None) is not None for finder in others)
