"""Files of the notebook's folder that packaged code reads by a relative path that stands in its source."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator

from elasticdl_nb.capture.dependencies import LARGEST_DATA, Dependencies

_NOT_DATA = (".py", ".pyc", ".ipynb")


def add_files_in_use(sources: Iterable[str], directory: str, found: Dependencies) -> list[str]:
    """Add the files that `sources` name to those to ship; return their relative paths. Large ones are warned of."""
    names = []
    for name in dict.fromkeys(text for source in sources for text in _texts(source)):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            continue
        if os.path.isabs(name):
            found.warnings.append(f"{name} is read by an absolute path: it is not packaged; a relative path would be")
        elif any(part.startswith(".") for part in os.path.normpath(name).split(os.sep)):
            outside = os.path.normpath(name).startswith(os.pardir)
            kind = "outside the notebook's folder" if outside else "hidden"
            found.warnings.append(f"{name} is {kind}: it is not packaged")
        elif os.path.getsize(path) > LARGEST_DATA:
            size = os.path.getsize(path) >> 20
            found.warnings.append(
                f"{name} is not packaged, as it is larger than {LARGEST_DATA >> 20} MB ({size} MB); load it in a cell, "
                "or make sure that it exists wherever the model is used"
            )
        else:
            target = os.path.normpath(name).replace(os.sep, "/")
            if target not in found.modules:
                found.files[target] = os.path.abspath(path)
                names.append(target)
    return sorted(names)


def _texts(source: str) -> Iterator[str]:
    """Every text in a source that may be the name of a file."""
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and 0 < len(text) < 1000 and text.isprintable() and not text.endswith(_NOT_DATA):
            yield text
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # Path("data") / "vocab.txt"
            parts = [
                one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            if len(parts) > 1:
                yield "/".join(parts)


def with_files(source: str, names: Iterable[str]) -> str:
    """Return the module's source with a line that makes relative paths to shipped files work from any folder."""
    listed = ", ".join(map(repr, names))
    if not listed:
        return source
    lines = source.splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    for number, line in enumerate(lines):
        if line.startswith("from __future__ "):
            place = number
    added = (
        "\nfrom elasticdl_nb.capture.state import use_files\n\n"
        f"use_files(__file__, {listed})  # read by their relative paths\n"
    )
    return "".join([*lines[: place + 1], added.lstrip("\n"), "\n", *lines[place + 1 :]])
