"""Turns executed cells into pieces of plain Python: magics are expanded or dropped, and files they ran are read."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

Transform = Callable[[str], str]

# Magics whose body (or line) is Python that runs in the notebook's own namespace.
PYTHON_CELL_MAGICS = frozenset({"time", "capture", "prun"})
PYTHON_LINE_MAGICS = frozenset({"time", "prun"})
# Magics whose body is in another language, or is Python that leaves nothing behind.
FOREIGN_CELL_MAGICS = frozenset(
    [
        "!",
        "HTML",
        "SVG",
        "bash",
        "cmd",
        "file",
        "html",
        "javascript",
        "js",
        "latex",
        "markdown",
        "mermaid",
        "perl",
        "pypy",
        "python",
        "python2",
        "python3",
        "ruby",
        "script",
        "sh",
        "sql",
        "svg",
        "system",
        "sx",
        "timeit",
        "writefile",
        "elasticdl_sql",
    ]
)
OWN_MAGICS = "elasticdl_"
PIP = re.compile(r"(?:uv\s+)?pip3?\s+install\s+(.*)|python3?\s+-m\s+pip\s+install\s+(.*)")
PIP_OPTIONS_WITH_VALUE = frozenset(
    [
        "-c",
        "--constraint",
        "-e",
        "--editable",
        "-f",
        "--find-links",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-r",
        "--requirement",
        "-t",
        "--target",
        "--trusted-host",
        "--platform",
        "--prefix",
        "--root",
        "--proxy",
        "--timeout",
        "--python-version",
        "--upgrade-strategy",
    ]
)


@dataclass(frozen=True)
class Cell:
    """One executed cell, as Python after IPython's input transformation.

    `succeeded` is None if that is unknown; `stopped_at` is the line of `source` at which a failed cell stopped.
    `label` is the cell's name in messages, by default `cell [number]`.
    """

    number: int
    source: str
    succeeded: bool | None = None
    stopped_at: int | None = None
    label: str = ""

    @property
    def place(self) -> str:
        """The cell's name in messages."""
        return self.label or f"cell [{self.number}]"


@dataclass(frozen=True)
class Piece:
    """One top-level statement as it was executed: `text` is its source, including the comments above it.

    `doubtful` marks a statement that may not have run to its end; `unit` is the whole source that contained it, and the
    line numbers of `node` refer to that.
    """

    cell: int
    place: str
    node: ast.stmt
    text: str
    doubtful: bool
    unit: str


@dataclass
class Execution:
    """What the cells ran, in order, and the distributions that they installed with pip."""

    pieces: list[Piece] = field(default_factory=list)
    installs: list[str] = field(default_factory=list)


def read_cells(cells: Iterable[Cell], transform: Transform = str, directory: str = ".") -> Execution:
    """Return everything that the cells executed; `transform` turns the body of a cell magic into Python."""
    reader = _Reader(transform, directory)
    for cell in cells:
        reader.read(cell, doubtful=cell.succeeded is False and cell.stopped_at is None)
    return reader.execution


def split_options(body: str) -> tuple[list[str], str]:
    """Split the body of an `%%elasticdl_…` cell into its leading option lines (`--name=value …`) and its Python."""
    lines = body.splitlines(keepends=True)
    options: list[str] = []
    continued = False
    for position, line in enumerate(lines):
        text = line.strip()
        if not (continued or text.startswith("--") or not text):
            return options, "".join(lines[position:])
        if text:
            options.append(text.removesuffix("\\").rstrip())
        continued = text.endswith("\\")
    return options, ""


