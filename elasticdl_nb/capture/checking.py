"""Checks a package before it is used: imported in a fresh process, it must define what the notebook holds."""

from __future__ import annotations

import ast
import os
import re
import tempfile
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.capture.captured import Captured, check, write_zoo
from elasticdl_nb.capture.checker import Checker, checker, stop_checker
from elasticdl_nb.capture.describe import Description, code_digest, describe, differences
from elasticdl_nb.capture.live import codes_in, function_of
from elasticdl_nb.capture.processwide import all_settings
from elasticdl_nb.runtime.errors import CaptureError

IMPORT_TIMEOUT = 300.0  # seconds; on a small machine, importing TensorFlow from a cold disk takes minutes
MOST_SHOWN = 10


@dataclass
class Check:
    """A check in progress: another process is importing the package."""

    captured: Captured
    checker: Checker
    number: int
    root: str
    living: Description
    settings: Description

    def finish(self) -> list[str]:
        """Wait until it has finished; return the differences. Raises CaptureError if the package cannot be imported."""
        answer = self.checker.wait(self.number, IMPORT_TIMEOUT)
        if answer is None:
            stop_checker()
            raise CaptureError([f"importing the packaged module took more than {IMPORT_TIMEOUT:g} s"])
        if answer.status:
            lines = answer.errors.replace(self.root + os.sep, "").strip().splitlines()
            details = "\n      ".join(line for line in lines[-8:] if line.strip())
            raise CaptureError([f"the packaged module cannot be imported in a fresh process:\n      {details}"])
        objects = differences(self.living, answer.description)
        found = [one for one in objects if not (self.captured.scratch and _is_value(*one[1:]))]
        return [self._shown(*one) for one in [*differences(self.settings, answer.settings), *found]]

    def _shown(self, path: str, here: str, there: str) -> str:
        name = path.split(".")[0].split("[")[0]
        place = self.captured.places.get(name, "")
        where = f" ({place})" if place else ""
        path = re.sub(r"\._(?=[a-z])", ".", path)
        return f"{path}{where} is {here or 'missing'} in the notebook, and {there or 'missing'} in the package"


def _is_value(here: str, there: str) -> bool:
    """Whether two variables differ in their values alone."""
    kinds = [re.match(r"tf\.Variable of \w+, \([^)]*\)", text) for text in (here, there)]
    return kinds[0] is not None and kinds[1] is not None and kinds[0][0] == kinds[1][0]


def begin_check(captured: Captured, names: Iterable[str], root: str, module: str) -> Check:
    """Start importing the package in `root` in a fresh process, and describe the living objects in the meantime."""
    process = checker()
    number = process.ask(root, module, [name.partition(".")[0] for name in names], captured.living)
    living = describe(captured.living, frozenset({"__main__"}))
    return Check(captured, process, number, root, living, all_settings())


def is_plain(captured: Captured) -> bool:
    """Whether everything in a package follows from the notebook's source, so that no process is needed to compare it.

    Its code is compared with that of the living functions here, in this process, without running anything.
    """
    if captured.state is not None and captured.state.names:
        return False
    tree = ast.parse(captured.source)
    if not all(_is_plain_statement(node) for node in tree.body):
        return False
    made = {code.co_qualname: code_digest(code) for code in codes_in(compile(tree, "<package>", "exec"))}
    for name, value in captured.living.items():
        functions: dict[str, Any] = {name: value} if isinstance(value, types.FunctionType) else {}
        if isinstance(value, type):
            functions = {f"{name}.{key}": function_of(one) for key, one in vars(value).items()}
        for qualname, function in functions.items():
            ours = function is not None and function.__module__ == "__main__"
            if ours and (qualname not in made or made[qualname] != code_digest(function.__code__)):
                return False
    return True


def _is_plain_statement(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.Assign):
        return all(isinstance(one, ast.Name) for one in node.targets) and _is_literal(node.value)
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.value is not None and _is_literal(node.value)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        defaults = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
        return not node.decorator_list and all(map(_is_literal, defaults))
    if isinstance(node, ast.ClassDef):
        return not node.decorator_list and not node.keywords and all(map(_is_plain_member, node.body))
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_plain_member(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef) and node.decorator_list:
        plain = all(isinstance(one, ast.Name) for one in node.decorator_list)
        return plain and _is_plain_statement(ast.FunctionDef(**{**vars(node), "decorator_list": []}))
    return isinstance(node, ast.Pass) or (
        not isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef)) and _is_plain_statement(node)
    )


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def verify(captured: Captured, names: Iterable[str]) -> None:
    """Import the module in a fresh process, where it must define `names` and match the notebook.

    Raises CaptureError with what went wrong, or with what differs: object, attribute and both values. Takes as long as
    the module's imports; see `checker` for those of TensorFlow.
    """
    check(captured, names)
    with tempfile.TemporaryDirectory(prefix="elasticdl-check-") as folder:
        write_zoo(captured, folder, "packaged")
        report(begin_check(captured, names, os.path.realpath(folder), "packaged").finish())


def report(found: list[str]) -> None:
    """Raise CaptureError with the differences, if there are any."""
    if not found:
        return
    more = [f"and {len(found) - MOST_SHOWN} more differences"] if len(found) > MOST_SHOWN else []
    raise CaptureError(
        [
            *found[:MOST_SHOWN],
            *more,
            "the package would train a different model than the notebook: build what differs in a function, or pass "
            "--no_verify to continue anyway",
        ]
    )
