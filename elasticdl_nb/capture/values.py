"""Writes values of the notebook's variables as source: exact and short, or not at all."""

from __future__ import annotations

import argparse
import ast
import builtins
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import math
import os
import pathlib
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_SOURCE = 2_000  # characters
MAX_ARRAY = 64  # elements

_PLAIN = (bool, int, str, bytes, complex, type(None), type(...))
_CODE = (types.FunctionType, types.BuiltinFunctionType, type, types.ModuleType)


class NotWritable(Exception):
    """The value cannot be written as exact and short source."""


@dataclass
class Source:
    """An expression for a value, with the package's names that it uses, and the modules, by their aliases.

    `held` are the objects that it makes new copies of, by id; other holders of these objects do not share them.
    """

    text: str = ""
    names: set[str] = field(default_factory=set)
    modules: dict[str, str] = field(default_factory=dict)
    held: dict[int, Any] = field(default_factory=dict)


def write_value(
    value: Any, name_of: Callable[[Any], str | None] = lambda value: None, most: int = MAX_SOURCE
) -> Source | None:
    """Return an expression that makes an equal value of the same type, or None.

    `name_of` returns the package's name for an object inside the value: a function, a class, or anything else that has
    one. It is not called for the value itself.
    """
    writing = _Writing(name_of)
    try:
        writing.source.text = writing.write(value, 0)
    except (NotWritable, RecursionError):
        return None
    except Exception:  # raised by a property of a library's or the user's class
        return None
    return writing.source if len(writing.source.text) <= most else None


def quoted(value: Any) -> str:
    """The `repr` of a value, with double quotes for a text that needs no backslash for them."""
    text = repr(value)
    plain = type(value) is str and text[0] == "'" and '"' not in text and "\\" not in text
    return f'"{text[1:-1]}"' if plain else text


