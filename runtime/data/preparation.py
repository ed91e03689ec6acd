"""Finding and calling the user's `prepare_data_for_a_single_file`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from elasticdl_nb.runtime.errors import DataError, OptionError, did_you_mean

FUNCTION = "prepare_data_for_a_single_file"

PrepareFunction = Callable[[str], bytes | Iterable[bytes]]


def find(name: str, zoo: str) -> PrepareFunction:
    """Import a function by its dotted name from the root of a model zoo.

    `name` is a module with a `prepare_data_for_a_single_file`, or module.function. Raises OptionError.
    """
    if zoo and not os.path.isdir(zoo):
        raise OptionError("model_zoo", f"there is no directory {zoo}")
    root = os.path.abspath(zoo or ".")
    if root not in sys.path:
        sys.path.insert(0, root)
    importlib.invalidate_caches()
    module_name, _, function_name = name.rpartition(".")
    module = _import(name, root)
    if module is not None:
        function_name = FUNCTION
    elif module_name:
        module = _import(module_name, root)
    if module is None:
        raise OptionError("prepare", f"there is no module {name!r} in {root}{_modules(root, name)}")
    function = getattr(module, function_name, None)
    if not callable(function):
        near = did_you_mean(function_name, [item for item in vars(module) if callable(getattr(module, item))])
        raise OptionError("prepare", f"module {module.__name__} has no function {function_name}.{near}")
    return function  # type: ignore[no-any-return]


def _import(name: str, root: str) -> Any:
    """Return the module, or None if it does not exist."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise OptionError("prepare", f"module {name} of {root} needs {error.name}, which is not installed") from error
    except Exception as error:  # the user's module may raise anything
        last = traceback.format_exception_only(error)[-1].strip()
        raise OptionError("prepare", f"module {name} of {root} could not be imported: {last}") from error


def _modules(root: str, name: str) -> str:
    with contextlib.suppress(OSError):
        present = [entry.removesuffix(".py") for entry in os.listdir(root)]
        return did_you_mean(name.partition(".")[0], present)
    return ""


def call(function: PrepareFunction, path: str) -> list[bytes]:
    """Return the records that the function makes from a file; any failure is a DataError that names the file."""
    try:
        made = function(path)
        records = [made] if isinstance(made, (bytes, bytearray)) else list(made)
    except Exception as error:  # the user's function may raise anything
        last = traceback.format_exception_only(error)[-1].strip()
        raise DataError(f"{path}: {FUNCTION} failed: {last}") from error
    for record in records:
        if not isinstance(record, (bytes, bytearray)):
            raise DataError(
                f"{path}: {FUNCTION} returned {type(record).__name__}; expected a serialized record (bytes) or an "
                "iterable of them"
            )
    return [bytes(record) for record in records]
