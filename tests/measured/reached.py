"""Which lines of this project a process reaches: counted by the lines themselves.

Before Python 3.12, coverage traces every line that a process runs, including those of all libraries: tests/client needs
about a third more processor time. So the modules of this project are compiled once, with a mark before each statement,
and the result is kept. A process writes its marks when it ends, even by `os._exit`. A process that ends by SIGKILL, or
by SIGTERM without a handler, is not counted, and neither is anything that runs in pods. Functions that numba compiles
have no marks, and neither does code that AutoGraph converts, as it is recompiled from the source. `coverage_report.py`
combines the files for coverage, which does the rest.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import marshal
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, NoReturn

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("elasticdl_nb", "magics", "model_zoo", "runtime", "widgets")
OWN = tuple(os.path.join(ROOT, folder, "") for folder in FOLDERS)
PACKAGES = ("elasticdl_nb", "elasticdl")
GENERATED = ("_pb2.py", "_pb2_grpc.py")
DATA = os.path.join(ROOT, "build", "coverage")

_marks: dict[str, list[int]] = {}


def start() -> None:
    """Mark all modules imported from now on, and write the marks when the process ends."""
    for folder in ("code", "lines"):
        os.makedirs(os.path.join(DATA, folder), exist_ok=True)
    sys.meta_path.insert(0, _Finder())
    atexit.register(write)
    leave = os._exit

    def write_and_leave(status: int) -> NoReturn:
        with contextlib.suppress(Exception):
            write()
        leave(status)

    os._exit = write_and_leave


def write() -> None:
    """Write a byte for each line of each file: whether it was reached."""
    if _marks:
        path = os.path.join(DATA, "lines", f"{os.getpid()}-{os.urandom(4).hex()}")
        _put(path, marshal.dumps({name: bytes(marks) for name, marks in _marks.items()}))


def marks_of(path: str, lines: int) -> list[int]:
    """Return the marks of a file; each module that is compiled here calls this first."""
    return _marks.setdefault(path, [0] * (lines + 1))


class _Finder:
    """Finds this project's modules like the other finders, but has them loaded with marks."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in PACKAGES:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            file = spec.loader.path
            if file.startswith(OWN) and not file.endswith(GENERATED):
                spec.loader = _Loader(name, file)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        found = os.stat(self.path)
        relative = os.path.relpath(self.path, ROOT)
        kept = os.path.join(DATA, "code", f"{relative.replace(os.sep, '-')}-{found.st_mtime_ns}-{found.st_size}")
        with contextlib.suppress(FileNotFoundError), open(kept, "rb") as file:
            code: CodeType = marshal.load(file)
            return code
        tree = with_marks(ast.parse(self.get_data(self.path)), relative)
        code = compile(tree, self.path, "exec", dont_inherit=True)
        _put(kept, marshal.dumps(code))
        return code


def _put(path: str, content: bytes) -> None:
    """Write a file atomically; skip it if the folder has been removed."""
    aside = f"{os.path.dirname(path)}-{os.getpid()}"
    with contextlib.suppress(OSError):
        with open(aside, "wb") as file:
            file.write(content)
        os.replace(aside, path)


def with_marks(tree: ast.Module, path: str) -> ast.Module:
    """Put a mark before each statement of a module."""
    lines = max((node.end_lineno or 0 for node in tree.body), default=0)
    _Marking().visit(tree)
    early = [at for at, node in enumerate(tree.body) if _is_docstring(node, at) or _is_of_the_future(node)]
    first = early[-1] + 1 if early else 0
    begin = ast.parse(f"from reached import marks_of as __reached__\n__reached__ = __reached__({path!r}, {lines})").body
    tree.body[first:first] = [*begin, *(_mark([tree.body[at].lineno]) for at in early)]
    return ast.fix_missing_locations(tree)


class _Marking(ast.NodeTransformer):
    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.FunctionDef) and any(getattr(d, "id", "") == "compiled" for d in node.decorator_list):
            return node
        if not isinstance(node, ast.expr):
            self.generic_visit(node)
            for field in ("body", "orelse", "finalbody"):
                if isinstance(statements := getattr(node, field, None), list):
                    setattr(node, field, [each for at, one in enumerate(statements) for each in _marked(one, at)])
            # If a branch was entered, its condition and those before it were evaluated.
            for field in ("handlers", "cases"):
                asked: list[int] = []
                for branch in getattr(node, field, ()):
                    asked.append(branch.lineno if field == "handlers" else branch.pattern.lineno)
                    branch.body.insert(0, _mark(asked))
        return node


def _marked(statement: ast.stmt, at: int) -> list[ast.stmt]:
    if _is_docstring(statement, at) or _is_of_the_future(statement):
        return [statement]
    decorators = [decorator.lineno for decorator in getattr(statement, "decorator_list", ())]
    return [_mark([*decorators, statement.lineno]), statement]


def _mark(lines: Sequence[int]) -> ast.Assign:
    name = ast.Name("__reached__", ast.Load())
    marks: list[ast.expr] = [ast.Subscript(name, ast.Constant(line), ast.Store()) for line in dict.fromkeys(lines)]
    return ast.Assign(marks, ast.Constant(1), lineno=lines[-1], end_lineno=lines[-1], col_offset=0)


def _is_docstring(statement: ast.stmt, at: int) -> bool:
    return at == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_of_the_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
