"""The names of the model contract, and the definition of which model a job uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import JobSpec

Function = TypeVar("Function", bound=Callable[..., Any])

_BATCHED = "_elasticdl_batched"

# Where each part of a model is looked up, in this order: as an attribute of the model's class, then as a name in the
# model's module.
CLASS_NAMES: Mapping[str, tuple[str, ...]] = {
    "loss": ("default_loss",),
    "optimizer": ("default_optimizer",),
    "input_fn": ("default_input", "input_fn"),
    "dataset_fn": ("dataset_fn", "feed"),
    "custom_data_reader": (),
    "eval_metrics_fn": ("eval_metrics_fn", "default_metrics"),
    "callbacks": ("default_callbacks",),
    "prediction_outputs_processor": ("PredictionOutputsProcessor",),
}
MODULE_NAMES: Mapping[str, tuple[str, ...]] = {
    "loss": ("loss", "default_loss"),
    "optimizer": ("optimizer", "default_optimizer"),
    "input_fn": ("input_fn", "default_input"),
    "dataset_fn": ("dataset_fn", "feed"),
    "custom_data_reader": ("custom_data_reader",),
    "eval_metrics_fn": ("eval_metrics_fn",),
    "callbacks": ("callbacks",),
    "prediction_outputs_processor": ("PredictionOutputsProcessor",),
}
# What a module is searched for when `model_def` names the module itself; `names_of_model` adds the module's own name.
_MODEL_NAMES = ("model", "custom_model")

TABLE_INPUT = "table_columns.input_fn"
"""The input function that a zoo gets for a job with a label; its loss and optimizer follow from that, if need be."""

SQL_MODEL = "sql_model"
"""The module of a zoo that has a model of SQL, from which `rows` come: see `sql.zoo.rows`."""

STEPS = (
    "train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "make_train_function",
    "make_test_function", "make_predict_function", "metrics", "reset_metrics", "get_metrics_result",
    "stateless_compute_loss",
)  # fmt: skip
"""The methods by which `fit`, `evaluate` and `predict` let a model decide what a step is."""

LABELS_FIRST = ("labels", "label", "y_true", "targets", "target", "true")
OUTPUTS_FIRST = ("predictions", "prediction", "outputs", "output", "y_pred", "logits", "preds", "pred")


def batched(function: Function) -> Function:
    """Mark an input function or dataset_fn as one that takes whole batches instead of single records.

    Such an input function gets a string tensor [n] (RecordIO, TFRecord), [n, columns] (CSV), or a dict of column name
    to tensor [n, …] (Parquet, Arrow, frames), and returns the features and labels of n records. Each must depend only
    on its own record, as n may span several minibatches. Such a dataset_fn gets a dataset of minibatches of these.
    Parsing a batch at once is several times faster than parsing its records one by one.
    """
    setattr(function, _BATCHED, True)
    return function


def names_of_model(module: str) -> tuple[str, ...]:
    """Return the names that the model of a module may have, in order; a module's only model may have any."""
    return (*_MODEL_NAMES, module.rpartition(".")[2])


def several_models(module: str, names: Iterable[str]) -> OptionError:
    """Return the error for a module that is named as the model, and has several by these names."""
    listed = ", ".join(f"{module}.{name}" for name in names)
    return OptionError("model_def", f"{module} has several models; name one of {listed}")


def no_model(module: str, names: Iterable[str]) -> OptionError:
    """Return the error for a module, or its file, that is named as the model and defines these names, but no model."""
    return OptionError(
        "model_def",
        f"{module} has no model: looked for 'model' (a keras.Model object), 'custom_model' (a function that returns "
        f"one) and a keras.Model subclass.{did_you_mean('custom_model', names)}",
    )


def names_in(given: str) -> list[str]:
    """Return the names given by an option of the contract: none, one, or several metrics separated by commas."""
    return [name.strip() for name in given.split(",") if name.strip()]


def is_batched(function: object) -> bool:
    """Whether `function` was marked with `batched`."""
    return bool(getattr(function, _BATCHED, False))


@dataclass(frozen=True)
class ModelDefinition:
    """Which model a job uses: from a `JobSpec`, or from a trained model's directory."""

    # The zoo's root, a directory on this machine.
    zoo: str
    model_def: str
    params: dict[str, Any] = field(default_factory=dict)
    input_fn: str = ""
    dataset_fn: str = ""
    custom_data_reader: str = ""
    loss: str = ""
    optimizer: str = ""
    eval_metrics_fn: str = ""
    callbacks: str = ""
    prediction_outputs_processor: str = ""
    # The trained model's parameters file; empty for a model that has not been trained.
    weights: str = ""
    # The trained model's folder of what it is and keeps beside its weights; empty if there is none.
    state: str = ""
    # The trained model's folder of tables, and the digest of its description; empty if there is none.
    tables: str = ""
    tables_digest: str = ""

    @classmethod
    def from_spec(cls, spec: JobSpec, zoo: str) -> ModelDefinition:
        """Return the model of a training job with the zoo in the directory `zoo`."""
        return cls(zoo=zoo, model_def=spec.model_def, params=spec.params).overridden(spec)

    def overridden(self, spec: JobSpec) -> ModelDefinition:
        """Return the same model with the functions that `spec` names instead of those it was trained with.

        An input_fn replaces a dataset_fn, and vice versa.
        """
        named = {role: getattr(spec, role) for role in CLASS_NAMES if getattr(spec, role)}
        if "input_fn" in named:
            named.setdefault("dataset_fn", "")
        if "dataset_fn" in named:
            named.setdefault("input_fn", "")
        return replace(self, **named)
