"""What the source files of a model zoo define, read without running any of them.

`Zoo.lookup` has three kinds of answers, because source does not tell everything: what was found, `None` for a name that
certainly does not exist, and `UNKNOWN` where only running the code would tell (star imports from elsewhere,
`__getattr__`, conditional definitions, …).
"""

from __future__ import annotations

import ast
import builtins
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.model.reading import places
from elasticdl_nb.runtime.model.reading.ownnames import exists, own_names

_LISTED_MODULES = 2000
_SEARCHED_FILES = 200
_DYNAMIC_CALLS = {"exec", "eval", "globals", "setattr", "vars", "locals"}
FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class External:
    """Something outside the zoo, by its full dotted name: `tensorflow.keras.Model`, `builtins.object`."""

    path: str


@dataclass(frozen=True)
class ModuleName:
    """A module of the zoo, as a value."""

    name: str


@dataclass(frozen=True)
class Defined:
    """A class, a function or an assigned expression, and the module that defines it."""

    module: Module
    name: str
    node: ast.ClassDef | FunctionNode | ast.expr


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
Found: TypeAlias = Defined | External | ModuleName | _Unknown
_Binding: TypeAlias = ast.ClassDef | FunctionNode | ast.expr | External | _Unknown


@dataclass
class Module:
    """One source file: `bindings` by name, star imports, and whether it may have names that are not visible."""

    name: str
    path: Path
    is_package: bool
    tree: ast.Module
    bindings: dict[str, _Binding] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    dynamic: bool = False

    def __post_init__(self) -> None:
        self._bind_all(self.tree.body, sure=True)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DYNAMIC_CALLS:
                self.dynamic = True
            elif isinstance(node, ast.Global):
                self.bindings.update({name: UNKNOWN for name in node.names})
        self.dynamic = self.dynamic or "__getattr__" in self.bindings

    @cached_property
    def mentions(self) -> set[str]:
        """Every identifier and attribute name in the file."""
        names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(self.tree) if isinstance(node, ast.Attribute)}
        return names | {
            node.name for node in ast.walk(self.tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.alias))
        }

    def absolute(self, module: str | None, level: int) -> str:
        """The dotted name that `from ..module import x` in this file stands for."""
        if not level:
            return module or ""
        parts = self.name.split(".") if self.name else []
        base = parts[: len(parts) - level + (1 if self.is_package else 0)]
        return ".".join([*base, *([module] if module else [])])

    def _bind(self, name: str, value: _Binding, sure: bool) -> None:
        # Two conditional definitions of a name: only running the code tells which one applies.
        self.bindings[name] = value if sure or name not in self.bindings else UNKNOWN

    def _bind_all(self, body: list[ast.stmt], sure: bool) -> None:
        for statement in body:
            match statement:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._bind(statement.name, statement, sure)
                case ast.Import():
                    for alias in statement.names:
                        top = alias.name.partition(".")[0]
                        self._bind(alias.asname or top, External(alias.name if alias.asname else top), sure)
                case ast.ImportFrom():
                    self._bind_import_from(statement, sure)
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._bind_target(target, value, sure)
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self._bind_target(target, value, sure)
                case ast.AugAssign(target=ast.Name(id=name)) | ast.Delete(targets=[ast.Name(id=name)]):
                    self.bindings[name] = UNKNOWN
                case _:
                    for child in ast.walk(statement):
                        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                            self._bind(child.id, UNKNOWN, sure=False)
                    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
                        for part in getattr(statement, block, []):
                            inner = getattr(part, "body", []) if block in ("handlers", "cases") else [part]
                            self._bind_all(inner, sure=False)

    def _bind_import_from(self, statement: ast.ImportFrom, sure: bool) -> None:
        source = self.absolute(statement.module, statement.level)
        for alias in statement.names:
            if alias.name == "*":
                self.stars.append(source)
            else:
                self._bind(alias.asname or alias.name, External(f"{source}.{alias.name}".lstrip(".")), sure)

    def _bind_target(self, target: ast.expr, value: ast.expr, sure: bool) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, value, sure)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                if isinstance(element, ast.Name):
                    self._bind(element.id, UNKNOWN, sure)


@dataclass(frozen=True)
class Location:
    """Where a dotted name leads: a module of the zoo, and the attributes to take from it (if none: the module)."""

    module: str
    attributes: tuple[str, ...]


