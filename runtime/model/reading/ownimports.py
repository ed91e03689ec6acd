"""Whether the modules of elasticdl_nb that a model's code imports are there: those of another version may not be."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.reading.source import Module, Zoo
from elasticdl_nb.runtime.spec import JobSpec

_OWN = "elasticdl_nb."


def check_own_imports(zoo: str, spec: JobSpec) -> None:
    """Raise OptionError if the model's code imports a module of elasticdl_nb that this version does not have.

    Imports at the top of a file are looked at, and those of the zoo's modules that it imports there; `spec` is what
    `check_model` takes, and has been checked by that.
    """
    if not spec.model_def:
        return
    source = Zoo(zoo)
    waiting, seen = [source.locate(spec.model_def).module], set()
    while waiting:
        name = waiting.pop()
        if name in seen or source.path(name) is None:
            continue
        seen.add(name)
        module = source.module(name)
        for line, imported in _imports(module):
            if imported.startswith(_OWN) and not source.has(imported) and not _exists(imported):
                cure = "change the import" if spec.kind == "train" else "train the model again with this version"
                raise OptionError(
                    "model_def" if spec.kind == "train" else "trained_model",
                    f"{source.relative(module.path)}, line {line}, imports {imported}, which this version of "
                    f"elasticdl_nb does not have; {cure}",
                )
            waiting.append(imported)


def _imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of the modules that are imported for certain: at the top, outside of `try` and `if`."""
    for statement in module.tree.body:
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.lineno, module.absolute(statement.module, statement.level)


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a package around it is missing
        return False
    except ValueError:  # it is loaded, and not from a file
        return True
