"""Reads state: a packaged module calls this while it is imported."""

from __future__ import annotations

import contextvars
import filecmp
import importlib
import json
import os
import pickle
import platform
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.storage import workfolder

FOLDER = "state"
# The namespace of the module that is loading a file; `rebuilding.named` looks names up in it.
namespaces: contextvars.ContextVar[MutableMapping[str, Any]] = contextvars.ContextVar("namespaces")
# What is left to do when all objects of the file are complete.
afterwards: contextvars.ContextVar[list[Callable[[], None]]] = contextvars.ContextVar("afterwards")
_ABSENT: Any = object()


def loader(namespace: MutableMapping[str, Any]) -> Callable[..., Any]:
    """Return the function that loads the files in `state/` beside the module whose globals are `namespace`.

    `load("x.npy")` returns what the file holds; `load("x.pkl", into=x)` gives the existing object `x` the state in the
    file, and `load(value, into=x)` gives it the contents of `value`; what the file holds besides is returned after `x`.
    Raises ModelError for a file that is missing, or
    that was written with other versions of the libraries that its objects belong to.
    """
    folder = os.path.join(os.path.dirname(os.path.abspath(namespace["__file__"])), FOLDER)

    def load(source: Any, into: Any = _ABSENT) -> Any:
        value = _read(os.path.join(folder, source), namespace) if isinstance(source, str) else source
        if into is _ABSENT:
            return value
        content, *others = value if isinstance(value, tuple) else (value,)
        refill(into, content)
        return (into, *others) if others else into

    return load


def use_files(module: str, *names: str) -> None:
    """Make relative paths to files that were packaged beside the file `module` work, or say that they do not.

    Where the working directory has all of them, as the notebook's folder does, they are read there. Otherwise, a
    process of a job changes to the job's `work` folder, which gets copies; another process stays where it is, and is
    warned.
    """
    folder = os.path.dirname(os.path.abspath(module))
    missing = [name for name in names if not os.path.exists(name)]
    if not missing:
        for name in names:
            if not os.path.isfile(name) or not filecmp.cmp(name, os.path.join(folder, name), shallow=False):
                warnings.warn(
                    f"{os.path.abspath(name)} is not the {name} that was packaged with the model", stacklevel=2
                )
    elif not workfolder.enter(folder, names):
        warnings.warn(
            f"the model reads {', '.join(missing)} in the working directory, which does not have it; it was packaged "
            f"in {folder}: copy it from there, or change to that folder",
            stacklevel=2,
        )


def refill(target: Any, content: Any) -> None:
    """Replace the contents of a list, dict, set or object, which keeps its identity."""
    if isinstance(target, list):
        target[:] = content
    elif isinstance(target, (dict, set)):
        target.clear()
        target.update(content)
    else:
        vars(target).clear()
        vars(target).update(content)


def _read(path: str, namespace: MutableMapping[str, Any]) -> Any:
    name = os.path.basename(path)
    if not os.path.exists(path):
        raise ModelError(f"{FOLDER}/{name} is missing: it belongs beside {os.path.basename(namespace['__file__'])}")
    if name.endswith(".npy"):
        import numpy as np

        return np.load(path, allow_pickle=False)
    if name.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    if name.endswith(".parquet"):
        import pandas as pd

        return pd.read_parquet(path)
    with open(path, "rb") as file:
        header = json.loads(file.readline())
        check_versions(name, header["versions"])
        remaining: list[Callable[[], None]] = []
        tokens = namespaces.set(namespace), afterwards.set(remaining)
        try:
            # The file is part of a package of code, and as trustworthy as the module that loads it.
            value = pickle.load(file, buffers=arrays_in(path) if "arrays" in header else None)  # noqa: S301
            for finish in remaining:
                finish()
        finally:
            namespaces.reset(tokens[0])
            afterwards.reset(tokens[1])
    if header.get("names"):
        from elasticdl_nb.capture.state.rebuilding import reserve_names

        reserve_names(header["names"])
    return value


def arrays_in(path: str) -> Iterator[bytearray]:
    """Yield the memory of the large arrays that follow a file's pickle, in the order in which it refers to them."""
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(8), "little")
        file.seek(-8 - length, os.SEEK_END)
        start, *sizes = json.loads(file.read(length))
        file.seek(start)
        for size in sizes:
            memory = bytearray(size)
            file.readinto(memory)
            yield memory


def check_versions(file: str, written: dict[str, str]) -> None:
    """Raise ModelError unless the libraries here have the major and minor versions that a file was written with."""
    for library, version in written.items():
        here = platform.python_version() if library == "Python" else _installed(library)
        if here.split(".")[:2] != version.split(".")[:2]:
            raise ModelError(
                f"{FOLDER}/{file} was written with {library} {version}, but {here or 'none'} is installed here; "
                f"install the version that wrote it (see requirements.txt)"
            )


def _installed(library: str) -> str:
    """The installed version of a library; empty if there is none."""
    try:
        return str(importlib.import_module(library).__version__)
    except ImportError:
        return ""
