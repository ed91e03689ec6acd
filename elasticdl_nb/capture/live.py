"""Which definition does a live object come from? Compares compiled code, as neither classes nor history can tell."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from elasticdl_nb.capture.cells import Piece, first_line

MISSING = object()
# IPython and `site` add names to the module `builtins` that a worker does not have.
PYTHON_BUILTINS = frozenset(dir(builtins)) - {
    *("display", "get_ipython", "__IPYTHON__", "execfile", "runfile", "exit", "quit", "copyright", "credits", "license")
}
_FUTURE_FLAGS = 0x1FF0000  # every bit that `from __future__ import …` sets in `co_flags`


def defines(piece: Piece, value: Any) -> bool | None:
    """Whether the definition made the live `value`; None if there is nothing to compare."""
    node = piece.node
    if isinstance(node, ast.ClassDef):
        if not inspect.isclass(value):
            return None
        methods = _methods(value)
        flags = next(iter(methods.values())).co_flags if methods else 0
        return _same_constants(node, value) and any(
            _same_methods(node, body, methods) for body in _compilations(piece, node.name, flags)
        )
    function = function_of(value)
    if function is None or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    code = function.__code__
    return any(same_code(written, code) for written in _compilations(piece, code.co_name, code.co_flags))


def members(value: Any, depth: int = 2) -> Iterator[Any]:
    """The classes and functions in a registry of any common form."""
    if inspect.isclass(value) or isinstance(value, types.FunctionType):
        yield value
        registered = getattr(value, "registry", None)
        if isinstance(registered, Mapping):
            yield from registered.values()
    elif depth and isinstance(value, Mapping):
        for item in list(value.values()):
            yield from members(item, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in list(value):
            yield from members(item, depth - 1)
    elif depth and hasattr(value, "__dict__"):
        yield from members(vars(value), depth - 1)


def reference(name: str, live: Any) -> str | None:
    """An import that binds a module or one of its objects, or None if the object is neither."""
    if isinstance(live, types.ModuleType):
        return f"import {name}" if live.__name__ == name else f"import {live.__name__} as {name}"
    module, qualname = getattr(live, "__module__", None), getattr(live, "__qualname__", "")
    if not isinstance(module, str) or module in ("__main__", "builtins") or not qualname or "." in qualname:
        return None
    if getattr(sys.modules.get(module), qualname, None) is not live:
        return None
    return f"from {module} import {qualname}" + ("" if qualname == name else f" as {name}")


def function_of(value: Any) -> types.FunctionType | None:
    """Return the function behind decorators and descriptors, or None."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    if not callable(value) or inspect.isclass(value):
        return None
    try:
        value = inspect.unwrap(value)
    except ValueError:
        return None
    return value if isinstance(value, types.FunctionType) else None


def _methods(value: type) -> dict[str, types.CodeType]:
    """The code of the functions that the class statement itself defined."""
    codes = {}
    for attribute in vars(value).values():
        function = function_of(attribute)
        # Methods that dataclasses and similar libraries generate have no file.
        if function is not None and not is_generated(function.__code__):
            codes[function.__name__] = function.__code__
    return {name: code for name, code in codes.items() if code.co_qualname == f"{value.__qualname__}.{name}"}


def _same_methods(node: ast.ClassDef, body: types.CodeType, live: dict[str, types.CodeType]) -> bool:
    written: dict[str, list[types.CodeType]] = {}
    for code in codes_in(body, deep=False):
        written.setdefault(code.co_name, []).append(code)
    if set(live) != {name for name in written if not name.startswith("<") and not _is_class_in(node, name)}:
        return False
    return all(any(same_code(code, candidate) for candidate in written[name]) for name, code in live.items())


def _is_class_in(node: ast.ClassDef, name: str) -> bool:
    return any(isinstance(inner, ast.ClassDef) and inner.name == name for inner in node.body)


def _same_constants(node: ast.ClassDef, value: type) -> bool:
    """Whether the class attributes that are written as literals still have those values."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, written = statement.targets[0].id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            name, written = statement.target.id, statement.value
        else:
            continue
        if isinstance(written, ast.Constant):
            live = vars(value).get(name, MISSING)
            live = getattr(live, "_value_", live)  # a member of an Enum
            if type(live) is type(written.value) and live != written.value:
                return False
    return True


def _compilations(piece: Piece, name: str, flags: int) -> Iterator[types.CodeType]:
    """Code of that name inside the statement, compiled alone, as IPython does, and as part of its file.

    The two differ: calls on a module that the same unit imports are compiled differently.
    """
    for code in codes_in(_compiled(piece.text, flags & _FUTURE_FLAGS)):
        if code.co_name == name:
            yield code
    start, end = first_line(piece.node), piece.node.end_lineno or piece.node.lineno
    for code in codes_in(_compiled(piece.unit, flags & _FUTURE_FLAGS)):
        if code.co_name == name and start <= code.co_firstlineno <= end:
            yield code


@lru_cache(maxsize=1024)
def _compiled(text: str, flags: int) -> types.CodeType:
    code: types.CodeType = compile(
        text, "<cell>", "exec", flags=flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    return code


def is_generated(code: types.CodeType) -> bool:
    """Whether a library such as dataclasses generated the code: it has no source in a cell or file."""
    file = code.co_filename
    return file.startswith("<") and not file.startswith(("<ipython", "<cell", "<timed", "<prun"))


def codes_in(code: types.CodeType, deep: bool = True) -> Iterator[types.CodeType]:
    """Yield every code object inside another."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            if deep:
                yield from codes_in(constant)


def same_code(left: types.CodeType, right: types.CodeType) -> bool:
    """Whether two code objects do the same, wherever they are."""
    same = (
        left.co_code == right.co_code
        and left.co_names == right.co_names
        and left.co_varnames == right.co_varnames
        and left.co_freevars == right.co_freevars
        and len(left.co_consts) == len(right.co_consts)
    )
    return same and all(
        same_code(one, other)
        if isinstance(one, types.CodeType) and isinstance(other, types.CodeType)
        else repr(one) == repr(other)
        for one, other in zip(left.co_consts, right.co_consts, strict=True)
    )


def same_function(piece: Piece, node: ast.FunctionDef | ast.AsyncFunctionDef, value: types.FunctionType) -> bool:
    """Whether that definition inside the statement made a function."""
    code = value.__code__
    return code.co_name == node.name and any(
        same_code(written, code) for written in _compilations(piece, node.name, code.co_flags)
    )
