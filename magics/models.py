"""Which of the notebook's classes and functions make up a job's model."""

from __future__ import annotations

import os
import types
from collections.abc import Collection, Mapping
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import JobKind, find_option

_ONE_OF = (("input_fn", "dataset_fn"),)


# A name that the notebook has for one of these is no loss and no optimizer.
_PLAIN = (str, bytes, int, float, list, tuple, dict, set, type(None), types.ModuleType)


def fill_in(
    kind: JobKind, given: Mapping[str, Any], namespace: Mapping[str, Any], defined: Collection[str]
) -> dict[str, Any]:
    """Return the options, under their main names, with the notebook's objects in place of the objects' names.

    `defined` are the names that the cell itself has bound; a model among them need not be named. If the model lacks a
    function of the model contract (`loss`, `optimizer`, `dataset_fn`, …), the notebook's own is used. Raises
    OptionError for a model that the notebook does not have.
    """
    filled: dict[str, Any] = {}
    for name, value in given.items():
        option = find_option(kind, name)
        if option.name in filled:
            raise OptionError(name, f"given twice; it is the same option as {option.name}")
        filled[option.name] = _object(option.name, value, namespace, bool(given.get("model_zoo")))
    if kind != "train":
        return filled
    if not filled.get("model_def"):
        name = cells_model(namespace, defined)
        if name:
            filled["model_def"] = namespace[name]
    model = filled.get("model_def")
    if isinstance(model, str):
        _check_name(model, filled, namespace)
    elif _is_of_notebook(model, namespace):
        _add_parts(filled, model, namespace)
    return filled


def _object(option: str, value: Any, namespace: Mapping[str, Any], has_zoo: bool) -> Any:
    """Return the notebook's object named `value`, or `value` itself if the notebook has no such name."""
    from elasticdl_nb.runtime.model.contract import CLASS_NAMES

    if not isinstance(value, str):
        return value
    if option in ("data", "validation_data"):
        found = namespace.get(value)
        is_other = found is None or isinstance(found, (str, type, types.FunctionType, types.ModuleType))
        return value if is_other or os.path.exists(value) else found
    if option not in ("model_def", *CLASS_NAMES) or (option == "model_def" and has_zoo):
        return value
    root, *attributes = value.split(".")
    found = namespace.get(root)
    for attribute in attributes:
        found = getattr(found, attribute, None)
    if option in ("loss", "optimizer", "eval_metrics_fn") and not isinstance(found, _PLAIN):
        return found  # an object of Keras, a partial function, a tf.function
    return found if _is_code(found) else value


def _check_name(model: str, filled: Mapping[str, Any], namespace: Mapping[str, Any]) -> None:
    if "." in model or filled.get("model_zoo"):
        return
    models = [name for name, value in namespace.items() if not name.startswith("_") and is_model(name, value)]
    near = did_you_mean(model, models)
    others = f" Its models: {', '.join(models)}." if models and not near else ""
    raise OptionError("model_def", f"the notebook defines no {model!r}.{near}{others} Has its cell been run?")


def cells_model(namespace: Mapping[str, Any], defined: Collection[str]) -> str:
    """Return the name of the one model that the cell defines; raise OptionError if there are several or none."""
    models = [name for name in defined if name in namespace and is_model(name, namespace[name])]
    for name in ("custom_model", "model"):
        if name in models:
            return name
    classes = [name for name in models if isinstance(namespace[name], type)]
    # A class that another one derives from is not the model itself.
    bases = {base for name in classes for base in namespace[name].__mro__[1:]}
    last = [name for name in models if not (isinstance(namespace[name], type) and namespace[name] in bases)]
    if len(last) > 1:
        raise OptionError("model_def", f"required: this cell defines several models, {' and '.join(sorted(last))}")
    if not last and defined:
        raise OptionError("model_def", "required: this cell defines no keras.Model or custom_model function")
    return last[0] if last else ""


def is_model(name: str, value: object) -> bool:
    """Whether the value is a Keras model, a class of models, or a function named custom_model."""
    if isinstance(value, types.FunctionType):
        return name == "custom_model"
    kind = value if isinstance(value, type) else type(value)
    return any(base.__name__ == "Model" and base.__module__.startswith("keras.") for base in kind.__mro__[1:]) or (
        not isinstance(value, type) and kind.__name__ == "Sequential" and kind.__module__.startswith("keras.")
    )


def _is_code(value: object) -> bool:
    return isinstance(value, (type, types.FunctionType, types.ModuleType)) or is_model("", value)


def _is_of_notebook(value: object, namespace: Mapping[str, Any]) -> bool:
    if isinstance(value, (type, types.FunctionType)):
        return value.__module__ == namespace.get("__name__")
    return value is not None and not isinstance(value, types.ModuleType)


def _add_parts(filled: dict[str, Any], model: object, namespace: Mapping[str, Any]) -> None:
    from elasticdl_nb.runtime.model.contract import CLASS_NAMES, MODULE_NAMES

    # A dataset_fn comes first, as in a module of a model zoo.
    for role, names in sorted(MODULE_NAMES.items(), key=lambda item: item[0] != "dataset_fn"):
        rivals = {one for pair in _ONE_OF if role in pair for one in pair} | {role}
        if any(filled.get(one) or _has(model, CLASS_NAMES[one]) for one in rivals):
            continue
        if role == "prediction_outputs_processor":
            continue  # not an option of training
        if filled.get("label") and role in ("input_fn", "dataset_fn", "custom_data_reader"):
            continue  # the label says what the input is
        for name in names:
            value = namespace.get(name)
            if isinstance(value, types.FunctionType) and _is_of_notebook(value, namespace):
                filled[role] = value
                break


def _has(model: object, names: Collection[str]) -> bool:
    return isinstance(model, type) and any(hasattr(model, name) for name in names)
