"""Finds what the statement of a class or function does not show: members added or changed later, and defaults."""

from __future__ import annotations

import abc
import ast
import dis
import enum
import types
import typing
from collections.abc import Iterator
from typing import Any

from elasticdl_nb.capture import values
from elasticdl_nb.capture.live import MISSING, function_of, is_generated, same_code, same_function
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import END, Trace

_PURE = (
    ast.Name, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.IfExp, ast.Subscript, ast.Slice,
    ast.JoinedStr, ast.FormattedValue, ast.Load, ast.Store, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_NUMBERS = (bool, int, float, str)
_MADE_BY_PYTHON = (
    types.GetSetDescriptorType, types.MemberDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType,
    types.ClassMethodDescriptorType, types.GenericAlias, typing.TypeVar,
)  # fmt: skip


def overrides(trace: Trace, statement: Statement, name: str, live: Any) -> Iterator[tuple[str, Any]]:
    """Yield `(target, value)` for what the live class or function has, but its statement would not give it."""
    node = statement.node
    if isinstance(node, ast.ClassDef) and isinstance(live, type):
        yield from _of_class(trace, statement, node, name, live)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from _of_function(trace, statement, node, name, live)
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and isinstance(live, types.FunctionType):
        yield from _defaults(trace, statement, node.value.args, name, live)
        yield from _attributes(name, live)
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(live, type):
        yield from _of_called_type(trace, statement, node.value, name, live)


def _of_function(
    trace: Trace, statement: Statement, node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, live: Any
) -> Iterator[tuple[str, Any]]:
    raw: Any = function_of(live)
    if raw is None or raw.__name__ != node.name:
        yield from _of_decorated(name, live)
        return
    if raw is live:
        yield from _defaults(trace, statement, node.args, name, raw)
        if not node.decorator_list:
            yield from _attributes(name, raw)
        return
    wrapped: Any = getattr(live, "__wrapped__", None)
    if wrapped is raw:
        yield from _defaults(trace, statement, node.args, f"{name}.__wrapped__", wrapped)
    yield from _of_decorated(name, live)


def _of_decorated(name: str, live: Any) -> Iterator[tuple[str, Any]]:
    """What a decorator of the notebook keeps: in attributes of its object, or in variables of its function."""
    if isinstance(live, types.FunctionType) and live.__module__ == "__main__":
        for place, (key, cell) in enumerate(zip(live.__code__.co_freevars, live.__closure__ or (), strict=True)):
            written = any(one.opname == "STORE_DEREF" and one.argval == key for one in dis.get_instructions(live))
            if written or type(cell.cell_contents) in (list, dict, set):
                yield f"{name}.__closure__[{place}].cell_contents", cell.cell_contents
        yield from ((f"{name}.{key}", one) for key, one in vars(live).items() if type(one) in (*_NUMBERS, list, dict))
    elif type(live).__module__ == "__main__" and not isinstance(live, type):
        for key, value in vars(live).items() if hasattr(live, "__dict__") else ():
            if key.isidentifier() and not key.startswith("__") and not callable(value):
                yield f"{name}.{key}", value


def _of_called_type(
    trace: Trace, statement: Statement, node: ast.Call, name: str, live: type
) -> Iterator[tuple[str, Any]]:
    """Members of a class made by `type(name, bases, {…})` that have changed since."""
    if len(node.args) != 3 or not isinstance(node.args[2], ast.Dict):
        return
    body = {one.value: value for one, value in zip(node.args[2].keys, node.args[2].values, strict=True)
            if isinstance(one, ast.Constant)}  # fmt: skip
    for key, value in vars(live).items():
        if key not in body:
            if not isinstance(value, _MADE_BY_PYTHON) and _is_added(key, value) and not key.startswith("__"):
                yield f"{name}.{key}", value
        elif _may_override(True, body[key], value) and _differs(trace, statement, body[key], value):
            yield f"{name}.{key}", value


def _attributes(name: str, live: types.FunctionType) -> Iterator[tuple[str, Any]]:
    yield from ((f"{name}.{key}", value) for key, value in vars(live).items() if key.isidentifier())


def _defaults(
    trace: Trace, statement: Statement, arguments: ast.arguments, name: str, live: types.FunctionType
) -> Iterator[tuple[str, Any]]:
    written = arguments.defaults
    now = live.__defaults__ or ()
    if len(written) != len(now) or any(
        _differs(trace, statement, one, value) for one, value in zip(written, now, strict=True)
    ):
        yield f"{name}.__defaults__", live.__defaults__
    named = live.__kwdefaults__ or {}
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    by_name = {argument.arg: default for argument, default in pairs if default is not None}
    if by_name.keys() != named.keys() or any(
        _differs(trace, statement, by_name[key], value) for key, value in named.items()
    ):
        yield f"{name}.__kwdefaults__", live.__kwdefaults__


# ------------------------------------------------------------------ classes


def _of_class(
    trace: Trace, statement: Statement, node: ast.ClassDef, name: str, live: type
) -> Iterator[tuple[str, Any]]:
    if issubclass(live, enum.Enum):
        made = "__init__" in vars(live) or "__new__" in vars(live)
        for member in live:
            for key, value in vars(member).items():
                if not key.startswith("_") and (not made or _is_named_later(trace, statement, key)):
                    yield f"{name}.{member.name}.{key}", value
        known = {*_members(node), *live.__members__}
        for key, value in vars(live).items():
            if key not in known and function_of(value) is not None and _is_named_later(trace, statement, key):
                yield f"{name}.{key}", value
        return
    body = _members(node)
    if issubclass(live, tuple) and hasattr(live, "_fields"):
        for key, value in vars(live).items():
            if key not in {*body, *live._fields} and key[0] != "_" and _is_named_later(trace, statement, key):
                yield f"{name}.{key}", value
        return
    plain = not node.decorator_list and type(live) in (type, abc.ABCMeta) and not _is_watched(live)
    for key, value in vars(live).items():
        target = f"{name}.{key}"
        if isinstance(value, _MADE_BY_PYTHON):
            continue
        if key not in body:
            if _is_added(key, value) and (plain or _is_named_later(trace, statement, key)):
                yield target, value
        elif isinstance(written := body[key], (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _of_method(trace, statement, written, target, value, plain)
        elif isinstance(written, ast.expr) and _may_override(plain, written, value):
            differs = _differs(trace, statement, written, value)
            yield from ((target, value),) if differs else ()
        elif isinstance(written, ast.ClassDef) and isinstance(value, type):
            yield from _of_class(trace, statement, written, target, value)
        elif isinstance(written, ast.expr) and type(value).__module__ == "__main__" and hasattr(value, "__dict__"):
            for attribute, held in vars(value).items():  # of a descriptor, which its name does not lead to
                if type(held) in (list, dict, set) and held:
                    yield f"vars({name})[{key!r}].{attribute}", held
    left: frozenset[str] = getattr(live, "__abstractmethods__", frozenset())
    if {key for base in live.__bases__ for key in getattr(base, "__abstractmethods__", ())} - {*left, *body}:
        yield f"{name}.__abstractmethods__", left  # update_abstractmethods was called
    # A member of the statement that no longer exists.
    for key in body.keys() - vars(live).keys():
        if plain and isinstance(body[key], (ast.FunctionDef, ast.expr)) and not key.startswith("__"):
            yield target_of_absent(name, key), MISSING


def target_of_absent(name: str, key: str) -> str:
    """The target of a member that was deleted."""
    return f"{name}.{key}"


def _of_method(
    trace: Trace,
    statement: Statement,
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    target: str,
    value: Any,
    plain: bool,
) -> Iterator[tuple[str, Any]]:
    if node.decorator_list:
        raw = value.__func__ if isinstance(value, (staticmethod, classmethod)) else None
        if len(node.decorator_list) == 1 and isinstance(raw, types.FunctionType):
            target += ".__func__" if isinstance(value, classmethod) else ""
            yield from _defaults(trace, statement, node.args, target, raw)
        return
    if node.name in ("__new__", "__init_subclass__", "__class_getitem__"):  # implicitly static or class methods
        value = getattr(value, "__func__", value)
    if not plain and isinstance(value, types.FunctionType) and not same_function(statement.piece, node, value):
        yield from _of_decorated(target, value)  # a decorator of the class replaced it
    elif isinstance(value, types.FunctionType) and same_function(statement.piece, node, value):
        yield from _defaults(trace, statement, node.args, target, value)
        yield from _attributes(target, value)
    elif plain and not _is_generated(value):
        yield target, value


def _members(node: ast.ClassDef) -> dict[str, ast.AST]:
    """What the class statement binds: each name with its function, expression, or the compound statement around it."""
    found: dict[str, ast.AST] = {}
    for one in node.body:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[one.name] = one
        elif isinstance(one, ast.Assign) and all(isinstance(target, ast.Name) for target in one.targets):
            found.update({target.id: one.value for target in one.targets if isinstance(target, ast.Name)})
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            if one.value is not None:
                found[one.target.id] = one.value
        else:
            for inner in ast.walk(one):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    found[inner.id] = one
                elif isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                    found[inner.name] = one
                elif isinstance(inner, ast.alias):
                    found[inner.asname or inner.name.partition(".")[0]] = one
    return found


def _is_watched(live: type) -> bool:
    """Whether one of the notebook's base classes adds to the class when it is made."""
    return any(parent.__module__ == "__main__" and "__init_subclass__" in vars(parent) for parent in live.__mro__[1:])


def _is_named_later(trace: Trace, statement: Statement, key: str) -> bool:
    """Whether a later statement seems to set the attribute, rather than whatever else completed the class."""
    later = (one.text for one in trace.statements[statement.index + 1 :] if key in one.text)
    return any("=" in text or "attr" in text for text in later)


def _is_added(key: str, value: Any) -> bool:
    if key.startswith("__") and key.endswith("__"):
        function = function_of(value)
        return function is not None and function.__globals__.get("__name__") == "__main__" and not _is_generated(value)
    return not key.startswith(("_abc_", "_is_protocol", "_is_runtime_protocol")) and not _is_generated(value)


def _is_generated(value: Any) -> bool:
    """Whether a function was generated by a library, such as dataclasses."""
    function = function_of(value)
    return function is not None and is_generated(function.__code__)


def _is_descriptor(value: Any) -> bool:
    if isinstance(value, (types.FunctionType, type, types.BuiltinFunctionType, types.ModuleType)):
        return True
    return hasattr(type(value), "__get__") or type(value).__module__ in ("typing", "types", "typing_extensions")


def _may_override(plain: bool, written: ast.expr, value: Any) -> bool:
    """Whether a member may override its class body; if something else completes the class, only plain data may."""
    if _is_descriptor(value):
        return False
    return plain or _literal(written) is not MISSING or type(value) in (list, dict, set)


# ------------------------------------------------------------------ expressions


def _differs(trace: Trace, statement: Statement, written: ast.expr, live: Any) -> bool:
    """Whether an expression, evaluated at its place in the package, may give something other than `live`."""
    literal = _literal(written)
    if literal is not MISSING:
        return not same_plain(literal, live)
    if _is_descriptor(live):
        return False
    names = {inner.id for inner in ast.walk(written) if isinstance(inner, ast.Name)}
    if isinstance(written, ast.Name):
        if trace.settle(written.id, statement.index) == END and written.id in trace.namespace:
            return trace.live(written.id) is not live
        origin = trace.origin(written.id, statement.index)
        value = getattr(origin.node, "value", None) if origin is not None else None
        literal = _literal(value) if isinstance(value, ast.expr) else MISSING
        return origin is None or not (origin.is_definition or origin.is_import or same_plain(literal, live))
    if all(isinstance(inner, _PURE) for inner in ast.walk(written)) and all(
        trace.settle(one, statement.index) == END for one in names
    ):
        try:
            code = compile(ast.Expression(written), "<default>", "eval")
            again = eval(code, dict(trace.namespace))  # noqa: S307  the user's code, evaluated before, without calls
        except Exception:
            return True
        return not same_plain(again, live)
    if values.is_immutable(live):
        return any(isinstance(inner, ast.Call) for inner in ast.walk(written)) or any(
            trace.settle(one, statement.index) != END for one in names
        )
    return True


def same_plain(one: Any, other: Any) -> bool:
    """Whether two plain values are equal, types included."""
    if one is other:
        return True
    if type(one) is not type(other) or one is MISSING:
        return False
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same_plain, one, other))
    if type(one) is dict:
        return list(one) == list(other) and all(same_plain(one[key], other[key]) for key in one)
    try:
        return bool(repr(one) == repr(other) and one == other) or (one != one and other != other)
    except Exception:
        return False


def same_meaning(one: Any, other: Any) -> bool:
    """Whether two values are equal; functions and classes are if their code, defaults and attributes are."""
    if one is other or not isinstance(one, (type, types.FunctionType)) or type(one) is not type(other):
        return same_plain(one, other)
    if isinstance(one, types.FunctionType) and isinstance(other, types.FunctionType):
        defaults = [(function.__defaults__, function.__kwdefaults__) for function in (one, other)]
        return same_code(one.__code__, other.__code__) and same_plain(*defaults)
    skipped = ("__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__")
    members = [{key: item for key, item in vars(cls).items() if key not in skipped} for cls in (one, other)]
    return members[0].keys() == members[1].keys() and all(
        same_meaning(function_of(item) or item, function_of(members[1][key]) or members[1][key])
        for key, item in members[0].items()
        if not isinstance(item, _MADE_BY_PYTHON)
    )


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return MISSING
