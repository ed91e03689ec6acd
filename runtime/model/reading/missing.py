"""Whether what a model's code imports is there: packages, the zoo's own modules, and those of elasticdl_nb.

Only imports that are certain count: at the top of a file, outside of `try` and `if`, in the model's module and the
zoo's modules that it imports in that way.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.model.reading.ownnames import is_installed
from elasticdl_nb.runtime.model.reading.source import Defined, Module, Zoo
from elasticdl_nb.runtime.spec import JobSpec

_OWN = "elasticdl_nb."
_COMPATIBLE = ("elasticdl", "elasticdl_preprocessing")
"""Packages for those who come from ElasticDL: what they lack is said by name."""

_PAGE = "docs/elasticdl.md lists what there is"
_NOT_OFFERED = {
    "elasticai_api": "ElasticDL's interface for training loops of one's own is not offered; define custom_model, loss, "
    "optimizer and feed, and let the job train",
    "horovod": "Horovod is not offered; --distribution_strategy=AllreduceStrategy averages the gradients of a Keras "
    "model by itself",
    "odps": "MaxCompute is not offered; use files, or a database through SQL",
    "recordio": "RecordIO is read and written by elasticdl_nb.data.recordio",
}
_DISTRIBUTIONS = {
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python-headless", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip
_MAXCOMPUTE = ("MAXCOMPUTE_PROJECT", "MAXCOMPUTE_AK", "MAXCOMPUTE_SK")
_ODPS_MODULES = ("elasticdl.python.data.odps_io", "elasticdl.python.data.reader.odps_reader",
                 "elasticdl.python.data.reader.data_reader_factory")  # fmt: skip
_ODPS_READERS = {"ODPSReader", "ODPSDataReader", "ParallelODPSDataReader"}


@dataclass(frozen=True)
class _Import:
    module: Module
    line: int
    name: str
    names: tuple[str, ...] = ()


def check_imports(zoo: str, spec: JobSpec) -> None:
    """Raise OptionError if the model's code imports something that is certainly not there, or would use MaxCompute.

    The arguments are those of `check_model`.
    """
    if not spec.model_def:
        return
    source = Zoo(zoo)
    imports = list(_reachable(source, source.locate(spec.model_def).module))
    elsewhere = "PYTHONPATH" in spec.envs or any(_moves_path(one.module) for one in imports)
    for one in imports:
        problem = _problem(source, one, spec, elsewhere)
        if problem:
            where = source.place(one.module.path, one.line)
            raise OptionError(_option(spec), f"{where}, imports {one.name}, {problem}")
    _check_maxcompute(source, imports, spec)


def _option(spec: JobSpec) -> str:
    return "model_def" if spec.kind == "train" else "trained_model"


def _reachable(source: Zoo, start: str) -> Iterator[_Import]:
    waiting, seen = [start], set()
    while waiting:
        name = source.inside(waiting.pop())
        if name in seen or source.path(name) is None:
            continue
        seen.add(name)
        for one in _imports(source.module(name)):
            yield one
            waiting += [one.name, *(f"{one.name}.{imported}" for imported in one.names)]


def _imports(module: Module) -> Iterator[_Import]:
    for statement in module.tree.body:
        if isinstance(statement, ast.Import):
            yield from (_Import(module, statement.lineno, alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            names = tuple(alias.name for alias in statement.names if alias.name != "*")
            yield _Import(module, statement.lineno, module.absolute(statement.module, statement.level), names)


def _problem(source: Zoo, one: _Import, spec: JobSpec, elsewhere: bool) -> str:
    """Say what is wrong with an import, in the rest of a sentence; nothing if it may work."""
    top = one.name.partition(".")[0]
    if not top or source.has(one.name):
        return ""
    if one.name.startswith(_OWN):
        cure = "change the import" if spec.kind == "train" else "train the model again with this version"
        return "" if _is_module(one.name) else f"which this version of elasticdl_nb does not have; {cure}"
    if top in _COMPATIBLE and not source.has(top):
        return _problem_with_compatible(top, one)
    if source.has(top) or top in source.own_names:
        # The zoo's folder may hide an installed package that has it.
        near = did_you_mean(source.inside(one.name), source.module_names())
        return "" if is_installed(top) else f"which the model zoo does not have.{near}"
    if elsewhere or _can_be_found(top):
        return ""
    if top in _NOT_OFFERED:
        return f"which is not installed. {_NOT_OFFERED[top]}"
    return f"which is not installed. To install: pip install {_DISTRIBUTIONS.get(top, top)}"


def _problem_with_compatible(top: str, one: _Import) -> str:
    package = _compatible(top)
    inner = one.name[len(top) + 1 :]
    if inner and not package.has(inner):
        return f"which elasticdl_nb does not have; {_PAGE}"
    holder = package.module(inner) if package.path(inner) is not None else None
    for name in one.names if holder is not None else ():
        assert holder is not None
        if package.lookup(holder, name) is None:
            near = did_you_mean(name, package.names(holder))
            return f"whose {name} elasticdl_nb does not have; {_PAGE}.{near}"
    return ""


@functools.cache
def _compatible(top: str) -> Zoo:
    """The source of a compatibility package, read as if it were a zoo."""
    spec = importlib.util.find_spec(top)
    assert spec is not None and spec.submodule_search_locations
    return Zoo(next(iter(spec.submodule_search_locations)))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a package around it is missing
        return False
    except ValueError:  # it is loaded, and not from a file
        return True


def _can_be_found(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return True


def _moves_path(module: Module) -> bool:
    """Whether the module may change where Python looks for modules."""
    return {"sys", "path"} <= module.mentions


# ------------------------------------------------------------------ MaxCompute


def _check_maxcompute(source: Zoo, imports: list[_Import], spec: JobSpec) -> None:
    users = [one for one in imports if one.name in _ODPS_MODULES]
    if not users:
        return
    given = {**os.environ, **spec.envs}
    where = source.place(users[0].module.path, users[0].line)
    if all(name in given for name in _MAXCOMPUTE):
        raise OptionError(
            _option(spec),
            f"{where}, imports {users[0].name}, and {', '.join(_MAXCOMPUTE)} are set, so it would use MaxCompute, "
            "which elasticdl_nb does not read or write; unset them, or change the code",
        )
    location = source.locate(spec.model_def)
    reader = source.lookup(source.module(location.module), spec.custom_data_reader or "custom_data_reader")
    if isinstance(reader, Defined) and _ODPS_READERS & {
        node.id for node in ast.walk(reader.node) if isinstance(node, ast.Name)
    }:
        raise OptionError(
            _option(spec), f"{reader.name} reads from MaxCompute, which elasticdl_nb does not; use files, or a "
            "database through SQL",
        )  # fmt: skip
