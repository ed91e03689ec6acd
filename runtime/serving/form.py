"""What a model takes and gives: the names, types and shapes of its inputs and outputs, and whether values fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.runtime.serving.columns import WHOLE, check_whole
from elasticdl_nb.runtime.serving.problems import invalid

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Form:
    """One input or output: TensorFlow's name of the type, and the shape of a record, in which None is any size.

    `column` is the kind of the column that it is, of models that take rows of a table: values may be missing.
    """

    dtype: str
    shape: tuple[int | None, ...]
    column: str = ""

    @property
    def numpy(self) -> np.dtype[Any]:
        """The type in NumPy; texts are objects."""
        return np.dtype(object if self.dtype == "string" else self.dtype)

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('?' if size is None else str(size) for size in (None, *self.shape))}]"


def check_names(inputs: Mapping[str, Any], forms: Mapping[str, Form]) -> None:
    """Raise Refused unless the inputs are those of the model. Rows of a table may have other columns."""
    is_row = any(form.column for form in forms.values())
    for name in inputs:
        if name not in forms and not is_row:
            raise invalid(f"the model has no input {name!r}; it has {', '.join(forms)}.{did_you_mean(name, forms)}")
    if missing := [name for name in forms if name not in inputs]:
        raise invalid(f"the input {missing[0]!r} is missing; the model takes {', '.join(forms)}")


def checked(inputs: Values, forms: Mapping[str, Form]) -> dict[str, NDArray[Any]]:
    """Return inputs, in the order of `forms`, that have the model's names, types and shapes, and equally many records.

    Raises Refused if they do not.
    """
    check_names(inputs, forms)
    records = {len(inputs[name]) for name in forms if inputs[name].ndim}
    for name, form in forms.items():
        value = inputs[name]
        sizes = value.shape[1:]
        fits = value.ndim == 1 + len(form.shape) and all(
            wanted in (None, size) for wanted, size in zip(form.shape, sizes, strict=True)
        )
        if fits and form.column in WHOLE and value.dtype == np.float64:
            check_whole(name, form.column, value)
        elif not fits or value.dtype != form.numpy:
            dtype = "string" if value.dtype == object else value.dtype.name
            raise invalid(f"the input {name!r} must be {form}, not {dtype} {list(value.shape)}")
    if len(records) > 1:
        raise invalid(f"all inputs must have equally many records, not {' and '.join(map(str, sorted(records)))}")
    if not next(iter(records), 0):
        raise invalid("the request has no records")
    return {name: inputs[name] for name in forms}
