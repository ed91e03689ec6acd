"""Functions and classes inside state: if the package has their source, they are written as its place, not by value."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from elasticdl_nb.capture.state import rebuilding
from elasticdl_nb.capture.state.rebuilding import CodePath

# What every class statement makes.
_MADE_BY_CLASS = frozenset({"__dict__", "__weakref__", "__module__", "__qualname__", "__slots__", "_abc_impl"})
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)


class CodeWriter:
    """Says where in the package the source of a notebook's functions and classes is.

    `namespace` holds the notebook's globals. `ask(name)` is called with each global name that is referred to.
    `extract(function)` adds code that no global name leads to to the package, and returns its place.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        ask: Callable[[str], None],
        extract: Callable[[types.FunctionType], tuple[str, CodePath]],
    ) -> None:
        self.namespace, self.ask, self.extract = namespace, ask, extract
        # Functions and classes that are written by value although a name leads to them.
        self.by_value: set[int] = set()
        self._places: dict[types.CodeType, tuple[str, CodePath]] = {}
        self._foreign: dict[types.CodeType, CodePath] = {}
        self._by_id: dict[int, str] = {}

    def is_ours(self, value: Any) -> bool:
        """Whether a function or class was made by the notebook's code."""
        if isinstance(value, types.FunctionType):
            return value.__globals__ is self.namespace or value.__globals__.get("__name__") == "__main__"
        return getattr(value, "__module__", None) == "__main__"

    def name_of(self, value: Any) -> str | None:
        """Return the global name, dots included, that leads to an object of the notebook, and request it."""
        dotted = self.find_name(value)
        if dotted is not None:
            self.ask(dotted.partition(".")[0])
        return dotted

    def find_name(self, value: Any) -> str | None:
        """See `name_of`; requests nothing."""
        if id(value) in self.by_value:
            return None
        qualname = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        if isinstance(qualname, str) and "<" not in qualname:
            found = reach(qualname, self.namespace)
            if found is value:
                return qualname
        known = self._by_id.get(id(value))
        if known is not None and self.namespace.get(known) is value:
            return known
        for name, other in self.namespace.items():
            if other is value and not name.startswith("_"):
                self._by_id[id(value)] = name
                return name
        return None

    # ------------------------------------------------------------------ functions

    def reduce_function(self, function: types.FunctionType, pickler: Any) -> Any:
        """See `StatePickler.reducer_override`."""
        if not self.is_ours(function):
            return self._reduce_foreign(function, pickler)
        dotted = self.name_of(function)
        if dotted is not None:
            return rebuilding.named, (dotted,)
        owner, path = self.place_of(function)
        pickler.held[id(function)] = function
        return self._by_place(None, owner, path, function)

    def place_of(self, function: types.FunctionType) -> tuple[str, CodePath]:
        """Return the global name of the function whose code contains this one's, and the path to it there."""
        code = function.__code__
        if code not in self._places:
            owner = code.co_qualname.partition(".<locals>")[0]
            home = reach(owner, self.namespace) if "<" not in owner else None
            path = nested_path(code_of(home), code) if id(home) not in self.by_value else None
            self._places[code] = self.extract(function) if path is None else (owner, path)
        owner, path = self._places[code]
        self.ask(owner.partition(".")[0])
        return owner, path

    def _reduce_foreign(self, function: types.FunctionType, pickler: Any) -> Any:
        """Reduce a library's function to its name, or to its place in the library's code."""
        module = function.__globals__.get("__name__", "")
        loaded = sys.modules.get(module)
        owner = function.__code__.co_qualname.partition(".<locals>")[0]
        if "<locals>" not in function.__code__.co_qualname:
            importable = sys.modules.get(function.__module__ or "")
            if importable is not None and reach(function.__qualname__, vars(importable)) is function:
                return NotImplemented
        code = function.__code__
        if code not in self._foreign and loaded is not None:
            path = nested_path(code_of(reach(owner, vars(loaded))), code)
            if path is not None:
                self._foreign[code] = path
        path = self._foreign.get(code)
        if path is None:
            return NotImplemented
        pickler.modules.add(module)
        return self._by_place(module, owner, path, function)

    def _by_place(self, module: str | None, owner: str, path: CodePath, function: types.FunctionType) -> Any:
        cells = function.__closure__ or ()
        state: dict[str, Any] = {"cells": [(cell, cell.cell_contents) for cell in cells if _is_full(cell)]}
        for name in ("__defaults__", "__kwdefaults__", "__qualname__", "__doc__", "__annotations__"):
            value = getattr(function, name)
            if value:
                state[name] = value
        attributes = vars(function)
        if attributes:
            state["attributes"] = dict(attributes)
        state["__module__"] = function.__module__ if function.__module__ != "__main__" else None
        if state["__module__"] is None:
            del state["__module__"]
        made = (module, owner, path, function.__name__, tuple(cells))
        return rebuilding.make_function, made, state, None, None, rebuilding.set_function

    # ------------------------------------------------------------------ classes

    def reduce_class(self, cls: type, pickler: Any) -> Any:
        """See `StatePickler.reducer_override`."""
        if not self.is_ours(cls):
            if cls.__module__ == "builtins" and getattr(sys.modules["builtins"], cls.__qualname__, None) is not cls:
                alias = next((name for name, one in vars(types).items() if one is cls), None)
                return (getattr, (types, alias)) if alias else NotImplemented
            module = vars(sys.modules.get(cls.__module__, types))
            if reach(cls.__qualname__, module) is not cls:
                # A class that a library nests in another one, without showing it in its qualified name.
                owner = next(
                    (one for one in module.values() if isinstance(one, type) and cls in vars(one).values()), None
                )
                if owner is not None:
                    return getattr, (owner, next(name for name, one in vars(owner).items() if one is cls))
                dotted = self.name_of(cls)  # a library made it for the notebook, such as make_dataclass
                if dotted is not None:
                    return rebuilding.named, (dotted,)
            return NotImplemented
        dotted = self.name_of(cls)
        if dotted is not None:
            return rebuilding.named, (dotted,)
        pickler.held[id(cls)] = cls
        body = vars(cls)
        first = {name: body[name] for name in ("__slots__", "__qualname__", "__doc__") if name in body}
        first["__qualname__"] = cls.__qualname__
        members = {
            name: value
            for name, value in body.items()
            if name not in _MADE_BY_CLASS and name not in first and not isinstance(value, _DESCRIPTORS)
        }
        made = (type(cls), cls.__name__, cls.__bases__, first)
        return rebuilding.make_class, made, members, None, None, rebuilding.set_class


