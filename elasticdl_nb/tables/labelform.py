"""Decides how a label becomes a tensor, and what fits it where a model was not compiled: without Keras.

| form | the tensor | the default loss |
|---|---|---|
| number | the number, float32 [n, 1] | mean_squared_error |
| binary | 0.0 or 1.0, float32 [n, 1] | binary_crossentropy |
| ids | the number of the class, int32 [n, 1] | sparse_categorical_crossentropy |
| whole | the value itself, int32 [n, 1] | sparse_categorical_crossentropy |
| one_hot | 1.0 at the number of the class, float32 [n, classes] | categorical_crossentropy |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.tables.tablerecord import TableLabel

LabelForm = Literal["number", "binary", "ids", "whole", "one_hot"]

LOSSES: dict[LabelForm, str] = {
    "number": "mean_squared_error",
    "binary": "binary_crossentropy",
    "ids": "sparse_categorical_crossentropy",
    "whole": "sparse_categorical_crossentropy",
    "one_hot": "categorical_crossentropy",
}
_BINARY = ("binary_crossentropy", "binary_focal_crossentropy", "hinge", "squared_hinge")
_ONE_HOT = (
    "categorical_crossentropy", "categorical_focal_crossentropy", "categorical_generalized_cross_entropy",
    "categorical_hinge", "kl_divergence",
)  # fmt: skip
_ID = ("sparse_categorical_crossentropy",)


@dataclass(frozen=True)
class Head:
    """The end of a model: how many numbers it gives (None if that is not known), and its last activation, if known."""

    units: int | None = None
    activation: str = ""


def label_form(label: TableLabel, head: Head, loss: str = "", *, own_loss: bool = False) -> LabelForm:
    """Return the form that the model's loss takes, or where it has none, the form that fits the end of the model.

    `loss` is the name of a Keras loss; `own_loss` says that there is one of another kind, which may take anything.
    Raises ModelError, which says what would do, if label and model do not fit.
    """
    count = len(label.classes)
    if loss in _ID:
        return _numbered(label, head, loss)
    if loss in _ONE_HOT:
        _check_classes(label, loss)
        _check_units(label, head, exactly=True)
        return "one_hot"
    if loss in _BINARY:
        if head.units not in (None, 1):
            _check_classes(label, loss)
            _check_units(label, head, exactly=True)
            return "one_hot"
        if count != 2:
            raise ModelError(f"the loss {loss} is for two classes, but {_values(label)}")
        return "binary"
    if loss or (own_loss and not label.is_category and head.units in (None, 1)):
        if label.is_category:
            raise ModelError(f"the loss {loss} is for numbers, but the label {label.column!r} is {label.kind}")
        return "number"
    return _by_head(label, head)


def _by_head(label: TableLabel, head: Head) -> LabelForm:
    count = len(label.classes)
    if head.units is None:
        raise ModelError("the model does not show how many numbers it gives; compile it, or give a loss")
    if head.units > 1:
        return _numbered(label, head, "")
    if head.activation == "softmax":
        raise ModelError("the softmax of a single number is always 1; use sigmoid for two classes, or more units")
    is_flag = label.classes in ((0, 1), (0.0, 1.0)) and head.activation in ("sigmoid", "linear")
    if label.is_category or is_flag or (head.activation == "sigmoid" and count == 2):
        if count != 2:
            raise ModelError(f"the model gives one number, but {_values(label)}; its last layer needs {count} units")
        return "binary"
    if head.activation == "sigmoid" and not 0 <= label.low <= label.high <= 1:
        raise ModelError(
            f"a sigmoid gives numbers between 0 and 1, but the label {label.column!r} goes from {label.low:g} to "
            f"{label.high:g}; leave out the last layer's activation"
        )
    return "number"


def _numbered(label: TableLabel, head: Head, loss: str) -> LabelForm:
    _check_classes(label, loss or f"{head.units} outputs")
    units, count = head.units, len(label.classes)
    in_range = units is not None and label.kind == "integer" and label.low >= 0 and label.high < units
    if in_range and units != count:
        return "whole"
    _check_units(label, head, exactly=not loss)
    return "ids"


def _check_classes(label: TableLabel, what: str) -> None:
    if not label.classes:
        raise ModelError(
            f"the model is made for classes ({what}), but the label {label.column!r} is a number with many values; "
            "give the last layer one unit, and a loss such as mse"
        )


def _check_units(label: TableLabel, head: Head, *, exactly: bool) -> None:
    count = len(label.classes)
    if head.units is not None and (head.units < count or (exactly and head.units != count)):
        raise ModelError(
            f"the model gives {head.units} numbers, but {_values(label)}; its last layer needs {count} units"
        )


def _values(label: TableLabel) -> str:
    many = f"{len(label.classes):,}" if label.classes else "many"
    return f"the label {label.column!r} has {many} different values"
