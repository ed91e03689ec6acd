"""How to call the user's functions: their arguments, according to their signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from types import FunctionType
from typing import Any

from elasticdl_nb.runtime.model.contract import LABELS_FIRST, OUTPUTS_FIRST

_OWN_NAMES = ("self", "this", "cls", "model")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The function's parameters; none if it has no signature (as some functions written in C)."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that can be given by position."""
    return [parameter for parameter in parameters(function) if parameter.kind in _POSITIONAL]


def takes_by_name(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """The names that the function takes as keywords, and whether it takes any other (`**kwargs`)."""
    names = [
        parameter.name
        for parameter in parameters(function)
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]
    return names, any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters(function))


def is_pair_function(function: Callable[..., Any]) -> bool:
    """Whether the function takes two values, such as labels and outputs, rather than returning such a function."""
    given = positional(function)
    if len(given) >= 2:
        first_two = (given[0].name, given[1].name)
        named = any(name in (*LABELS_FIRST, *OUTPUTS_FIRST) for name in first_two)
        return named or all(parameter.default is inspect.Parameter.empty for parameter in given[:2])
    return any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters(function))


def outputs_first(function: Callable[..., Any], default: bool) -> bool:
    """Whether a function of labels and outputs takes the outputs first, judging by its parameters' names."""
    names = [parameter.name for parameter in positional(function)[:2]]
    if len(names) < 2:
        return default
    if names[0] in OUTPUTS_FIRST or names[1] in LABELS_FIRST:
        return True
    if names[0] in LABELS_FIRST or names[1] in OUTPUTS_FIRST:
        return False
    return default


def attribute_of(model: Any, names: Collection[str]) -> Any:
    """Return the first of these attributes that the model's own class (not Keras') has, ready to be called, or None.

    A function without a `self` works too, whether or not it is marked as a static method.
    """
    for name in names:
        for owner in type(model).__mro__:
            if owner.__module__.split(".")[0] in ("keras", "tensorflow"):
                continue
            if name not in vars(owner):
                continue
            value = vars(owner)[name]
            first = [parameter.name for parameter in positional(value)[:1]] if isinstance(value, FunctionType) else []
            if isinstance(value, FunctionType) and (not first or first[0] not in _OWN_NAMES):
                return value
            return getattr(model, name)
    return None
