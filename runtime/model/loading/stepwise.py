"""Importing the modules of a trained model where files that they read have changed or are gone.

A module runs statement by statement. One that fails leaves the names it would have bound with what they stood for when
the model was trained. Afterwards, all names stand for that.
"""

from __future__ import annotations
import __future__

import ast
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from elasticdl_nb.runtime.errors import ModelError

Put = Callable[[ModuleType, str, Any], None]
_CODE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class RememberingFinder(MetaPathFinder):
    """Finds a trained model's modules; `names` has by module what names stood for, and `put` lets them stand for it."""

    of_a_zoo = True
    """Keeps it from counting as a finder of installed packages."""

    def __init__(self, root: str, names: Mapping[str, Mapping[str, Any]], put: Put) -> None:
        self._root, self._names, self._put = os.path.realpath(root) + os.sep, names, put

    @classmethod
    def use(cls, root: str, names: Mapping[str, Mapping[str, Any]], put: Put) -> None:
        """Find the modules of the zoo at `root` from now on, and no longer those of another trained model."""
        sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, cls)]
        if names:
            sys.meta_path.insert(0, cls(root, names, put))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname not in self._names:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or not spec.origin or not isinstance(spec.loader, SourceFileLoader):
            return None
        if not os.path.realpath(spec.origin).startswith(self._root):
            return None
        spec.loader = _Stepwise(fullname, spec.origin, self._names[fullname], self._put)
        return spec


class _Stepwise(SourceFileLoader):
    def __init__(self, name: str, path: str, names: Mapping[str, Any], put: Put) -> None:
        super().__init__(name, path)
        self._names, self._put = names, put

    def exec_module(self, module: ModuleType) -> None:
        tree = ast.parse(self.get_data(self.path), self.path)
        flags = _future_flags(tree)
        for statement in tree.body:
            one = ast.Module([statement], [])
            code = compile(one, self.path, "exec", flags=flags, dont_inherit=True)
            try:
                exec(code, vars(module))  # noqa: S102  as importing it does
            except Exception as error:
                if isinstance(statement, _CODE):
                    raise
                for name in _bound(statement):
                    if name not in self._names:
                        setattr(module, name, _Gone(f"{module.__name__}.{name}", error))
                    else:
                        self._put(module, name, self._names[name])
        for name, value in self._names.items():
            self._put(module, name, value)


class _Gone:
    """Stands for a value that a trained model's module could not compute again."""

    def __init__(self, name: str, error: Exception) -> None:
        object.__setattr__(self, "_text", f"{name} is not available: {type(error).__name__}: {error}")

    def _use(self, *_: Any, **__: Any) -> Any:
        raise ModelError(object.__getattribute__(self, "_text"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._use()

    __call__ = __getitem__ = __iter__ = __len__ = __array__ = __setattr__ = __float__ = __int__ = __index__ = _use
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _use


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds at the level of its module."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _future_flags(tree: ast.Module) -> int:
    flags = 0
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                flags |= getattr(__future__, alias.name).compiler_flag
    return flags
