"""The options that say which model a job trains or uses. `JobSpec` inherits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.spec import forms
from elasticdl_nb.runtime.spec.option import option


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """See the module's docstring."""

    model_zoo: str = option(
        "Where the model's code is: a directory, a notebook file (models.ipynb is the module models), or the URL of "
        "a Git repository (URL@BRANCH for a branch or tag). By default, the models that come with elasticdl_nb.",
        group="Model", parse=forms.path, form="DIR|FILE|URL", jobs=("train",),
    )  # fmt: skip
    model_def: str = option(
        "The model, as a dotted name from the zoo's root: a keras.Model subclass, a function that returns a model "
        "(usually custom_model), a model object, or a module that defines one of these.",
        group="Model", form="NAME", jobs=("train",), required=True, aliases={"train": ("model", "model_class")},
    )  # fmt: skip
    params: dict[str, Any] = option(
        'Arguments for the model\'s constructor: "hidden_units=[10, 100], learning_rate=0.01". Those it does not take '
        "go to the optimizer function.",
        group="Model", parse=forms.arguments, form="ARGS", default={}, jobs=("train",),
        aliases={"train": ("model_params",)},
    )  # fmt: skip
    input_fn: str = option(
        "Function that turns one record into features and label, instead of the model's default_input.",
        group="Model", form="NAME",
    )  # fmt: skip
    dataset_fn: str = option(
        "Function (dataset, mode[, metadata]) that turns a dataset of records into one of features and labels, "
        "instead of the module's dataset_fn or feed.",
        group="Model", form="NAME", aliases={"train": ("feed",), "evaluate": ("feed",), "predict": ("feed",)},
    )  # fmt: skip
    custom_data_reader: str = option(
        "Function (data, records_per_task[, …]) that returns a reader for data other than files, instead of the "
        "module's custom_data_reader.",
        group="Model", form="NAME",
    )  # fmt: skip
    loss: str = option(
        "Function (labels, outputs), or name of a Keras loss, instead of the model's default_loss or module's loss.",
        group="Model", form="NAME", jobs=("train",),
    )  # fmt: skip
    optimizer: str = option(
        "Function that returns an optimizer, or name of a Keras optimizer, instead of the model's default_optimizer or "
        "module's optimizer.",
        group="Model", form="NAME", jobs=("train",),
    )  # fmt: skip
    eval_metrics_fn: str = option(
        "Function that returns the evaluation metrics, or names of Keras metrics such as AUC,Recall, instead of the "
        "model's or module's eval_metrics_fn.",
        group="Model", form="NAME", jobs=("train", "evaluate"),
    )  # fmt: skip
    callbacks: str = option(
        "Function that returns a list of Keras callbacks, instead of the module's callbacks.",
        group="Model", form="NAME", jobs=("train",),
    )  # fmt: skip
    embedding_tables: bool = option(
        "Keep large Embedding layers in tables, of which a step changes only the rows of its batch. Without it, they "
        "are ordinary layers, trained as fit does: with Adam, momentum or weight decay, every step changes all rows.",
        group="Model", parse=forms.switch, form="BOOL", default=True, jobs=("train",),
    )  # fmt: skip
    embedding_options: dict[str, Any] = option(
        'What embeddings let in and keep, by layer: "user: min_count=5, ttl=7d; item: min_count=2, max_rows=1000000". '
        "With slot_half_life=100000, what the optimizer keeps for rows that are not used fades; with "
        "row_dtype=bfloat16, rows take half the memory. See docs/tables.md.",
        group="Model", parse=forms.embedding_options, form="NAME: OPTIONS; …", default={}, jobs=("train",),
    )  # fmt: skip
    prediction_outputs_processor: str = option(
        "Class whose process(predictions, worker_id) gets every batch of predictions, instead of the module's "
        "PredictionOutputsProcessor.",
        group="Model", form="NAME", jobs=("predict",),
    )  # fmt: skip
    trained_model: str = option(
        "The output directory of a training job.",
        group="Model", parse=forms.path, form="DIR", jobs=("evaluate", "predict"), required=True,
    )  # fmt: skip
    from_scratch: bool = option(
        "Give a model object of a notebook or script initial weights, instead of those that it has there.",
        group="Model", parse=forms.switch, form="BOOL", default=False, jobs=("train",),
    )  # fmt: skip
    verify: bool = option(
        "Import what was packaged of a notebook or script in a fresh process, compare it with the original, and refuse "
        "a package that differs. Without it, differences are warnings.",
        group="Model", parse=forms.switch, form="BOOL", default=True, jobs=("train",),
    )  # fmt: skip
    max_state_mb: int = option(
        "How many megabytes of values (weights, arrays, frames …) a package of a notebook or script may hold.",
        group="Model", parse=forms.whole(1), form="N", default=2048, jobs=("train",),
    )  # fmt: skip
