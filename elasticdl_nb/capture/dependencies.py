"""What a module imports: distributions to install, and the user's own modules to ship with it."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import ModuleSpec

from elasticdl_nb.capture.credentials import HARMLESS_CURE, credentials_in_file

OURS = frozenset({"elasticdl_nb", "elasticdl"})
INSTALLED_IN = ("site-packages", "dist-packages")
MAX_FILES = 500
LARGEST_DATA = 20 * 2**20  # bytes; the limit for a data file beside a module


@dataclass
class Dependencies:
    """`requirements` are lines for pip; `modules` maps relative paths to the source of local modules."""

    requirements: list[str] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # data files beside modules, each with its path on this machine
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_dependencies(
    source: str,
    installs: Iterable[str] = (),
    modules: Iterable[str] = (),
    namespace: Mapping[str, object] | None = None,
) -> Dependencies:
    """Follow the imports of `source` and of the local modules it imports; `installs` are what cells passed to pip.

    `modules` are other modules that are needed, and `namespace` holds those that no import finds.
    """
    found = Dependencies()
    distributions: set[str] = set()
    waiting, seen = (
        [*_imported(source), *(module.partition(".")[0] for module in modules)],
        {*sys.stdlib_module_names, *OURS, "__main__"},
    )
    while waiting:
        top = waiting.pop(0)
        if top in seen:
            continue
        seen.add(top)
        spec = _spec(top)
        if spec is None:
            loaded = sys.modules.get(top) or _module_called(top, namespace or {})
            file = getattr(loaded, "__file__", None)
            if isinstance(loaded, types.ModuleType) and file and file.endswith(".py"):
                found.modules[f"{top}.py"] = _read(file)  # loaded from a place where no import looks
                waiting += _imported(found.modules[f"{top}.py"])
            continue
        if _is_local(spec):
            everything = _local_files(top, spec, found)
            files = _needed_files(top, everything, [source, *found.modules.values()], modules)
            found.modules |= files
            for text in files.values():
                waiting += _imported(text)
            found.warnings += _left_out(everything, files)
            _data_files(top, spec, files, found)
        else:
            distributions.update(_distribution_of(top))
    found.requirements = _requirement_lines(distributions, installs, found)
    return found


def _module_called(name: str, namespace: Mapping[str, object]) -> object:
    return next((one for one in namespace.values() if isinstance(one, types.ModuleType) and one.__name__ == name), None)


def _imported(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    if "import_module" in source or "__import__" in source:
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if name in ("import_module", "__import__") and isinstance(call.args[0].value, str):
                    yield call.args[0].value.partition(".")[0]
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every statement, including nested ones, but not their expressions."""
    for node in body:
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, block, None)
            if isinstance(inner, list):
                yield from _statements(inner)


def _spec(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ValueError, ImportError):  # a module made by hand has no spec
        return None


def _is_local(spec: ModuleSpec) -> bool:
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    if spec.origin in ("built-in", "frozen") or not places:
        return False
    parts = os.path.normpath(places[0]).split(os.sep)
    return not any(name in parts for name in INSTALLED_IN)


def _needed_files(top: str, files: dict[str, str], sources: Iterable[str], modules: Iterable[str]) -> dict[str, str]:
    """Those of a package's files that imports lead to: everything else in its folder stays there."""
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in files}
    dynamic = any("import_module" in text or "__import__" in text or "pkgutil" in text for text in files.values())
    if len(files) <= 1 or dynamic:
        return files
    waiting = [name for source in sources for name in _full_names(source, "")]
    waiting += [name for name in modules if name.partition(".")[0] == top]
    waiting += [name for name in sys.modules if name in names and "." in name and _is_used(name, sources)]
    kept: dict[str, str] = {}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        while name:  # a module needs the packages that contain it
            if name in names and name not in seen:
                seen.add(name)
                kept[names[name]] = files[names[name]]
                package = name if names[name].endswith("/__init__.py") else name.rpartition(".")[0]
                waiting += _full_names(files[names[name]], package)
            name = name.rpartition(".")[0]
    return dict(sorted(kept.items()))


def _left_out(everything: Mapping[str, str], files: Mapping[str, str]) -> Iterator[str]:
    """Report the files with credentials that are left behind: users should know that they are not shipped."""
    for path in everything.keys() - files.keys():
        for line, name in credentials_in_file(everything[path]):
            yield f"{path} is not packaged, as no import leads to it; its line {line} looks like a credential ({name})"
            break


def _is_used(name: str, sources: Iterable[str]) -> bool:
    """Whether a module that was imported elsewhere is used as an attribute of its package."""
    return any(re.search(rf"\b{re.escape(name)}\b", text) for text in sources)


def _full_names(source: str, package: str) -> list[str]:
    """The full name of every module and member of a module that a source imports."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*home, *([node.module] if node.module else [])])
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return names


def _data_files(top: str, spec: ModuleSpec, files: Mapping[str, str], found: Dependencies) -> None:
    """Add the files beside a package's modules that these name: the files they read are as much a part of it."""
    text = "\n".join(files.values())
    for root in spec.submodule_search_locations or ():
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
            for name in sorted(names):
                path = os.path.join(folder, name)
                suffix = os.path.splitext(name)[1]
                if (
                    suffix in (".py", ".pyc")
                    or name.startswith(".")
                    or not (name in text or (suffix and f"*{suffix}" in text))
                ):
                    continue
                target = os.path.join(top, os.path.relpath(path, root)).replace(os.sep, "/")
                if os.path.getsize(path) > LARGEST_DATA:
                    found.warnings.append(f"{target} is larger than {LARGEST_DATA >> 20} MB: it is not packaged")
                else:
                    found.files[target] = path


def problems_of_files(found: Dependencies) -> list[str]:
    """Return what is wrong with files that would be shipped: credentials."""
    problems = []
    for path, text in found.modules.items():
        for line, name in credentials_in_file(text):
            problems.append(
                f"{path}, line {line}, contains what looks like a credential ({name}); read it from os.environ and "
                f"pass it with --envs{HARMLESS_CURE}"
            )
            break
    for path, place in found.files.items():
        with open(place, encoding="utf-8", errors="ignore") as file:
            for line, name in credentials_in_file(file.read(1 << 20)):
                problems.append(f"{path}, line {line}, contains what looks like a credential ({name}); remove it")
                break
    return problems


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
        # Package indexes have no local versions such as 2.1+cpu.
        return f"{name}=={importlib.metadata.version(name).partition('+')[0]}"
    except importlib.metadata.PackageNotFoundError:
        return otherwise or name


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=1024)
def _distribution_of(top: str) -> tuple[str, ...]:
    try:  # most distributions have the name of their package, and the full table takes a while to build
        distribution = importlib.metadata.distribution(top)
        if any(str(file).split("/")[0] in (top, f"{top}.py") for file in distribution.files or ()):
            return (distribution.metadata["Name"],)
    except importlib.metadata.PackageNotFoundError:
        pass
    return tuple(dict.fromkeys(_distributions().get(top, ())))[:1]


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
