"""Turns a notebook file into a module without running it: what it defines, and what those definitions need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from elasticdl_nb.capture.captured import Captured, check
from elasticdl_nb.capture.cells import Cell, notebook_cells, read_cells
from elasticdl_nb.capture.credentials import written_credentials
from elasticdl_nb.capture.datafiles import add_files_in_use, with_files
from elasticdl_nb.capture.dependencies import find_dependencies, problems_of_files
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.runtime.errors import CaptureError


def capture_notebook(path: str | os.PathLike[str]) -> Captured:
    """Return a module of all functions and classes that the cells of a notebook file define.

    It includes imports, and statements that bind names, as far as functions and classes need them, but no statements
    that only show or train something. Nothing is run. Raises CaptureError for a file without definitions, and for
    anything that cannot be packaged.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    transform: Callable[[str], str] = TransformerManager().transform_cell  # type: ignore[no-untyped-call]
    sources = notebook_cells(Path(path).read_text(encoding="utf-8"))
    cells = [Cell(number, _as_python(source, transform)) for number, source in enumerate(sources, 1)]
    execution = read_cells(cells, transform, os.path.dirname(os.path.abspath(path)))
    statements = [Statement(index, piece) for index, piece in enumerate(execution.pieces)]
    kept = _needed(statements)
    if not any(statement.is_definition for statement in kept):
        raise CaptureError([f"{os.path.basename(path)} defines no functions or classes, and so no model"])
    secrets = [
        f"{name} looks like a credential ({statement.piece.place}): it is not written to the package; read it from "
        "os.environ inside the function and pass it with --envs"
        for statement in kept
        for name in written_credentials(statement.node, statement.text)
    ]
    if secrets:
        raise CaptureError(secrets)
    source = "\n\n".join(statement.text for statement in kept) + "\n"
    found = find_dependencies(source, execution.installs)
    folder = os.path.dirname(os.path.abspath(path))
    source = with_files(source, add_files_in_use([source, *found.modules.values()], folder, found))
    if problems := problems_of_files(found):
        raise CaptureError(problems)
    numbers = sorted({statement.piece.cell for statement in kept})
    captured = Captured(source, found.requirements, found.modules, found.warnings, numbers, files=found.files)
    check(captured)
    return captured


def _as_python(source: str, transform: Callable[[str], str]) -> str:
    try:
        return transform(source)
    except SyntaxError:
        return ""


def _needed(statements: Iterable[Statement]) -> list[Statement]:
    """Definitions, and the statements that bind names that the kept statements use, in their order."""
    everything = list(statements)
    binders: dict[str, list[Statement]] = {}
    for statement in everything:
        for name in statement.binds:
            binders.setdefault(name, []).append(statement)
    # Nobody knows here which names a star import binds.
    waiting = [statement for statement in everything if statement.is_definition or statement.star_module]
    kept: dict[int, Statement] = {}
    while waiting:
        statement = waiting.pop()
        if statement.index not in kept:
            kept[statement.index] = statement
            for name in (*statement.uses.now, *statement.uses.late):
                waiting += binders.get(name, [])
    return [kept[index] for index in sorted(kept)]
