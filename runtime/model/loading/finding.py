"""How Python finds a zoo's modules where its import path alone would not do.

A zoo's modules may import each other through a name for the zoo (`from model_zoo.census import x`): each is imported
once and has both names. And a zoo's folder may have the name of an installed package: what the folder lacks is taken
from the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from elasticdl_nb.runtime.model.reading.source import Zoo


class ZooFinder(MetaPathFinder):
    """Finds modules for the zoo in use; the import system asks it first."""

    of_a_zoo = True
    """Keeps it from counting as a finder of installed packages."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._own = Zoo(root).own_names
        self._installed: dict[str, ModuleSpec | None] = {}

    @classmethod
    def use(cls, root: str) -> None:
        """Find modules for this zoo from now on, and no longer for another; forget that one's own names."""
        for finder in [one for one in sys.meta_path if isinstance(one, cls)]:
            sys.meta_path.remove(finder)
            for name in [name for name in sys.modules if name.partition(".")[0] in finder._own]:
                del sys.modules[name]
        sys.meta_path.insert(0, cls(root))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        top, _, rest = fullname.partition(".")
        if top in self._own:
            return self._find_own(fullname, rest)
        installed = self._hidden(top)
        if installed is None:
            return None
        if not rest:
            return self._find_hiding(fullname, installed)
        # What the zoo has comes first.
        places = [self._root, os.path.dirname(next(iter(installed.submodule_search_locations or ())))]
        between = os.path.join(*fullname.split(".")[:-1])
        return PathFinder.find_spec(fullname, [os.path.join(place, between) for place in places])

    # ------------------------------------------------------------ the zoo's own name

    def _find_own(self, name: str, rest: str) -> ModuleSpec | None:
        if rest and importlib.util.find_spec(rest) is None:
            return None
        spec = ModuleSpec(name, _Same(rest) if rest else None, is_package=True)
        init = os.path.join(self._root, "__init__.py")
        if not rest and os.path.isfile(init):
            spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[]) or spec
        return spec

    # ------------------------------------------------------------ hidden packages

    def _hidden(self, top: str) -> ModuleSpec | None:
        """The installed package that the zoo's folder of that name hides."""
        if top not in self._installed:
            spec = None
            if Path(self._root, top).is_dir():
                others = [path for path in sys.path if path and os.path.realpath(path) != self._root]
                spec = PathFinder.find_spec(top, others)
            self._installed[top] = spec if spec is not None and spec.has_location else None
        return self._installed[top]

    def _find_hiding(self, name: str, installed: ModuleSpec) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, [self._root])
        if spec is None or spec.loader is None:  # a folder without __init__.py
            return installed
        spec.loader = _Hiding(spec.loader, installed)
        return spec


class _Same(Loader):
    """Loads a module that has another name already, or gets it now."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has put this name's there


class _Hiding(Loader):
    """Loads a zoo's package, which gets names that it lacks from the installed package that it hides."""

    def __init__(self, loader: Any, installed: ModuleSpec) -> None:
        self._loader, self._installed = loader, installed
        self._package: ModuleType | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = self._get
        self._loader.exec_module(module)

    def _get(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._package is None:
            self._package = importlib.util.module_from_spec(self._installed)
            assert self._installed.loader is not None
            self._installed.loader.exec_module(self._package)
        try:
            return vars(self._package)[name]
        except KeyError:
            raise AttributeError(f"module {self._package.__name__!r} has no attribute {name!r}") from None
