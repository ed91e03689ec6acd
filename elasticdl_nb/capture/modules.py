"""The user's own modules, as the notebook has changed them: attributes that were set, and objects that have grown.

A fresh process imports these modules and describes what is in them; what is different here travels by value.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from elasticdl_nb.capture.checker import Answer, checker
from elasticdl_nb.capture.closure import Search
from elasticdl_nb.capture.dependencies import find_dependencies, is_local_module
from elasticdl_nb.capture.describe import describe, differences
from elasticdl_nb.capture.live import MISSING, function_of
from elasticdl_nb.capture.roots import Root
from elasticdl_nb.capture.state.code import reach
from elasticdl_nb.capture.statements import value_of
from elasticdl_nb.capture.trace import END, Trace

_TIMEOUT = 300.0  # seconds
_PROBE = "elasticdl_nb_probe"
_PROBE_START = """import importlib, sys


def take(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        sys.stderr.write(f"\\nFAILED {name} {type(error).__name__}: {error}\\n")


def names(name):
    if name in sys.modules:
        sys.stderr.write(f"\\nNAMES {name} {' '.join(vars(sys.modules[name]))}\\n")


def found(name, key):
    return vars(sys.modules[name]).get(key, ...) if name in sys.modules else ...
"""


def add_imports_for_their_effect(trace: Trace, search: Search) -> None:
    """Keep imports of the user's own modules that nothing mentions."""
    imported = [one for one in trace.statements if isinstance(one.node, ast.Import)]
    for statement in imported:
        name = next(iter(statement.binds), "")
        module = sys.modules.get(getattr(statement.node, "names", [types])[0].name)
        if module is None or trace.live(name) is MISSING or not is_local_module(module):
            continue
        if not any(name in one.uses.now or name in one.uses.late for one in trace.statements):
            search.need(name, END, "")


def add_changes(trace: Trace, search: Search, imports: dict[str, str]) -> None:
    """Request the attributes of imported modules that differ; `imports` gets the imports that this needs."""
    kept = [one.text for one in search.result.statements.values() if one.is_import]
    kept += [given.text for given in search.result.imports.values()]
    inside = {module for root in search.roots.all if root.survey for module in root.survey.modules}
    if not kept and not inside:
        return
    taken: set[str] = set()
    given: set[tuple[int, str]] = set()
    tops = {line.split()[1].partition(".")[0] for text in kept for line in text.splitlines() if line.strip()}
    for holder, key, target, statement in _assigned(trace, tops):
        if target not in taken:
            taken.add(target)
            given.add((id(holder), key))
            root = target.partition(".")[0]
            if root not in imports:
                search.need(root, END, "")
            value = vars(holder)[key]
            search.roots.add(Root(target, value, statement.index, statement.piece, None, owner=root))
    found = find_dependencies("\n".join(kept), modules=inside).modules
    paths = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in found}
    modules = {name: module for name, module in list(sys.modules.items()) if name in paths}
    for name, key, value in _differing(modules, found, search.result.warnings):
        alias = next((one for one, other in trace.namespace.items() if other is modules[name]), None)
        root_name = alias or "_" + name.replace(".", "_")
        target = f"{root_name}.{key}"
        owner, _, attribute = key.rpartition(".")
        holder = reach(owner, vars(modules[name])) if owner else modules[name]
        if (id(holder), attribute) in given or any(other.startswith(f"{target}.") for other in taken):
            continue
        if "." not in key and key not in vars(modules[name]) and not _is_deleted(trace, key):
            continue  # the file has got it since
        if value is MISSING:
            search.result.problems.append(
                f"{paths[name]} is not what was imported: {key} is different in the file; run "
                f"importlib.reload({name}), or restart the kernel"
            )
            continue
        if alias is None:
            imports[root_name] = f"import {name} as {root_name}"
        else:
            search.need(alias, END, "")
        made = Root(target, value, -1, None, None, owner=alias or "")
        # Other modules may have the object, too, so it stays the same one if possible.
        made.refill = made.made_by_statement = search.roots.can_refill(made)
        search.roots.add(made)


def _is_deleted(trace: Trace, name: str) -> bool:
    return any("del" in one.text and name in one.text for one in trace.statements)


def _assigned(trace: Trace, tops: set[str]) -> Iterator[tuple[Any, str, str, Any]]:
    """`module.name = …` and `module.Class.name = …`, at the top level or inside functions."""
    for statement in trace.statements:
        if "=" not in statement.text:
            continue
        for node in ast.walk(statement.node):
            targets: Iterable[ast.expr] = ()
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
                targets = (node.target,)
            for target in targets:
                if not isinstance(target, ast.Attribute):
                    continue
                holder = value_of(trace.live, target.value)
                home = holder.__name__ if isinstance(holder, types.ModuleType) else getattr(holder, "__module__", None)
                if not isinstance(holder, (types.ModuleType, type)) or not isinstance(home, str) or home == "__main__":
                    continue
                if target.attr in vars(holder) and home.partition(".")[0] in tops:
                    yield holder, target.attr, ast.unparse(target), statement


