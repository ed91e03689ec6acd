"""Python callers may pass code as objects: a model class, functions, a model object, a module.

Workers import code from the model zoo, so each object is turned into the dotted name under which they find it:

- objects from the user's modules: the zoo is the folder on `sys.path` from which their module was imported;
- objects made in a notebook or the running script: their source is captured into a module of the zoo;
- Keras objects that no variable of a module holds, as those made in a call or in a function: captured under a new name;
- objects from Keras: just their name.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elasticdl_nb.capture.objects import is_of_keras
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobKind, find_option

CAPTURED_MODULE = "captured_from_session"
PROCESSOR = "PredictionOutputsProcessor"
_OWN_ZOO = "elasticdl_nb.model_zoo"
_CLASSES = {"model_def": "Model", "loss": "Loss", "optimizer": "Optimizer", "callbacks": "Callback"}
"""What an object of Keras must be, by option."""
_RESULTS = re.compile(r"_+|_\d+")
"""Names under which IPython keeps results: _, __ and _3."""


@dataclass(frozen=True)
class NamedObjects:
    """A job's options without objects, and what the zoo needs so that workers find their names."""

    options: dict[str, Any]
    # Objects to capture, by the names they get in `CAPTURED_MODULE`.
    captured: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where an object is found: `name` below `root`, or below the captured module if `root` is None."""

    root: str | None
    name: str


def name_objects(kind: JobKind, given: Mapping[str, Any]) -> NamedObjects:
    """Return the options with every object replaced by its dotted name.

    Raises OptionError for an object that has no name, comes from an installed package, or is in another zoo than the
    others.
    """
    options = dict(given)
    captured: dict[str, object] = {}
    roots: dict[str, str] = {}
    for option, value in given.items():
        if value is None or isinstance(value, str) or not _names_code(kind, option):
            continue
        place = _find(option, value)
        options[option] = place.name
        if place.root is None:
            captured[place.name.removeprefix(f"{CAPTURED_MODULE}.")] = value
        elif place.root:
            roots[option] = place.root
    if kind != "train" and (captured or roots):
        option = next(name for name in given if name in roots or options[name] is not given[name])
        cure = f"; it includes a class {PROCESSOR} defined when it was trained" if "proc" in option else ""
        raise OptionError(option, f"expected a dotted name: {kind} takes its code from the trained model{cure}")
    if captured and isinstance(processor := vars(sys.modules["__main__"]).get(PROCESSOR), type):
        captured[PROCESSOR] = processor  # not used in training, but when predicting with the trained model
    _choose_zoo(options, roots)
    return NamedObjects(options, captured)


def _names_code(kind: JobKind, name: str) -> bool:
    option = find_option(kind, name)
    return option.group == "Model" and option.form == "NAME"


def _choose_zoo(options: dict[str, Any], roots: dict[str, str]) -> None:
    """Make the objects' common root the zoo, or make their names relative to the zoo that was given."""
    given = options.get("model_zoo")
    for option, root in roots.items():
        if not given:
            options["model_zoo"] = given = root
        zoo = os.path.realpath(given)
        if os.path.realpath(root) == zoo:
            continue
        try:
            below = Path(zoo).relative_to(os.path.realpath(root))
        except ValueError:
            raise OptionError(
                option,
                f"its module was imported from {root}, but the job's model zoo is {given}; they must be the same",
            ) from None
        prefix = ".".join(below.parts) + "."
        if not options[option].startswith(prefix):
            raise OptionError(option, f"{options[option]} is not in the model zoo {given}")
        options[option] = options[option].removeprefix(prefix)


def _find(option: str, value: object) -> _Place:
    _check_class(option, value)
    module_name, name = _module_and_name(option, value)
    if module_name.partition(".")[0] in ("keras", "tensorflow", "tf_keras"):
        if option in ("loss", "optimizer") and not isinstance(value, types.ModuleType):
            return _Place("", name)
        cure = "define a model that uses it" if option == "model_def" else "give an object of it"
        raise OptionError(option, f"{module_name}.{name} is part of Keras; {cure}")
    if module_name == _OWN_ZOO or module_name.startswith(f"{_OWN_ZOO}."):
        return _Place("", f"{module_name}.{name}".removeprefix(f"{_OWN_ZOO}.").rstrip("."))
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None)
    if module_name == "__main__" or file is None:
        return _Place(None, f"{CAPTURED_MODULE}.{name}")
    if "<" in name:
        raise OptionError(option, f"{name} of {file} is defined inside a function; move it to the module's top level")
    return _Place(_root_of(option, module_name, file), f"{module_name}.{name}".rstrip("."))


def _check_class(option: str, value: object) -> None:
    """Refuse an object of Keras of another class than the option is for."""
    wanted = _CLASSES.get(option)
    if wanted is None or not is_of_keras(value):
        return
    objects = value if isinstance(value, (list, tuple)) else [value]
    if not objects and option != "callbacks":
        raise OptionError(option, "is an empty list")
    for one in objects:
        if wanted not in (base.__name__ for base in type(one).__mro__ if base.__module__.startswith("keras.")):
            cure = "; put it into a keras.Sequential" if wanted == "Model" else ""
            raise OptionError(option, f"expected a keras.{wanted}, not {_shown(one)}{cure}")


def _module_and_name(option: str, value: object) -> tuple[str, str]:
    """Return the module of an object and its name there; the name is empty for a module itself."""
    if isinstance(value, types.ModuleType):
        return value.__name__, ""
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        name = value.__qualname__
        if "<" in name:  # a lambda, or made by a function or a decorator: the name that it has in its module
            name = _global_name(value, value.__module__) or name
        return value.__module__, name
    for module_name in ["__main__", *sys.modules]:
        name = _global_name(value, module_name)
        if name:
            return module_name, name
    if is_of_keras(value):
        return "__main__", _free_name(option.removesuffix("_def"))
    raise OptionError(
        option,
        f"{_shown(value)} is not a class, function or module, or the value of a global variable; assign it to one, or "
        "write a function that returns it",
    )


def _free_name(name: str) -> str:
    """A name that no variable of the notebook or script has."""
    while name in vars(sys.modules["__main__"]):
        name += "_given"
    return name


def _global_name(value: object, module_name: str) -> str:
    module = sys.modules.get(module_name)
    names = [name for name, other in list(getattr(module, "__dict__", {}).items()) if other is value]
    names.sort(key=lambda name: name.startswith("_"))
    return next((name for name in names if not _RESULTS.fullmatch(name)), "")


def _root_of(option: str, module_name: str, file: str) -> str:
    path = Path(file)
    depth = module_name.count(".") + (path.name == "__init__.py")
    root = path.resolve().parents[depth]
    installed = {os.path.realpath(folder) for folder in sysconfig.get_paths().values()}
    if os.fspath(root) in installed:
        raise OptionError(
            option,
            f"{module_name} is an installed package, but a model zoo is a folder of your own; define a class or "
            "function there that uses it",
        )
    return os.fspath(root)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
