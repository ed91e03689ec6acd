"""What a module imports: distributions to install, and modules of one's own to ship with it."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import ModuleSpec

OURS = frozenset({"elasticdl_nb", "elasticdl"})
INSTALLED_IN = ("site-packages", "dist-packages")
MAX_FILES = 500


@dataclass
class Dependencies:
    """`requirements` are lines for pip; `modules` maps relative paths to the source of local modules."""

    requirements: list[str] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def find_dependencies(source: str, installs: Iterable[str] = (), modules: Iterable[str] = ()) -> Dependencies:
    """Follow the imports of `source` and of the local modules it imports; `installs` are what a cell gave pip.

    `modules` are others that are needed.
    """
    found = Dependencies()
    distributions: set[str] = set()
    waiting, seen = [*_imported(source), *(module.partition(".")[0] for module in modules)], {*sys.stdlib_module_names, *OURS, "__main__"}
    while waiting:
        top = waiting.pop(0)
        if top in seen:
            continue
        seen.add(top)
        spec = _spec(top)
        if spec is None:
            continue
        if _is_local(spec):
            files = _local_files(top, spec, found)
            found.modules |= files
            for text in files.values():
                waiting += _imported(text)
        else:
            distributions.update(_distribution_of(top))
    found.requirements = _requirement_lines(distributions, installs, found)
    return found


def _imported(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every statement, nested ones too, without a look at their expressions."""
    for node in body:
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, block, None)
            if isinstance(inner, list):
                yield from _statements(inner)


def _spec(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ValueError, ImportError):  # a module object that was made by hand has no spec
        return None


def _is_local(spec: ModuleSpec) -> bool:
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    if spec.origin in ("built-in", "frozen") or not places:
        return False
    parts = os.path.normpath(places[0]).split(os.sep)
    return not any(name in parts for name in INSTALLED_IN)


def is_local_module(module: types.ModuleType) -> bool:
    """Whether a loaded module is the user's own, not an installed one."""
    file = getattr(module, "__file__", None)
    if not file or module.__name__.partition(".")[0] in OURS or module.__name__ in sys.stdlib_module_names:
        return False
    parts = os.path.normpath(file).split(os.sep)
    return not any(name in parts for name in INSTALLED_IN)


def _local_files(top: str, spec: ModuleSpec, found: Dependencies) -> dict[str, str]:
    if spec.submodule_search_locations is None:
        if spec.origin is None or not spec.origin.endswith(".py"):
            found.warnings.append(f"the module {top} ({spec.origin}) is not Python source: it is not packaged")
            return {}
        return {f"{top}.py": _read(spec.origin)}
    files: dict[str, str] = {}
    for root in spec.submodule_search_locations:
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
            for name in sorted(names):
                if name.endswith(".py") and len(files) < MAX_FILES:
                    path = os.path.join(folder, name)
                    files[os.path.join(top, os.path.relpath(path, root)).replace(os.sep, "/")] = _read(path)
    if len(files) >= MAX_FILES:
        found.warnings.append(f"the package {top} has more than {MAX_FILES} modules: the rest is not packaged")
    return files


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _requirement_lines(distributions: set[str], installs: Iterable[str], found: Dependencies) -> list[str]:
    lines = {_normal(name): _pinned(name) for name in distributions if _normal(name) not in ("elasticdl-nb",)}
    for wanted in installs:
        if re.match(r"\w[\w+.-]*://[^/]*@", wanted.removeprefix("git+")):
            found.warnings.append(
                f"{wanted.split('://')[0]}://… was installed with credentials in its address: left out"
            )
            continue
        name = re.split(r"[\[=<>!~@; ]", wanted)[0]
        if _normal(name) not in lines:
            lines[_normal(name)] = _pinned(name, wanted) if re.fullmatch(r"[\w.-]+", name) else wanted
    return [line for _, line in sorted(lines.items())]


def _pinned(name: str, otherwise: str | None = None) -> str:
    try:
        # Local versions such as 2.1+cpu are in no index.
        return f"{name}=={importlib.metadata.version(name).partition('+')[0]}"
    except importlib.metadata.PackageNotFoundError:
        return otherwise or name


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=1024)
def _distribution_of(top: str) -> tuple[str, ...]:
    try:  # most distributions are called as what they hold, and the full table takes a while to build
        distribution = importlib.metadata.distribution(top)
        if any(str(file).split("/")[0] in (top, f"{top}.py") for file in distribution.files or ()):
            return (distribution.metadata["Name"],)
    except importlib.metadata.PackageNotFoundError:
        pass
    return tuple(dict.fromkeys(_distributions().get(top, ())))[:1]


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