# ------------------------------------------------------------------ compared with a fresh import


def _differing(
    modules: Mapping[str, types.ModuleType], files: Mapping[str, str], warnings: list[str]
) -> Iterator[tuple[str, str, Any]]:
    """Yield `(module, attribute, value here)` for what a fresh import makes differently; MISSING for other code.

    Adds to `warnings` which modules cannot be imported on their own, and so are not compared.
    """
    ours = frozenset({*modules, "__main__"})
    places = [
        (name, key) for name, module in modules.items() for key, value in list(vars(module).items())
        if _is_state(key, value, ours)
    ]  # fmt: skip
    if not places:
        return
    living = {f"m{number}": vars(modules[name])[key] for number, (name, key) in enumerate(places)}
    lines = [_PROBE_START, *(f"take({name!r})" for name in modules), *(f"names({name!r})" for name in modules)]
    lines += [f"m{number} = found({name!r}, {key!r})" for number, (name, key) in enumerate(places)]
    answer = _imported({**files, f"{_PROBE}.py": "\n".join(lines)}, living, ours)
    if answer is None or answer.status:
        why = answer.errors.strip().rpartition("\n")[2] if answer else f"it took more than {_TIMEOUT:g} s"
        warnings.append(_not_compared(", ".join(modules), why))
        return
    failed = dict(re.findall(r"^FAILED (\S+) (.*)$", answer.errors, re.MULTILINE))
    warnings += [_not_compared(name, why) for name, why in failed.items()]
    for name, keys in re.findall(r"^NAMES (\S+) (.*)$", answer.errors, re.MULTILINE):
        gone = {key for key in keys.split() if not key.startswith("_")} - vars(modules[name]).keys()
        yield from ((name, key, MISSING) for key in sorted(gone) if f"{name}.{key}" not in modules)
    reported: set[tuple[str, str]] = set()
    for path, _, _ in differences(describe(living, ours), answer.description):
        place, _, rest = path.partition(".")
        name, key = places[int(place[1:].partition("[")[0])]
        suffix, value = _part_of(vars(modules[name])[key], rest)
        if name not in failed and (name, key + suffix) not in reported:
            reported.add((name, key + suffix))
            yield name, key + suffix, value


def _not_compared(name: str, why: str) -> str:
    return (
        f"{name} cannot be imported alone ({why}): what the notebook has changed in it since its import is not packaged"
    )


def _part_of(value: Any, path: str) -> tuple[str, Any]:
    """The attribute of a class or function that a path leads into, with its value; MISSING if that is code."""
    if not isinstance(value, (type, types.FunctionType)) or (not path and _is_of_notebook(value)):
        return "", value
    cell = re.match(r"<(\w+)>", path)
    if cell and isinstance(value, types.FunctionType):
        place = value.__code__.co_freevars.index(cell[1])
        return f".__closure__[{place}].cell_contents", (value.__closure__ or ())[place].cell_contents
    name = path.partition(".")[0].partition("[")[0]
    found = getattr(value, name, MISSING) if name in ("__defaults__", "__kwdefaults__") else vars(value).get(name)
    if not name or found is None or not (function_of(found) is None or _is_of_notebook(found)):
        return f".{name}" if name else "", MISSING
    return f".{name}", found


def _is_of_notebook(value: Any) -> bool:
    """Whether a function is the notebook's own, which a cell has put into a module or class."""
    function = function_of(value)
    return function is not None and function.__globals__.get("__name__") == "__main__"


def _imported(files: Mapping[str, str], compared: Iterable[str], ours: frozenset[str]) -> Answer | None:
    with tempfile.TemporaryDirectory(prefix="elasticdl-modules-") as folder:
        for path, text in files.items():
            target = os.path.join(folder, *path.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
        process = checker()
        return process.wait(process.ask(os.path.realpath(folder), _PROBE, [], compared, ours), _TIMEOUT)


def _is_state(key: str, value: Any, ours: frozenset[str]) -> bool:
    if (key.startswith("__") and key.endswith("__")) or isinstance(value, types.ModuleType):
        return False
    if isinstance(value, types.FunctionType):
        return value.__globals__.get("__name__") in ours
    if isinstance(value, type):
        return value.__module__ in ours
    return not isinstance(value, types.BuiltinFunctionType)
