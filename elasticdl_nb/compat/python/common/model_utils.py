"""Functions of `elasticdl.python.common.model_utils` that model modules and tests of models use."""

from __future__ import annotations

import ast
import importlib.util
import os
from types import ModuleType
from typing import Any

from elasticdl_nb.runtime.errors import ModelError

__all__ = ["find_layer", "get_dict_from_params_str", "get_module_file_path", "load_module"]


def load_module(module_file: str) -> ModuleType:
    """Return a Python file as a new module; raises ModelError if there is no such file."""
    spec = importlib.util.spec_from_file_location(module_file, module_file)
    if spec is None or spec.loader is None or not os.path.isfile(module_file):
        raise ModelError(f"{module_file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def get_module_file_path(model_zoo: str, spec_key: str) -> str:
    """Return the file of `module.name` in a model zoo: `model_zoo/module.py`."""
    return os.path.join(model_zoo, *spec_key.split(".")[:-1]) + ".py"


def get_dict_from_params_str(params_str: str | None) -> dict[str, Any]:
    """Return `name=value; name=value` as a dict. Values are Python's; anything else is text."""
    params: dict[str, Any] = {}
    for part in (params_str or "").split(";"):
        name, _, text = part.strip().partition("=")
        if name:
            params[name] = _value(text)
    return params


def find_layer(model: Any, layer_class: type) -> list[Any]:
    """Return the model's layers of that class, also those within its layers."""
    return [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, layer_class)]


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