class _Reader:
    def __init__(self, transform: Transform, directory: str) -> None:
        self.transform = transform
        self.directory = directory
        self.execution = Execution()

    def read(self, cell: Cell, doubtful: bool) -> None:
        for node, text in _statements(cell.source):
            ran, magic = _ran(cell, node), _magic(node)
            if ran is False and magic is not None and _stopped_in(cell, node):
                ran = None  # its Python may have run before it refused something else
            if ran is False:
                continue
            if magic is not None:
                self._run_magic(magic, cell, doubtful or ran is None)
                if isinstance(node, ast.Expr):
                    continue
            self.execution.pieces.append(
                Piece(cell.number, cell.place, node, text, doubtful or ran is None, cell.source)
            )

    def _run_magic(self, magic: tuple[str, ...], cell: Cell, doubtful: bool) -> None:
        match magic:
            case ("run_cell_magic", name, _, body) if name.startswith(OWN_MAGICS) and name not in FOREIGN_CELL_MAGICS:
                self._nested(split_options(body)[1], cell, doubtful)
            case ("run_cell_magic", name, _, body) if name not in FOREIGN_CELL_MAGICS:
                self._nested(body, cell, doubtful or name not in PYTHON_CELL_MAGICS)
            case ("run_line_magic", name, line) if name in PYTHON_LINE_MAGICS:
                self._nested(line, cell, doubtful)
            case ("run_line_magic", "pip" | "uv", line):
                self._install(f"pip {line.removeprefix('pip ')}")
            case ("run_line_magic", "run", line):
                self._run_file(line, cell, doubtful)
            case ("system" | "getoutput" | "system_piped" | "system_raw", line):
                self._install(line.strip())

    def _nested(self, body: str, cell: Cell, doubtful: bool, place: str = "") -> None:
        try:
            source = self.transform(body)
        except SyntaxError:
            return
        self.read(Cell(cell.number, source, None, None, place or cell.place), doubtful)

    def _install(self, command: str) -> None:
        found = PIP.match(command)
        if found:
            self.execution.installs += _pip_arguments(found[1] or found[2])

    def _run_file(self, line: str, cell: Cell, doubtful: bool) -> None:
        names = [word for word in _words(line) if not word.startswith("-")]
        if not names:
            return
        stem = os.path.join(self.directory, os.path.expanduser(names[0]))
        path = next((path for path in (stem, f"{stem}.py", f"{stem}.ipynb") if os.path.isfile(path)), None)
        if path is None:
            return
        with open(path, encoding="utf-8") as file:
            source = file.read()
        place = f"{cell.place}, %run {os.path.basename(path)}"
        for part in notebook_cells(source) if path.endswith(".ipynb") else [source]:
            if path.endswith(".py"):
                self.read(Cell(cell.number, part, None, None, place), doubtful)
            else:
                self._nested(part, cell, doubtful, place)


@lru_cache(maxsize=4096)
def _statements(source: str) -> tuple[tuple[ast.stmt, str], ...]:
    """Every top-level statement with its text; none if the source is not Python."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return ()
    return tuple(_split(body, source.split("\n")))


def _split(body: list[ast.stmt], lines: list[str], indent: int = 0) -> Iterator[tuple[ast.stmt, str]]:
    previous_end = 0
    for position, node in enumerate(body):
        start, end = first_line(node), node.end_lineno or node.lineno
        following = first_line(body[position + 1]) if position + 1 < len(body) else end + 1
        if _is_main_guard(node) and isinstance(node, ast.If):
            # The guard is true in a notebook and in a running script, but false when the packaged module is imported.
            yield from _split(node.body, lines, node.body[0].col_offset)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _each_import(node)
        elif start == previous_end or following == end or indent:
            yield node, ast.unparse(node)
        else:
            while start - 2 >= previous_end and lines[start - 2].startswith("#"):
                start -= 1
            yield node, "\n".join(lines[start - 1 : end])
        previous_end = end


def _each_import(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[ast.stmt, str]]:
    for alias in node.names:
        single: ast.stmt
        if isinstance(node, ast.Import):
            single = ast.Import(names=[alias])
        else:
            single = ast.ImportFrom(module=node.module, names=[alias], level=node.level)
        ast.copy_location(single, node)
        yield single, ast.unparse(single)


def first_line(node: ast.stmt) -> int:
    """The line of the statement's first decorator, or its own."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")


def _ran(cell: Cell, node: ast.stmt) -> bool | None:
    """Whether the statement ran to its end; None if the cell stopped somewhere inside it."""
    if cell.stopped_at is None or (node.end_lineno or node.lineno) < cell.stopped_at:
        return True
    return (
        None if _stopped_in(cell, node) and isinstance(node, (ast.For, ast.While, ast.If, ast.With, ast.Try)) else False
    )


def _stopped_in(cell: Cell, node: ast.stmt) -> bool:
    """Whether the cell stopped at the statement, given that it did not stop after it."""
    return cell.stopped_at is not None and first_line(node) <= cell.stopped_at


def _magic(node: ast.stmt) -> tuple[str, ...] | None:
    """Return `(method, argument, …)` of a `get_ipython().method(…)` statement."""
    value = node.value if isinstance(node, (ast.Expr, ast.Assign)) else None
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)):
        return None
    owner = value.func.value
    if not (isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "get_ipython"):
        return None
    return (value.func.attr, *(str(item.value) for item in value.args if isinstance(item, ast.Constant)))


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


def _pip_arguments(line: str) -> Iterator[str]:
    words = iter(_words(re.split(r"[;&|]", line)[0]))
    for word in words:
        if word in PIP_OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-") and not os.path.exists(word):
            yield word


def notebook_cells(text: str) -> list[str]:
    """Return the sources of the code cells in a notebook file; none if it is not a notebook."""
    try:
        cells = json.loads(text).get("cells", [])
    except ValueError:
        return []
    return ["".join(cell["source"]) for cell in cells if cell.get("cell_type") == "code"]
