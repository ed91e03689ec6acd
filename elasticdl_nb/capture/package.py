"""The whole way from cells to a packaged module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from elasticdl_nb.capture.advice import large, shared_memory, weights, weights_of_files
from elasticdl_nb.capture.captured import Captured, StateFiles, check
from elasticdl_nb.capture.cells import Cell, Transform, read_cells
from elasticdl_nb.capture.closure import Search
from elasticdl_nb.capture.compose import compose
from elasticdl_nb.capture.credentialvalues import credentials_in_values
from elasticdl_nb.capture.datafiles import add_files_in_use, with_files
from elasticdl_nb.capture.dependencies import find_dependencies, problems_of_files
from elasticdl_nb.capture.order import Cycle, Line, ordered
from elasticdl_nb.capture.roots import DATA_CURE, Made
from elasticdl_nb.capture.settings import Settings, find_settings
from elasticdl_nb.capture.state.writing import weights_of
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import END, Trace
from elasticdl_nb.runtime.errors import CaptureError


def capture_cells(
    cells: Iterable[Cell],
    namespace: Mapping[str, Any],
    names: Iterable[str],
    *,
    transform: Transform = str,
    directory: str = ".",
    aliases: Mapping[str, str] | None = None,
    scratch: bool = False,
    most_bytes: float = 2 << 30,
) -> Captured:
    """Return the module that defines `names` as the cells left them.

    `cells` are in the order in which they were executed; `namespace` maps names to their current values. `transform`
    turns the body of a cell magic into Python; `directory` is where `%run` finds its files; `aliases` are additional
    names of the module, each with the expression it stands for. With `scratch`, models start from initial weights;
    `most_bytes` limits the size of all values together. Raises CaptureError, which lists everything that cannot be
    packaged.
    """
    wanted = list(dict.fromkeys(name.partition(".")[0] for name in names))
    execution = read_cells(cells, transform, directory)
    trace = Trace(execution.pieces, namespace)
    search, lines, settings = sliced(trace, wanted)
    closure, roots = search.result, search.roots
    if wrong := closure.problems or credentials_in_values(roots.all, trace):
        raise CaptureError(wrong)
    shown = list(dict.fromkeys([*(aliases or {}), *wanted]))
    source, numbers = compose(trace, closure, lines, shown, aliases or {}, settings)
    modules = {module for root in roots.all if root.survey for module in root.survey.modules}
    dependencies = find_dependencies(source, execution.installs, modules, namespace)
    source = with_files(source, add_files_in_use([source, *dependencies.modules.values()], directory, dependencies))
    if wrong := problems_of_files(dependencies):
        raise CaptureError(wrong)
    roots.plan = weights_of((root.survey for root in roots.all if root.survey is not None), scratch)
    notes, remarks = weights(roots.all, roots.plan, scratch)
    remarks += [*large(roots.all), *shared_memory(roots.all), *(() if scratch else weights_of_files(roots.all, trace))]
    warnings = list(dict.fromkeys([*closure.warnings, *dependencies.warnings, *remarks]))
    state = StateFiles()
    for line in lines:
        if isinstance(line, Made) and line.write is not None:
            state.write(line.file, line.write)
    if state.size > most_bytes:
        raise CaptureError([_too_much(state, most_bytes)])
    names_here = dict.fromkeys(name for line in lines for name in sorted(line.binds) if not _is_import(line))
    living = {name: namespace[name] for name in names_here if name in namespace and search.needs_now(name)}
    places = {name: line.piece.place for line in lines if line.piece for name in line.binds}
    captured = Captured(
        source,
        dependencies.requirements,
        dependencies.modules,
        warnings,
        numbers,
        state,
        living,
        places,
        tuple(notes),
        dependencies.files,
        scratch,
    )
    check(captured)
    return captured


def sliced(trace: Trace, wanted: list[str]) -> tuple[Search, list[Line], Settings]:
    """Return what the names need, the lines that make it, in order, and settings; the search holds the problems."""
    search = Search(trace)
    for name in wanted:
        search.need(name, END, "")
    search.finish()
    settings = find_settings(trace, search)
    while not search.result.problems:
        try:
            return search, ordered(trace, search.result, [*search.roots.made(), *settings.made]), settings
        except Cycle as cycle:
            if not search.split(line for line in cycle.lines if isinstance(line, Made)):
                names = sorted({name for line in cycle.lines for name in line.binds})
                search.result.problems.append(
                    f"{', '.join(names)} need each other while they are being made; build one of them in a function"
                )
    return search, [], settings


def _is_import(line: Line) -> bool:
    return isinstance(line, Statement) and line.is_import


def _too_much(state: StateFiles, most_bytes: float) -> str:
    size, most = (f"{number / 2**20:,.0f} MB" for number in (state.size, most_bytes))
    return (
        f"the values that the model needs take {size}, more than the {most} that --max_state_mb allows; the largest "
        f"are {', '.join(state.largest())}. Allow more; {DATA_CURE}"
    )
