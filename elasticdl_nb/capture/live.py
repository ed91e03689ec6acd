"""Which definition does a live object come from? Compares compiled code, for neither classes nor history tell."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

MISSING = object()
_FUTURE_FLAGS = 0x1FF0000  # every bit that `from __future__ import …` sets in `co_flags`


def defines(text: str, node: ast.stmt, value: Any) -> bool | None:
    """Whether the definition `text` made the live `value`; None if there is nothing to compare."""
    if isinstance(node, ast.ClassDef):
        return _defines_class(text, node, value) if inspect.isclass(value) else None
    function = _function(value)
    if function is None or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    code = function.__code__
    compiled = _compiled(text, code.co_flags & _FUTURE_FLAGS)
    return any(inner.co_name == code.co_name and _same_code(inner, code) for inner in _codes(compiled))


def members(value: Any, depth: int = 2) -> Iterator[Any]:
    """Classes and functions that a registry of any usual form holds."""
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


def _function(value: Any) -> types.FunctionType | None:
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


def _defines_class(text: str, node: ast.ClassDef, value: type) -> bool | None:
    live = {}
    for attribute in vars(value).values():
        function = _function(attribute)
        # Methods that dataclasses and the like generate have no file.
        if function is not None and not function.__code__.co_filename.startswith("<string>"):
            live[function.__name__] = function.__code__
    live = {name: code for name, code in live.items() if code.co_qualname == f"{value.__qualname__}.{name}"}
    if not _same_constants(node, value):
        return False
    flags = next(iter(live.values())).co_flags & _FUTURE_FLAGS if live else 0
    body = next((code for code in _codes(_compiled(text, flags)) if code.co_name == node.name), None)
    if body is None:
        return None
    written: dict[str, list[types.CodeType]] = {}
    for code in _codes(body, deep=False):
        written.setdefault(code.co_name, []).append(code)
    if set(live) != {name for name in written if not name.startswith("<") and not _is_class_in(node, name)}:
        return False
    return all(any(_same_code(code, candidate) for candidate in written[name]) for name, code in live.items())


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


@lru_cache(maxsize=1024)
def _compiled(text: str, flags: int) -> types.CodeType:
    code: types.CodeType = compile(text, "<cell>", "exec", flags=flags, dont_inherit=True)
    return code


def _codes(code: types.CodeType, deep: bool = True) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            if deep:
                yield from _codes(constant)


def _same_code(left: types.CodeType, right: types.CodeType) -> bool:
    same = (
        left.co_code == right.co_code
        and left.co_names == right.co_names
        and left.co_varnames == right.co_varnames
        and left.co_freevars == right.co_freevars
        and len(left.co_consts) == len(right.co_consts)
    )
    return same and all(
        _same_code(one, other)
        if isinstance(one, types.CodeType) and isinstance(other, types.CodeType)
        else repr(one) == repr(other)
        for one, other in zip(left.co_consts, right.co_consts, strict=True)
    )