def reach(dotted: str, namespace: Mapping[str, Any]) -> Any:
    """Return what a dotted name leads to, past descriptors; None if it leads nowhere."""
    root, *attributes = dotted.split(".")
    found = namespace.get(root)
    for attribute in attributes:
        if found is None:
            return None
        found = (
            inspect.getattr_static(found, attribute, None) if isinstance(found, type) else vars_get(found, attribute)
        )
        found = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
    return found


def vars_get(value: Any, name: str) -> Any:
    """Return an attribute of an object itself, or None."""
    found = getattr(value, "__dict__", None)
    return found.get(name) if isinstance(found, Mapping) else None


def code_of(value: Any) -> types.CodeType | None:
    """Return the code of a function, past its decorators and descriptors; None for anything else."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value) if isinstance(value, (staticmethod, classmethod)) else value
    if isinstance(value, type) or not callable(value):
        return None
    try:
        value = inspect.unwrap(value)
    except ValueError:
        return None
    code = getattr(value, "__code__", None)
    return code if isinstance(code, types.CodeType) else None


def nested_path(outer: types.CodeType | None, wanted: types.CodeType) -> CodePath | None:
    """Return the path from a function's code to one that is nested in it, or None."""
    if outer is None:
        return None
    if outer is wanted or outer == wanted:
        return ()
    places: dict[str, int] = {}
    for inner in outer.co_consts:
        if isinstance(inner, types.CodeType):
            place = places.get(inner.co_name, 0)
            places[inner.co_name] = place + 1
            path = nested_path(inner, wanted)
            if path is not None:
                return ((inner.co_name, place), *path)
    return None


def _is_full(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