def is_literal_of(node: ast.expr, value: Any) -> bool:
    """Whether the expression is a literal that still equals the live value."""
    try:
        return repr(ast.literal_eval(node)) == repr(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False


def is_immutable(value: Any, depth: int = 4) -> bool:
    """Whether a value is plain and can never change."""
    if isinstance(
        value, (*_PLAIN, float, range, slice, pathlib.PurePath, datetime.date, datetime.time, datetime.timedelta)
    ):
        return True
    if isinstance(value, (decimal.Decimal, fractions.Fraction, enum.Enum, *_CODE)):
        return True
    if type(value) in (tuple, frozenset) and depth:
        return all(is_immutable(item, depth - 1) for item in value)
    if type(value).__module__ != "numpy" or not hasattr(value, "dtype"):
        return False
    return type(value).__name__ not in ("ndarray", "memmap", "recarray", "matrix")


class _Writing:
    def __init__(self, name_of: Callable[[Any], str | None]) -> None:
        self.name_of = name_of
        self.source = Source()
        self.length = 0

    def module(self, name: str) -> str:
        known = self.name_of(sys.modules.get(name))
        if known is not None:  # the notebook imports it, too
            self.source.names.add(known)
            return known
        alias = "_" + name.replace(".", "_")
        self.source.modules[alias] = name
        return alias

    def hold(self, value: Any) -> None:
        if id(value) in self.source.held:
            raise NotWritable  # it occurs twice in the value, and source would make two
        self.source.held[id(value)] = value

    def write(self, value: Any, depth: int) -> str:
        text = self._write(value, depth)
        self.length += 2 if len(text) > 2 else len(text)
        if depth > 12 or self.length > 64 * MAX_SOURCE:
            raise NotWritable
        return text

    def _write(self, value: Any, depth: int) -> str:
        kind = type(value)
        if kind in _PLAIN:
            return "..." if value is ... else quoted(value)
        if kind is float:
            return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
        if depth and not isinstance(value, (tuple, frozenset, float)):
            name = self.name_of(value)
            if name is not None:
                self.source.names.add(name.partition(".")[0])
                return name
        if isinstance(value, _CODE) or kind.__name__ == "ufunc" or kind.__name__ == "_ArrayFunctionDispatcher":
            return self.library(value)
        writer = _WRITERS.get(kind)
        if writer is not None:
            if len(value) > MAX_SOURCE if hasattr(value, "__len__") else False:
                raise NotWritable
            if (kind not in (tuple, frozenset, range, slice) and hasattr(value, "__dict__")) or isinstance(
                value, (list, dict, set, bytearray, collections.deque)
            ):
                self.hold(value)
            return str(writer(self, value, depth))
        if isinstance(value, pathlib.PurePath):
            name = "Path" if isinstance(value, pathlib.Path) else kind.__name__
            return f"{self.module('pathlib')}.{name}({os.fspath(value)!r})"
        if kind.__module__.startswith("IPython.") and isinstance(value, (list, str)):  # the result of `x = !command`
            return self.write(list(value) if isinstance(value, list) else str(value), depth)
        if kind.__module__ == "numpy" or kind.__module__.startswith("numpy.dtypes"):
            return self.numpy(value)
        if isinstance(value, enum.Enum) and kind.__members__.get(value.name) is value:
            return f"{self.own_class(kind)}.{value.name}"
        if (
            isinstance(value, tuple)
            and hasattr(kind, "_fields")
            and kind.__new__.__qualname__.endswith(f"{kind.__name__}.__new__") is not None
        ):
            return self.call(self.own_class(kind), ((name, getattr(value, name)) for name in kind._fields), depth)
        if dataclasses.is_dataclass(value):
            return self.dataclass(value, depth)
        raise NotWritable

    def own_class(self, kind: type) -> str:
        name = self.name_of(kind)
        if name is None:
            raise NotWritable
        self.source.names.add(name.partition(".")[0])
        return name

    def call(self, function: str, pairs: Iterable[tuple[str, Any]], depth: int) -> str:
        return f"{function}({', '.join(f'{name}={self.write(item, depth + 1)}' for name, item in pairs)})"

    def dataclass(self, value: Any, depth: int) -> str:
        kind = type(value)
        fields = dataclasses.fields(value)
        generated = inspect.unwrap(kind.__init__).__code__.co_filename == "<string>"
        names = {one.name for one in fields}
        if (
            not generated
            or hasattr(kind, "__post_init__")
            or not all(one.init for one in fields)
            or vars(value).keys() != names
        ):
            raise NotWritable
        if "__new__" in vars(kind) or ("__setattr__" in vars(kind) and not kind.__dataclass_params__.frozen):
            raise NotWritable
        self.hold(value)
        return self.call(self.own_class(kind), ((one.name, getattr(value, one.name)) for one in fields), depth)

    def library(self, value: Any) -> str:
        """Write a library's function, class or module by its name there."""
        if isinstance(value, types.ModuleType):
            if sys.modules.get(value.__name__) is not value or value.__name__ == "__main__":
                raise NotWritable
            return self.module(value.__name__)
        name = str(getattr(value, "__qualname__", None) or getattr(value, "__name__", ""))
        module: str = getattr(value, "__module__", None) or ("numpy" if type(value).__name__ == "ufunc" else "builtins")
        if (
            not name.isidentifier()
            or ("." in module and any(part.startswith("_") for part in module.split(".")))
            or ".src." in module
        ):
            raise NotWritable
        if getattr(sys.modules.get(module), name, None) is not value or module in ("__main__", "tensorflow"):
            raise NotWritable
        if module == "builtins":
            if self.name_of(value) is None and getattr(builtins, name, None) is value:
                return name
            raise NotWritable
        return f"{self.module(module)}.{name}"

    def numpy(self, value: Any) -> str:
        dtype = getattr(value, "dtype", None)
        np = self.module("numpy")
        if dtype is None:  # a dtype
            if getattr(value, "kind", "V") not in "biufcSUMm":
                raise NotWritable
            return f"{np}.dtype({value.str!r})"
        if dtype.kind not in "biufcSUMm" or type(value).__name__ not in (
            "ndarray",
            type(dtype.type(0)).__name__ if dtype.kind in "biufc" else "",
            "str_",
            "bytes_",
            "datetime64",
            "timedelta64",
        ):
            raise NotWritable
        if value.size > MAX_ARRAY or dtype.name in ("longdouble", "clongdouble", "float128", "complex256"):
            raise NotWritable
        if type(value).__name__ == "ndarray":
            if value.flags.fnc or not value.flags.writeable:
                raise NotWritable
            self.hold(value)
        plain = value.astype(str) if dtype.kind in "Mm" else value
        if dtype.kind == "m":
            plain = value.astype("int64")
        content = self.write(plain.tolist(), 1)
        for key in [key for key, held in self.source.held.items() if isinstance(held, list)]:
            del self.source.held[key]
        name = dtype.name if dtype.kind in "biufc" and dtype.isnative else dtype.str
        if value.shape == () and type(value).__name__ != "ndarray":
            if dtype.kind in "biufc" and dtype.isnative:
                return f"{np}.{type(value).__name__}({content})"
            return f"{np}.array({content}, dtype={name!r})[()]"
        if value.size == 0:
            return f"{np}.zeros({value.shape!r}, dtype={name!r})"
        return f"{np}.array({content}, dtype={name!r})"

    def items(self, opening: str, closing: str, value: Any, depth: int) -> str:
        return opening + ", ".join(self.write(item, depth + 1) for item in value) + closing

    def pairs(self, value: Any, depth: int) -> str:
        return (
            "{" + ", ".join(f"{self.write(k, depth + 1)}: {self.write(v, depth + 1)}" for k, v in value.items()) + "}"
        )

    def set(self, value: Any, depth: int) -> str:
        ordered = sorted(value, key=lambda item: (type(item).__name__, repr(item)))
        return self.items("{", "}", ordered, depth) if value else "set()"

    def defaultdict(self, value: Any, depth: int) -> str:
        factory = value.default_factory
        if factory not in (list, dict, set, int, float, str, bool, tuple, None):
            raise NotWritable
        name = factory.__name__ if factory else None
        return f"{self.module('collections')}.defaultdict({name}, {self.pairs(value, depth)})"

    def namespace(self, function: str, value: Any, depth: int) -> str:
        if not all(name.isidentifier() for name in vars(value)):
            raise NotWritable
        module, _, name = function.rpartition(".")
        return self.call(f"{self.module(module)}.{name}", vars(value).items(), depth)

    def dated(self, value: Any, depth: int) -> str:
        if getattr(value, "tzinfo", None) not in (None, datetime.UTC):
            raise NotWritable
        return repr(value).replace("datetime.", self.module("datetime") + ".")

    def partial(self, value: Any, depth: int) -> str:
        if vars(value):
            raise NotWritable
        self.hold(value)
        given = [self.write(item, depth + 1) for item in (value.func, *value.args)]
        given += [f"{name}={self.write(item, depth + 1)}" for name, item in value.keywords.items()]
        return f"{self.module('functools')}.partial({', '.join(given)})"


def _made(module: str, name: str) -> Callable[[_Writing, Any, int], str]:
    return lambda writing, value, depth: f"{writing.module(module)}.{name}({writing.pairs(value, depth)})"


_WRITERS: dict[type, Callable[[_Writing, Any, int], str]] = {
    list: lambda writing, value, depth: writing.items("[", "]", value, depth),
    tuple: lambda writing, value, depth: writing.items("(", ",)" if len(value) == 1 else ")", value, depth),
    set: _Writing.set,
    frozenset: lambda writing, value, depth: f"frozenset({writing.set(value, depth) if value else ''})",
    dict: _Writing.pairs,
    range: lambda writing, value, depth: repr(value),
    slice: lambda writing, value, depth: (
        f"slice({', '.join(writing.write(part, depth) for part in (value.start, value.stop, value.step))})"
    ),
    bytearray: lambda writing, value, depth: repr(value),
    collections.OrderedDict: _made("collections", "OrderedDict"),
    collections.Counter: _made("collections", "Counter"),
    collections.defaultdict: _Writing.defaultdict,
    collections.deque: lambda writing, value, depth: (
        f"{writing.module('collections')}.deque({writing.items('[', ']', value, depth)}, {value.maxlen})"
    ),
    types.SimpleNamespace: lambda writing, value, depth: writing.namespace("types.SimpleNamespace", value, depth),
    argparse.Namespace: lambda writing, value, depth: writing.namespace("argparse.Namespace", value, depth),
    datetime.datetime: _Writing.dated,
    datetime.date: _Writing.dated,
    datetime.time: _Writing.dated,
    datetime.timedelta: _Writing.dated,
    decimal.Decimal: lambda writing, value, depth: f"{writing.module('decimal')}.Decimal({str(value)!r})",
    fractions.Fraction: lambda writing, value, depth: (
        f"{writing.module('fractions')}.Fraction({value.numerator}, {value.denominator})"
    ),
    functools.partial: _Writing.partial,
}
