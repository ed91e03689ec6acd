"""The whole way from cells to a packaged module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from elasticdl_nb.capture.captured import Captured, check
from elasticdl_nb.capture.cells import Cell, Transform, read_cells
from elasticdl_nb.capture.closure import close_over
from elasticdl_nb.capture.compose import compose
from elasticdl_nb.capture.dependencies import find_dependencies
from elasticdl_nb.capture.trace import Trace
from elasticdl_nb.runtime.errors import CaptureError


def capture_cells(
    cells: Iterable[Cell],
    namespace: Mapping[str, Any],
    names: Iterable[str],
    *,
    transform: Transform = str,
    directory: str = ".",
    aliases: Mapping[str, str] | None = None,
) -> Captured:
    """Return the module that defines `names` as the cells left them.

    `cells` are in the order in which they were executed; `namespace` is what the names mean now and decides wherever
    history alone is ambiguous. `transform` turns the body of a cell magic into Python; `directory` is where `%run`
    finds its files; `aliases` are further names of the module, each with the expression it stands for. Raises
    CaptureError, which lists everything that cannot be packaged.
    """
    wanted = list(dict.fromkeys(name.partition(".")[0] for name in names))
    execution = read_cells(cells, transform, directory)
    trace = Trace(execution.pieces, namespace)
    closure = close_over(trace, wanted)
    if closure.problems:
        raise CaptureError(closure.problems)
    shown = list(dict.fromkeys([*(aliases or {}), *wanted]))
    source, numbers = compose(trace, closure, shown, aliases or {})
    dependencies = find_dependencies(source, execution.installs)
    warnings = list(dict.fromkeys([*closure.warnings, *dependencies.warnings]))
    captured = Captured(source, dependencies.requirements, dependencies.modules, warnings, numbers)
    check(captured)
    return captured
