"""Importing a zoo's modules into this process, and turning errors in the user's code into one message."""

from __future__ import annotations

import contextlib
import importlib
import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from elasticdl_nb.runtime.errors import ElasticDLError, ModelError, OptionError, did_you_mean
from elasticdl_nb.runtime.model.loading.essence import essence, frames_in
from elasticdl_nb.runtime.model.loading.finding import ZooFinder
from elasticdl_nb.runtime.model.older.installing import install
from elasticdl_nb.runtime.model.reading import places
from elasticdl_nb.runtime.model.reading.source import Zoo

_in_use: list[str] = []
_CAPTURED = places.CAPTURED_FILE.removesuffix("py")


def use_zoo(root: str) -> None:
    """Put a zoo's root first on the import path, and back what Keras 3 dropped; a process uses one zoo at a time.

    Modules that were imported from another zoo are forgotten, so that equal names do not clash.
    """
    install()
    wanted = os.path.realpath(root)
    for other in [path for path in _in_use if path != wanted]:
        _in_use.remove(other)
        sys.path[:] = [path for path in sys.path if path != other]
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "")
            if file and os.path.realpath(file).startswith(other + os.sep):
                del sys.modules[name]
    if wanted not in _in_use:
        _in_use.append(wanted)
        ZooFinder.use(wanted)
        importlib.invalidate_caches()
    if sys.path[:1] != [wanted]:
        sys.path[:] = [wanted, *(path for path in sys.path if path != wanted)]


@contextlib.contextmanager
def user_code(doing: str, root: str) -> Iterator[None]:
    """Turn exceptions from the user's code within the block into a ModelError that names the place in their files."""
    try:
        yield
    except ElasticDLError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{doing.replace(_CAPTURED, '')} failed: {describe(error, root)}") from error


def describe(error: BaseException, root: str) -> str:
    """Return an error's type and message, and the last line of the zoo's own code that it passed through."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({_place(error.filename or '?', error.lineno or 1, root)})"
    text = essence(str(error))
    summary = f"{type(error).__name__}: {text}" if text else type(error).__name__
    converted = getattr(error, "ag_error_metadata", None)
    if converted is not None and converted.cause_message:
        kind, colon, cause = converted.cause_message.partition(": ")
        summary = f"{kind}: {essence(cause)}" if colon else kind
    frames = [
        (filename, line) for filename, line in [*_places(error), *frames_in(str(error))]
        if os.path.realpath(filename).startswith(os.path.realpath(root) + os.sep)
    ]  # fmt: skip
    if not frames:
        return summary
    filename, number = frames[-1]
    line = linecache.getline(filename, number).strip()
    return f"{summary} ({_place(filename, number, root)}: {line})"


def _places(error: BaseException) -> list[tuple[str, int]]:
    """The files and lines that an error passed through, the innermost last."""
    # Code converted by AutoGraph runs from generated files; AutoGraph remembers the places in the originals.
    converted = getattr(error, "ag_error_metadata", None)
    if converted is not None:
        return [(frame.filename, frame.lineno) for frame in reversed(converted.translated_stack)]
    return [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]


def _place(filename: str, line: int, root: str) -> str:
    relative = filename
    with contextlib.suppress(ValueError):
        relative = os.fspath(Path(os.path.realpath(filename)).relative_to(os.path.realpath(root)))
    return places.place(Path(filename), relative, line)


def import_from_zoo(zoo: Zoo, name: str) -> ModuleType:
    """Import one of the zoo's modules; raises ModelError with the user's own file and line if that fails."""
    use_zoo(os.fspath(zoo.root))
    with user_code(f"importing {name}", os.fspath(zoo.root)):
        module = importlib.import_module(name)
    expected = zoo.path(name)
    actual = getattr(module, "__file__", None)
    if expected is not None and actual and os.path.realpath(actual) != os.path.realpath(expected):
        raise ModelError(
            f"importing {name}: the model zoo's {zoo.relative(expected)} is hidden by the installed {actual}; rename it"
        )
    return module


def find(zoo: Zoo, dotted: str, option: str, module: ModuleType | None = None) -> Any:
    """Return the object with that name, from `module` (the model's), the zoo, the built-in functions, or a package.

    Raises OptionError(option, …) if it is in none of them.
    """
    parts = dotted.split(".")
    if module is not None and hasattr(module, parts[0]) and not (len(parts) > 1 and zoo.has(parts[0])):
        return _take(getattr(module, parts[0]), parts[1:], dotted, option)
    if zoo.has(parts[0]) and len(parts) > 1:
        location = zoo.locate(dotted, option)
        return _take(import_from_zoo(zoo, location.module), location.attributes, dotted, option)
    if len(parts) > 1:
        for prefix in ("elasticdl_nb.model_zoo.", ""):
            found = _import_longest(prefix, parts, os.fspath(zoo.root))
            if found is not None:
                return _take(found[0], parts[found[1] :], dotted, option)
    near = "" if module is None else did_you_mean(dotted, vars(module))
    here = "this session" if module and f"{module.__name__}.py" == places.CAPTURED_FILE else ""
    where = "the model zoo" if module is None else here or f"{module.__name__}, the model's module,"
    raise OptionError(option, f"{dotted!r} is neither in {where} nor installed.{near}")


def _import_longest(prefix: str, parts: list[str], root: str) -> tuple[ModuleType, int] | None:
    """Import the longest part of a dotted name that is a module; return it and its number of parts."""
    found = None
    for count in range(1, len(parts)):
        name = prefix + ".".join(parts[:count])
        try:
            found = importlib.import_module(name), count
        except ModuleNotFoundError as error:
            if error.name is not None and not name.startswith(error.name):
                raise ModelError(f"importing {name} failed: {describe(error, root)}") from error
            break
    return found


def _take(value: Any, attributes: Any, dotted: str, option: str) -> Any:
    for attribute in attributes:
        if not hasattr(value, attribute):
            owner = getattr(value, "__name__", type(value).__name__)
            near = did_you_mean(attribute, dir(value))
            raise OptionError(option, f"{dotted!r}: {owner} has no {attribute!r}.{near}")
        value = getattr(value, attribute)
    return value