class Zoo:
    """The source files below a directory, parsed when first needed."""

    def __init__(self, root: str | os.PathLike[str], option: str = "model_zoo") -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise OptionError(option, f"no such directory: {root}")
        self._modules: dict[str, Module] = {}

    # ------------------------------------------------------------ modules

    @cached_property
    def own_names(self) -> frozenset[str]:
        """What the zoo's modules call the zoo; see `ownnames`."""
        paths = (self.root.joinpath(*name.split(".")) for name in self.module_names())
        files = (path for base in paths for path in (base / "__init__.py", base.with_name(f"{base.name}.py")))
        return own_names(self.root, (path for path in files if path.is_file()))

    def inside(self, name: str) -> str:
        """The dotted name from the zoo's root, for one that may begin with what the zoo's modules call the zoo."""
        top, _, rest = name.partition(".")
        return rest if top and not exists(self.root, top) and top in self.own_names else name

    def path(self, name: str) -> Path | None:
        """The file of the module with that dotted name ("" is the root's __init__.py), or None."""
        name = self.inside(name)
        base = self.root.joinpath(*name.split(".")) if name else self.root
        candidates = [base / "__init__.py"] if not name else [base / "__init__.py", base.with_name(f"{base.name}.py")]
        return next((path for path in candidates if path.is_file()), None)

    def has(self, name: str) -> bool:
        """Whether `name` can be imported from the zoo, as a module or as a folder."""
        name = self.inside(name)
        return self.path(name) is not None or (bool(name) and self.root.joinpath(*name.split(".")).is_dir())

    def module(self, name: str, option: str = "model_def") -> Module:
        """Parse a module that exists; raises OptionError (for `option`) if it is not valid Python."""
        name = self.inside(name)
        if name not in self._modules:
            path = self.path(name)
            assert path is not None, name
            try:
                tree = ast.parse(path.read_bytes(), filename=os.fspath(path))
            except SyntaxError as error:
                line = f": {error.text.strip()!r}" if error.text else ""
                where = self.place(path, error.lineno or 1)
                raise OptionError(option, f"{where} is not valid Python: {error.msg}{line}") from None
            except ValueError as error:
                raise OptionError(option, f"{self.relative(path)} is not valid Python: {error}") from None
            self._modules[name] = Module(name, path, path.name == "__init__.py", tree)
        return self._modules[name]

    def relative(self, path: Path) -> str:
        """The path as users see it, relative to the zoo's root."""
        return places.file_name(os.fspath(path.relative_to(self.root)))

    def place(self, path: Path, line: int) -> str:
        """The place of a line, as users see it."""
        return places.place(path, os.fspath(path.relative_to(self.root)), line)

    def module_names(self, below: str = "") -> Iterator[str]:
        """Dotted names of the modules in the zoo, at most a few thousand of them."""
        base = self.root.joinpath(*below.split(".")) if below else self.root
        count = 0
        for folder, folders, files in os.walk(base):
            folders[:] = sorted(name for name in folders if name.isidentifier() and name != "__pycache__")
            prefix = Path(folder).relative_to(self.root).parts
            for file in sorted(files):
                stem, extension = os.path.splitext(file)
                if extension == ".py" and (stem.isidentifier()):
                    parts = prefix if stem == "__init__" else (*prefix, stem)
                    count += 1
                    if parts:
                        yield ".".join(parts)
            if count > _LISTED_MODULES:
                return

    # ------------------------------------------------------------ names

    def locate(self, dotted: str, option: str = "model_def") -> Location:
        """Return where a dotted name, relative to the zoo's root, leads.

        The longest part of the name that is a module counts. `fintech.MyModel` also finds the only file in the folder
        `fintech/` that defines MyModel. Raises OptionError if no module of the zoo matches.
        """
        parts = dotted.split(".")
        if not all(part.isidentifier() for part in parts):
            raise OptionError(option, f"{dotted!r} is not a dotted Python name such as fintech.MyKerasModel")
        parts = self.inside(dotted).split(".")
        for count in range(len(parts), -1, -1):
            name, attributes = ".".join(parts[:count]), tuple(parts[count:])
            if self.path(name) is not None and count:
                found = not attributes or self.lookup(self.module(name, option), attributes[0]) is not None
                return Location(name, attributes) if found else self._search(name, attributes, option)
            if self.has(name) or not count:
                return self._search(name, attributes, option)
        raise AssertionError("the root is always there")

    def _search(self, folder: str, attributes: tuple[str, ...], option: str) -> Location:
        """Find the file directly in `folder` that defines a name that the folder itself does not define."""
        base = self.root.joinpath(*folder.split(".")) if folder else self.root
        if attributes and (folder == "" or base.is_dir()):
            holders = []
            for path in sorted(base.glob("*.py"))[:_SEARCHED_FILES]:
                name = ".".join(part for part in (folder, path.stem) if part)
                if path.stem == "__init__" or not path.stem.isidentifier():
                    continue
                try:
                    value = self.module(name, option).bindings.get(attributes[0])
                except OptionError:
                    continue
                if isinstance(value, (ast.ClassDef, ast.FunctionDef)):
                    holders.append(name)
            if len(holders) == 1:
                return Location(holders[0], attributes)
            if holders:
                names = ", ".join(f"{name}.{attributes[0]}" for name in holders)
                raise OptionError(option, f"{attributes[0]} is defined in several files; choose one of {names}")
        if self.path(folder) is not None and folder:
            return Location(folder, attributes)
        wanted = ".".join([*([folder] if folder else []), *attributes])
        if not attributes:
            below = list(self.module_names(folder))
            has = f"; it has {', '.join(below[:8])}" if below else ""
            raise OptionError(option, f"{wanted} is a folder without Python code of its own{has}")
        known = list(self.module_names())
        near = did_you_mean(wanted, known) or did_you_mean(attributes[0], known)
        if not near and len(attributes) > 1:
            near = did_you_mean(wanted.rpartition(".")[0], known)
        has = "" if near or not known else f" It has {', '.join(known[:8])}{', …' if len(known) > 8 else ''}."
        raise OptionError(option, f"there is no module or name {wanted!r} in the model zoo {self.root}.{near}{has}")

    def lookup(self, module: Module, name: str, _seen: frozenset[tuple[str, str]] = frozenset()) -> Found | None:
        """Return what a name in a module stands for, following imports within the zoo."""
        if (module.name, name) in _seen:
            return UNKNOWN
        seen = _seen | {(module.name, name)}
        if name in module.bindings:
            return self._resolve(module, name, module.bindings[name], seen)
        if module.is_package and self.has(f"{module.name}.{name}".lstrip(".")):
            return ModuleName(f"{module.name}.{name}".lstrip("."))
        for star in module.stars:
            if self.path(star) is None:
                return UNKNOWN
            found = self.lookup(self.module(star), name, seen)
            if found is not None:
                return found
        return UNKNOWN if module.dynamic else None

    def _resolve(self, module: Module, name: str, binding: _Binding, seen: frozenset[tuple[str, str]]) -> Found:
        if isinstance(binding, External):
            return self._external(binding.path, seen)
        if isinstance(binding, _Unknown):
            return UNKNOWN
        if isinstance(binding, (ast.Name, ast.Attribute)):
            value = self.evaluate(module, binding, seen)
            return UNKNOWN if value is None else value
        return Defined(module, name, binding)

    def _external(self, path: str, seen: frozenset[tuple[str, str]]) -> Found:
        """What an imported dotted name stands for: something in the zoo if its first part is, else outside it."""
        parts = self.inside(path).split(".")
        if not self.has(parts[0]):
            return External(path)
        path = ".".join(parts)
        if self.has(path):
            return ModuleName(path)
        owner = ".".join(parts[:-1])
        if self.path(owner) is None:
            return UNKNOWN
        found = self.lookup(self.module(owner), parts[-1], seen)
        return UNKNOWN if found is None else found

    def evaluate(
        self, module: Module, expression: ast.expr, _seen: frozenset[tuple[str, str]] = frozenset()
    ) -> Found | None:
        """Return what a name or dotted name in a module's source stands for."""
        if isinstance(expression, ast.Name):
            found = self.lookup(module, expression.id, _seen)
            if found is None and hasattr(builtins, expression.id):
                return External(f"builtins.{expression.id}")
            return found
        if not isinstance(expression, ast.Attribute):
            return UNKNOWN
        owner = self.evaluate(module, expression.value, _seen)
        if isinstance(owner, External):
            return External(f"{owner.path}.{expression.attr}")
        if isinstance(owner, ModuleName):
            if self.has(f"{owner.name}.{expression.attr}"):
                return ModuleName(f"{owner.name}.{expression.attr}")
            if self.path(owner.name) is not None:
                return self.lookup(self.module(owner.name), expression.attr, _seen)
        return UNKNOWN

    def names(self, module: Module) -> list[str]:
        """The visible names of a module, for suggestions."""
        names = list(module.bindings)
        for star in module.stars:
            if self.path(star) is not None:
                names += self.module(star).bindings
        return names
