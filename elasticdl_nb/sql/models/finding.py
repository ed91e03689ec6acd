"""Finds models by name: built-in ones, and classes that are defined where the statement runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.runtime.model.contract import CLASS_NAMES, MODULE_NAMES, STEPS
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo
from elasticdl_nb.runtime.model.reading.shapes import (
    KERAS_MODEL_ARGUMENTS,
    Arguments,
    arguments_of,
    constructor_of,
)
from elasticdl_nb.runtime.model.reading.source import Defined, Zoo
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name
from elasticdl_nb.sql.models.argumentforms import BUILT_IN, Form, of_class
from elasticdl_nb.sql.record.modelrecord import OWN_STEPS, Task

LINEAR, DEEP, FIELDS = "linear_feature_columns", "dnn_feature_columns", "field_feature_columns"


@dataclass(frozen=True)
class Model:
    """A model that TRAIN may name.

    `targets` are its inputs (only "" if it has a single one). A model that reads the query's columns itself, with its
    own input function, has no features. `model_def` is its name for the job, and `value` is the object to capture if
    its source must be captured.
    """

    name: str
    module: str = ""
    class_name: str = ""
    task: Task = ""
    targets: tuple[str, ...] = ("",)
    own_input: bool = False
    model_def: str = ""
    value: Any = None
    hidden: tuple[str, ...] = ()
    optimizer: str = ""
    loss: str = ""
    """Keras' names of its own optimizer and loss, if that is known."""

    def forms(self) -> Mapping[str, Form]:
        """Return which values the arguments take, as far as that is known."""
        return BUILT_IN if self.value is None else of_class(self.value)

    def arguments(self) -> Arguments:
        """Return the arguments of the constructor that WITH may give."""
        if self.value is not None:
            found = _signature(self.value)
        else:
            zoo = Zoo(built_in_zoo())
            module = zoo.module(self.module)
            defined = zoo.lookup(module, self.class_name)
            assert isinstance(defined, Defined)
            made = constructor_of(zoo, defined) if self.class_name[:1].isupper() else None
            found = made or _of_function(zoo, defined)
        names = tuple(name for name in found.names if name not in self.hidden)
        return Arguments(names, tuple(name for name in found.required if name in names), found.takes_any)


_TABLE_ARGUMENTS = ("features", "label", "classes", "name", "trainable", "dtype")
_TABLES = [
    Model("DNNClassifier", "DNNClassifier", "DNNClassifier", "classification", hidden=_TABLE_ARGUMENTS,
          optimizer="Adam", loss="SparseCategoricalCrossentropy"),
    Model("DNNRegressor", "DNNRegressor", "DNNRegressor", "regression", hidden=_TABLE_ARGUMENTS,
          optimizer="Adam", loss="MeanSquaredError"),
    Model("regressor.DNN", "regressor", "DNN", "regression", hidden=_TABLE_ARGUMENTS,
          optimizer="Adam", loss="MeanSquaredError"),
    Model("regressor.wide_and_deep.MagicalWAD", "regressor.wide_and_deep", "MagicalWAD", "regression",
          (LINEAR, DEEP), hidden=_TABLE_ARGUMENTS, optimizer="Adam", loss="MeanSquaredError"),
    Model("DeepFM", "deepfm.tables", "DeepFM", "probability", (LINEAR, FIELDS, DEEP), hidden=_TABLE_ARGUMENTS,
          optimizer="Adam", loss="BinaryCrossentropy"),
]  # fmt: skip
_OWN = [
    Model(name, name, "custom_model", own_input=True, model_def=f"{name}.custom_model")
    for name in ("flights.wide_and_deep", "deepfm.deepfm")
]
PREBUILT: Mapping[str, Model] = {model.name: model for model in (*_TABLES, *_OWN)}


def find_model(name: Name, namespace: Mapping[str, Any]) -> Model:
    """Return the model of that name, built in or a class in `namespace`; else raise SqlError with similar names.

    The name is looked up, never evaluated.
    """
    if name.text in PREBUILT:
        return PREBUILT[name.text]
    value = namespace.get(name.text)
    if inspect.isclass(value) and is_model_class(value):
        found = _of_class(name.text, value)
        if not found.own_input and (hidden := _own_step(value)):
            raise SqlError(f"{name.text}.{hidden}: {OWN_STEPS}", name.position)
        return found
    classes = [other for other, candidate in list(namespace.items()) if is_model_class(candidate)]
    known = [*PREBUILT, *classes]
    if value is not None:
        raise SqlError(f"{name.text} is a {type(value).__name__}, not a subclass of keras.Model", name.position)
    by_last = [other for other in known if other.rpartition(".")[2].lower() == name.text.rpartition(".")[2].lower()]
    near = f" Did you mean {by_last[0]!r}?" if by_last else did_you_mean(name.text, known)
    raise SqlError(f"there is no model {name.text!r}.{near} There are: {', '.join(known)}", name.position)


def model_names(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names that TRAIN may use."""
    return [*PREBUILT, *(name for name, value in list(namespace.items()) if is_model_class(value))]


def is_model_class(value: Any) -> bool:
    """Whether the value is a class that derives from keras.Model; finding out does not load Keras."""
    return inspect.isclass(value) and any(
        base.__name__ == "Model" and base.__module__.startswith("keras.") for base in value.__mro__[1:]
    )


def _of_class(name: str, value: type) -> Model:
    own = (*CLASS_NAMES["input_fn"], *CLASS_NAMES["dataset_fn"])
    reads_itself = any(attribute in vars(base) for base in value.__mro__ for attribute in own)
    targets = ("",)
    return Model(name, value.__module__, value.__qualname__, "", targets, own_input=reads_itself, value=value)


def _own_step(value: type) -> str:
    """The first of `STEPS` that a class derived from keras.Model defines itself, or an empty string."""
    own = [base for base in value.__mro__ if not base.__module__.startswith("keras.")]
    return next((step for step in sorted(STEPS) if any(step in vars(base) for base in own)), "")


def _signature(value: type) -> Arguments:
    made_by = next(base for base in value.__mro__ if "__init__" in vars(base))
    if made_by.__module__.startswith("keras."):  # its own signature says nothing
        return Arguments(KERAS_MODEL_ARGUMENTS, ())
    names, required, takes_any = [], [], False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            names.append(parameter.name)
            if parameter.default is parameter.empty:
                required.append(parameter.name)
    return Arguments(tuple(names), tuple(required), takes_any)


def _of_function(zoo: Zoo, found: Defined) -> Arguments:
    arguments = arguments_of(found)
    assert arguments is not None
    optimizer = zoo.lookup(found.module, MODULE_NAMES["optimizer"][0])
    also = arguments_of(optimizer) if isinstance(optimizer, Defined) else None
    return Arguments((*arguments.names, *(also.names if also else ())), arguments.required, arguments.takes_any)
