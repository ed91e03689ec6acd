"""`declare_model_inputs`: the names of what a subclassed model's `call` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from elasticdl_nb.runtime.errors import ModelError

Class = TypeVar("Class", bound=type)


def declare_model_inputs(*names: str) -> Callable[[Class], Class]:
    """Give a class the attribute `_model_inputs`, a list of these names; raises ModelError if they are no names."""
    if not names or not all(isinstance(name, str) for name in names):
        raise ModelError(f'declare_model_inputs needs one or more names, such as "wide"; it got {names!r}')

    def declare(owner: Class) -> Class:
        owner._model_inputs = list(names)  # type: ignore[attr-defined]
        return owner

    return declare
