"""Capture for Python callers: finds the script or notebook that defines their objects."""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Mapping
from typing import Any

from elasticdl_nb.capture import values
from elasticdl_nb.capture.captured import Captured
from elasticdl_nb.capture.cells import Cell, Transform
from elasticdl_nb.capture.history import Shell, executed_cells
from elasticdl_nb.capture.package import capture_cells
from elasticdl_nb.runtime.errors import CaptureError


def capture_objects(objects: Mapping[str, Any], *, scratch: bool = False, most_bytes: float = 2 << 30) -> Captured:
    """Return a module that defines each object under its key.

    Objects may be defined in the running script (its file is read; code under `if __name__ == "__main__":` is
    included only where it is needed), in a notebook or IPython session (its history is read), or in an importable
    module (imported; shipped if it is a local one). `scratch` and `most_bytes` mean the same as for `capture_cells`.
    Raises CaptureError for objects that no global name there refers to.
    """
    main = sys.modules["__main__"]
    cells, transform, directory = _executed(main)
    names: list[str] = []
    aliases: dict[str, str] = {}
    namespace = dict(vars(main))
    problems = []
    for key, value in objects.items():
        expression = _expression(key, value, namespace)
        if expression is None:
            problems.append(_not_global(key, value))
            continue
        root, dot, rest = expression.partition(".")
        if _reach(expression, namespace) is not value and getattr(value, "__module__", None) in sys.modules:
            # An object of an imported module keeps its own name, unless the script uses that for something else.
            home = vars(sys.modules[value.__module__])
            name = root if namespace.get(root, home[root]) is home[root] else f"_{root}"
            namespace[name] = home[root]
            expression, root = f"{name}{dot}{rest}", name
        names.append(root)
        if expression != key:
            aliases[key] = expression
    if problems:
        raise CaptureError(problems)
    return capture_cells(
        cells, namespace, names, transform=transform, directory=directory, aliases=aliases, scratch=scratch,
        most_bytes=most_bytes,
    )  # fmt: skip


def is_of_keras(value: object) -> bool:
    """Whether a value is an object of one of Keras' classes, or of a subclass, or a list of such objects."""
    if isinstance(value, (list, tuple)):
        return all(map(is_of_keras, value))
    return any(base.__module__.partition(".")[0] == "keras" for base in type(value).__mro__)


def _executed(main: types.ModuleType) -> tuple[list[Cell], Transform, str]:
    shell = _running_shell(main)
    if shell is not None:
        return executed_cells(shell), shell.transform_cell, os.getcwd()
    path = getattr(main, "__file__", None)
    if not path or not os.path.isfile(path):
        return [], str, os.getcwd()
    with open(path, encoding="utf-8") as file:
        source = file.read()
    line = _running_line(main)
    cell = Cell(0, source, line is None, line, os.path.basename(path))
    return [cell], str, os.path.dirname(os.path.abspath(path))


def _running_shell(main: types.ModuleType) -> Shell | None:
    ipython = sys.modules.get("IPython")
    shell: Shell | None = ipython.get_ipython() if ipython is not None else None
    return shell if shell is not None and shell.user_ns is vars(main) else None


def _running_line(main: types.ModuleType) -> int | None:
    """The line of the script that is being executed, or None after it has ended."""
    frame: types.FrameType | None = sys._getframe()
    line = None
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            line = frame.f_lineno
        frame = frame.f_back
    return line


def _expression(key: str, value: Any, namespace: dict[str, Any]) -> str | None:
    """An expression for the object in the namespace: its key, its qualified name, or another global name."""
    if key in namespace and namespace[key] is value:
        return key
    qualname = getattr(value, "__qualname__", "")
    module = getattr(value, "__module__", None)
    for owner in (namespace, vars(sys.modules.get(module or "", object)) if module in sys.modules else {}):
        if isinstance(qualname, str) and qualname and "<locals>" not in qualname and _reach(qualname, owner) is value:
            return str(qualname)
    same = [name for name, item in namespace.items() if item is value and not name.startswith("_")]
    if same and not isinstance(value, (int, str, float, bool, type(None))):
        return same[0]
    if values.write_value(value) is not None or is_of_keras(value):
        namespace[key] = value
        return key
    return None


def _reach(qualname: str, owner: Mapping[str, Any]) -> Any:
    root, *attributes = qualname.split(".")
    found = owner.get(root)
    for attribute in attributes:
        found = inspect.getattr_static(found, attribute, None) if found is None else getattr(found, attribute, None)
    return found


def _not_global(key: str, value: Any) -> str:
    kind = "class" if inspect.isclass(value) else "function" if callable(value) else type(value).__name__
    name = getattr(value, "__qualname__", key)
    if "<locals>" in name:
        return f"{key!r} is the {kind} {name}, defined inside a function; move it to the top level of a module or cell"
    return (
        f"{key!r} is a {kind} that no global name refers to; assign it to a name at the top level of a module or cell"
    )
