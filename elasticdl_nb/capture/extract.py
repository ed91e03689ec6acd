"""Extracts the source of one function or class from the executed statements, however deeply nested it is."""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Iterable, Iterator

from elasticdl_nb.capture.cells import Piece, first_line
from elasticdl_nb.capture.live import same_code
from elasticdl_nb.capture.statements import Statement

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def find_function(statements: Iterable[Statement], function: types.FunctionType) -> tuple[Statement, Definition] | None:
    """Return the newest statement whose source contains a function's code, and its node; None if there is none."""
    code = function.__code__
    for statement in reversed(list(statements)):
        piece = statement.piece
        start, end = first_line(piece.node), piece.node.end_lineno or piece.node.lineno
        if not start <= code.co_firstlineno <= end or (code.co_name != "<lambda>" and code.co_name not in piece.text):
            continue
        for node in _definitions(piece.node, code.co_name):
            if _starts_at(node) == code.co_firstlineno and _compiles_to(node, code):
                return statement, node
    return None


def inner_definition(statement: Statement, name: str, value: object) -> Statement | None:
    """Return the class or function statement inside an `if`, `try` or loop that made `value`, on its own."""
    for node in ast.walk(statement.node):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name != name:
            continue
        if isinstance(node, ast.ClassDef) != isinstance(value, type):
            continue
        plain = isinstance(value, types.FunctionType) and not node.decorator_list
        if plain and first_line(node) != value.__code__.co_firstlineno:  # type: ignore[attr-defined]
            continue
        piece = statement.piece
        inner = Piece(piece.cell, piece.place, node, ast.unparse(node), piece.doubtful, piece.unit)
        return Statement(statement.index, inner, statement.lazy_annotations)
    return None


def as_source(node: Definition, name: str, free: tuple[str, ...]) -> str:
    """Return source that defines a function of the node's code as `name`, without decorators, defaults and annotations.

    If the code has free variables, `name` is an enclosing function that has them as local variables.
    """
    bare = copy.deepcopy(node)
    arguments = bare.args
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [None if one is None else ast.Constant(None) for one in arguments.kw_defaults]
    if isinstance(bare, ast.Lambda):
        if not free:
            return f"{name} = {ast.unparse(bare)}"
        made = f"return {ast.unparse(bare)}"
    else:
        bare.decorator_list, bare.returns = [], None
        for argument in ast.walk(arguments):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        if not free:
            bare.name = name
            return ast.unparse(bare)
        made = f"{ast.unparse(bare)}\nreturn {bare.name}"
    body = "\n".join([*(f"{one} = None" for one in free), made]).replace("\n", "\n    ")
    return f"def {name}():\n    {body}"


def _definitions(node: ast.AST, name: str) -> Iterator[Definition]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Lambda):
            if name == "<lambda>":
                yield inner
        elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) and inner.name == name:
            yield inner


def _starts_at(node: Definition) -> int:
    return node.lineno if isinstance(node, ast.Lambda) else first_line(node)


def _compiles_to(node: Definition, code: types.CodeType) -> bool:
    try:
        made = compile(
            as_source(node, "made", code.co_freevars), "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )  # fmt: skip
    except SyntaxError:
        return False
    for _ in range(2 if code.co_freevars else 1):
        inner = [one for one in made.co_consts if isinstance(one, types.CodeType)]
        if not inner:
            return False
        made = inner[-1]
    return same_code(made, code)
