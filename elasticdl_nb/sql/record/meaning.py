"""The meaning of a trained model's outputs, NumPy arrays: numbers, or the classes that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from elasticdl_nb.sql.record.modelrecord import Label


def value_kind(label: Label | None) -> str:
    """Return the kind of value that a model with this label predicts: integer, float, boolean or text."""
    classes = _classes(label)
    if classes is None:
        return "float"
    if label is not None and label.kind == "boolean":
        return "boolean"
    if all(isinstance(value, int) for value in classes):
        return "integer"
    return "text" if all(isinstance(value, str) for value in classes) else "float"


def decoder(label: Label | None) -> Callable[[Any], Sequence[Any]]:
    """Return a function from outputs, [n] or [n, k], to values for a column: numbers, or the classes they stand for.

    If there are several outputs but no known classes, the prediction is the number of the greatest output.
    """
    classes = _classes(label)
    kind = value_kind(label)

    def decode(outputs: Any) -> Sequence[Any]:
        if classes is None:
            numbers = outputs if outputs.ndim == 1 else outputs.argmax(axis=-1)
            return list(numbers.astype(float))
        # WITH may have asked for more classes than the label had values.
        found = [classes[place] if place < len(classes) else None for place in chosen(outputs).tolist()]
        return [None if value is None else bool(value) for value in found] if kind == "boolean" else found

    return decode


def chosen(outputs: Any) -> Any:
    """Return the class number that each output, [n] or [n, k], stands for."""
    return (outputs > 0.5).astype(int) if outputs.ndim == 1 else outputs.argmax(axis=-1)


def _classes(label: Label | None) -> tuple[Any, ...] | None:
    """Return the values that a prediction may have; None if it is a number."""
    return None if label is None or label.task == "probability" else label.classes
