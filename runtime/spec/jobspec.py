"""The one declaration of a job: `JobSpec`.

Python arguments, command-line flags, notebook options, their help texts and their validation all come from the fields
below. The master and its workers read the same object from the job's folder. To add an option, add a field.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import forms
from elasticdl_nb.runtime.spec.clusteroptions import ClusterOptions
from elasticdl_nb.runtime.spec.option import KINDS, JobKind, Option, option
from elasticdl_nb.runtime.spec.together import check_following, notes_on, strategy_asked_for, without_effect

__all__ = [
    "COMPRESSIONS",
    "KINDS",
    "LOG_LEVELS",
    "STRATEGIES",
    "JobKind",
    "JobSpec",
    "Option",
    "find_option",
    "options",
]

ON_NAN = ("stop", "warn")
TABLE_DTYPES = ("float32", "bfloat16", "int8")
STRATEGIES = ("Local", "ParameterServerStrategy", "AllreduceStrategy")
JIT = ("auto", "true", "false")
COMPRESSIONS = ("none", "float16", "bfloat16")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, kw_only=True)
class JobSpec(ClusterOptions):
    """Everything that says what a job does. Build one with `JobSpec.create`, which validates.

    All values are plain JSON values. Paths are written as the job's processes will open them.
    """

    kind: JobKind

    # ------------------------------------------------------------ the model
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
        'What embeddings let in and keep, by layer: "user: min_count=5, ttl=7d; item: max_rows=1000000". See '
        "docs/tables.md.",
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

    # ------------------------------------------------------------ data
    data: tuple[str, ...] = option(
        "The data: a path, glob or URL, or several (RecordIO, TFRecord, CSV, Parquet, Arrow).",
        group="Data", parse=forms.paths, form="PATH[,PATH…]", default=(), required=True,
        aliases={"train": ("training_data",), "evaluate": ("validation_data",), "predict": ("prediction_data",)},
    )  # fmt: skip
    validation_data: tuple[str, ...] = option(
        "Files to evaluate on during training and at its end.",
        group="Data", parse=forms.paths, form="PATH[,PATH…]", default=(), jobs=("train",),
    )  # fmt: skip
    sample_weight_column: str = option(
        "Column with each record's weight in the loss and in the weighted metrics. The input function does not see it.",
        group="Data", parse=forms.column, form="NAME", jobs=("train", "evaluate"),
    )  # fmt: skip
    class_weight: dict[str, float] = option(
        'The weights of classes in the loss, by number: "0=1,1=5"; for a job with a label also by name: "no=1,yes=5". '
        "Other classes weigh 1.",
        group="Data", parse=forms.class_weights, form="N=W,N=W", default={}, jobs=("train",),
    )  # fmt: skip
    label: str = option(
        "The column to predict. The other columns become the model's inputs, so it needs no input function: see "
        "docs/frames.md.",
        group="Data", parse=forms.column, form="COLUMN", jobs=("train",),
    )  # fmt: skip
    features: tuple[str, ...] = option(
        "The columns to predict the label from; by default, all others that can be used.",
        group="Data", parse=forms.names, form="COLUMN[,COLUMN…]", default=(), jobs=("train",),
    )  # fmt: skip
    validation_split: float = option(
        "The share of the records, chosen at random, to evaluate on instead of training on them, such as 0.2.",
        group="Data", parse=forms.share, form="SHARE", default=0.0, jobs=("train",),
    )  # fmt: skip
    data_reader_params: dict[str, Any] = option(
        "How to read the data: \"columns=['a', 'b']; sep=','\". See docs/data.md.",
        group="Data", parse=forms.arguments, form="ARGS", default={},
    )  # fmt: skip
    minibatch_size: int = option(
        "Records per batch.", group="Data", parse=forms.whole(1), form="N", default=64,
    )  # fmt: skip
    num_minibatches_per_task: int = option(
        "Batches per task, the piece of work that one worker takes at a time.",
        group="Data", parse=forms.whole(1), form="N", default=32,
    )  # fmt: skip
    num_epochs: int = option(
        "How often to use every record.", group="Data", parse=forms.whole(1), form="N", default=1, jobs=("train",),
    )  # fmt: skip
    follow: bool = option(
        "Train on the files of the data's directories or globs, and on those that appear there while the job runs: "
        "each once, in the order in which they come, until `elasticdl stop` ends the job with a trained model.",
        group="Data", parse=forms.switch, form="BOOL", default=False, jobs=("train",),
    )  # fmt: skip
    max_step: int = option(
        "Stop after this many steps (batches), even if epochs remain; 0 for no limit.",
        group="Data", parse=forms.whole(0), form="N", default=0, jobs=("train",), aliases={"train": ("max_steps",)},
    )  # fmt: skip
    shuffle: bool = option(
        "Hand out each epoch's tasks in a different order, and shuffle the records within each task.",
        group="Data", parse=forms.switch, form="BOOL", default=True, jobs=("train",),
    )  # fmt: skip
    seed: int = option(
        "Seed for everything random. The same seed and data give the same model on a single worker, and on a fixed "
        "number of workers with AllreduceStrategy.",
        group="Data", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip

    # ------------------------------------------------------------ results
    output: str = option(
        "Where to write the result: training writes a directory with the trained model; prediction writes a .recordio, "
        ".parquet or .csv file, or a directory (one part per task). By default, it is in the job's folder.",
        group="Result", parse=forms.path, form="PATH", jobs=("train", "predict"),
    )  # fmt: skip
    output_format: str = option(
        "Format of the parts when a prediction's output is a directory.",
        group="Result", parse=forms.one_of(("parquet", "csv", "recordio")), form="FORM", default="parquet",
        jobs=("predict",), choices=("parquet", "csv", "recordio"),
    )  # fmt: skip
    overwrite: bool = option(
        "Replace an existing output, once the new one is complete.",
        group="Result", parse=forms.switch, form="BOOL", default=False, jobs=("train", "predict"),
    )  # fmt: skip
    table_files_mb: int = option(
        "Size in megabytes from which an embedding of the trained model is kept as files, which are read where they "
        "are instead of being loaded; smaller ones are ordinary layers.",
        group="Result", parse=forms.whole(0), form="N", default=512, jobs=("train",),
    )  # fmt: skip
    table_files_dtype: str = option(
        "How these files keep values: bfloat16 takes half the space of float32, int8 (with a factor for each row) "
        "about a quarter.",
        group="Result", parse=forms.one_of(TABLE_DTYPES), form="TYPE", default="float32", choices=TABLE_DTYPES,
        jobs=("train",),
    )  # fmt: skip
    saved_model: bool = option(
        "Also export a TensorFlow SavedModel (for serving) into the output's saved_model/.",
        group="Result", parse=forms.switch, form="BOOL", default=True, jobs=("train",),
    )  # fmt: skip
    evaluation_steps: int = option(
        "Steps between evaluations on the validation data, which is also evaluated at the end; 0 for once an epoch.",
        group="Result", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip
    log_loss_steps: int = option(
        "Steps between reports of the loss; 0 for a few reports a second.",
        group="Result", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip

    on_nan: str = option(
        "What to do when the loss is not a finite number any more: stop, and fail the job, or warn, and go on.",
        group="Result", parse=forms.one_of(ON_NAN), form="WHAT", default="stop", choices=ON_NAN, jobs=("train",),
    )  # fmt: skip

    # ------------------------------------------------------------ checkpoints
    checkpoint_steps: int = option(
        "Steps between checkpoints; 0 for one about every 30 seconds.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip
    checkpoint_deltas: int = option(
        "How many checkpoints in a row may hold only what has changed since the one before, as far as embeddings in "
        "tables are concerned; 0 for none.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=30, jobs=("train",),
    )  # fmt: skip
    checkpoint_delta_mb: int = option(
        "Size in megabytes of a server's (or a Local job's) tables from which there are such checkpoints.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=64, jobs=("train",),
    )  # fmt: skip
    checkpoint_dir: str = option(
        "Where to write checkpoints; by default in the job's folder.",
        group="Checkpoints", parse=forms.path, form="DIR", jobs=("train",),
    )  # fmt: skip
    keep_checkpoint_max: int = option(
        "How many checkpoints to keep; 0 for all.",
        group="Checkpoints", parse=forms.whole(0), form="N", default=3, jobs=("train",),
    )  # fmt: skip
    checkpoint_dir_for_init: str = option(
        "Start from the model and optimizer of the last checkpoint in this directory, or of this checkpoint, by any "
        "strategy; or from the weights of a trained model, the output of a job.",
        group="Checkpoints", parse=forms.path, form="DIR", jobs=("train",),
    )  # fmt: skip

    # ------------------------------------------------------------ running
    distribution_strategy: str = option(
        "Local trains in one worker process. ParameterServerStrategy trains in num_workers processes that share "
        "their model through num_ps parameter servers. AllreduceStrategy trains in num_workers processes that each "
        "hold the whole model and average their gradients in every step. By default, what the other options ask for: "
        "those of one strategy ask for it, and several workers alone for ParameterServerStrategy.",
        group="Running", parse=forms.one_of(STRATEGIES), form="STRATEGY", default="Local", choices=STRATEGIES,
        jobs=("train",),
    )  # fmt: skip
    jit_compile: str = option(
        "Compile training steps with XLA: true, false, or auto, which times steps both ways once training has lasted "
        "some seconds, and goes on in the faster one. With a seed other than 0, auto compiles nothing, so that the "
        "same seed gives the same model to the last digit.",
        group="Running", parse=forms.one_of(JIT), form="WHEN", default="auto", choices=JIT, jobs=("train",),
    )  # fmt: skip
    num_workers: int = option(
        "Number of worker processes. Local training uses only one.",
        group="Running", parse=forms.whole(1), form="N", default=1,
    )  # fmt: skip
    max_task_retries: int = option(
        "How often a task is tried again that has failed with an error that may pass, or has crashed its worker.",
        group="Running", parse=forms.whole(0), form="N", default=2,
    )  # fmt: skip
    skip_failed_tasks: bool = option(
        "Set aside a training task that still fails, and go on without its records; otherwise the job fails. Tasks set "
        "aside are counted and listed in the job's status and report. Three of them in a row end the job.",
        group="Running", parse=forms.switch, form="BOOL", default=False, jobs=("train",),
    )  # fmt: skip
    job_name: str = option(
        "Name of the job; generated by default.", group="Running", parse=forms.job_name, form="NAME",
    )  # fmt: skip
    envs: dict[str, str] = option(
        "Environment variables for the workers: NAME=VALUE,NAME=VALUE.",
        group="Running", parse=forms.pairs, form="ENVS", default={},
    )  # fmt: skip
    log_level: str = option(
        "How much the job's processes write to their logs.",
        group="Running", parse=forms.one_of(LOG_LEVELS), form="LEVEL", default="INFO", choices=LOG_LEVELS,
    )  # fmt: skip

    # ------------------------------------------------------------ parameter servers
    num_ps: int = option(
        "Number of parameter server processes.",
        group="Parameter servers", parse=forms.whole(1), form="N", default=1, jobs=("train",),
        aliases={"train": ("num_ps_pods",)},
    )  # fmt: skip
    use_async: bool = option(
        "Apply each worker's gradients as they arrive; otherwise grads_to_wait of them at a time.",
        group="Parameter servers", parse=forms.switch, form="BOOL", default=True, jobs=("train",),
    )  # fmt: skip
    grads_to_wait: int = option(
        "Synchronous training: how many workers' gradients make one step.",
        group="Parameter servers", parse=forms.whole(1), form="N", default=1, jobs=("train",),
    )  # fmt: skip
    sync_version_tolerance: int = option(
        "Synchronous training: recompute gradients if the model has moved on by more steps than this.",
        group="Parameter servers", parse=forms.whole(0), form="N", default=0, jobs=("train",),
    )  # fmt: skip
    get_model_steps: int = option(
        "Asynchronous training: a worker fetches the model's dense values again after this many of its steps.",
        group="Parameter servers", parse=forms.whole(1), form="N", default=1, jobs=("train",),
    )  # fmt: skip
    lr_staleness_modulation: bool = option(
        "Asynchronous training: divide the learning rate by the number of steps by which gradients are late.",
        group="Parameter servers", parse=forms.switch, form="BOOL", default=False, jobs=("train",),
    )  # fmt: skip

    # ------------------------------------------------------------ all-reduce
    min_workers: int = option(
        "Training waits while there are fewer workers than this.",
        group="All-reduce", parse=forms.whole(1), form="N", default=1, jobs=("train",),
    )  # fmt: skip
    fixed_global_batch: bool = option(
        "All workers together use minibatch_size records per step, however many workers there are; otherwise each "
        "worker does, so the batch grows with their number. The learning rate never changes.",
        group="All-reduce", parse=forms.switch, form="BOOL", default=False, jobs=("train",),
    )  # fmt: skip
    compression: str = option(
        "How gradients travel between workers: as they are, or at half the size.",
        group="All-reduce", parse=forms.one_of(COMPRESSIONS), form="FORM", default="none", choices=COMPRESSIONS,
        jobs=("train",),
    )  # fmt: skip

    # ------------------------------------------------------------ construction

    @classmethod
    def create(cls, kind: JobKind, /, **given: Any) -> JobSpec:
        """Return the job that these options describe.

        Values may be strings, as they come from command lines, or the Python values they stand for; `None` and the
        empty string mean 'not given'. Raises `OptionError` for an unknown, misplaced, missing or malformed option.
        """
        values: dict[str, Any] = {}
        named: dict[str, str] = {}
        errors: list[OptionError] = []
        for name, value in given.items():
            try:
                known = find_option(kind, name)
                if value is None or (isinstance(value, str) and not value.strip()):
                    continue
                if known.name in values:
                    raise OptionError(name, f"given together with {named[known.name]}, which is the same option")
                named[known.name] = name
                values[known.name] = _parse(known, name, value)
            except OptionError as error:
                errors.append(error)
        for needed in options(kind):
            malformed = needed.name in named and needed.name not in values
            if needed.required and not values.get(needed.name) and not malformed:
                also = "".join(f" (also called {alias})" for alias in needed.names(kind)[1:2])
                errors.append(OptionError(needed.name, f"required{also}. {needed.help}"))
        OptionError.raise_together(errors)
        known_ones = [find_option(kind, name) for name in values]
        if kind == "train":
            values.setdefault("distribution_strategy", strategy_asked_for(values, known_ones))
        spec = cls(kind=kind, **values)
        spec._check_together()
        check_following(spec, known_ones)
        OptionError.raise_together(without_effect(spec, known_ones))
        return spec

    def _check_together(self) -> None:
        processed = self.output or self.prediction_outputs_processor
        if self.kind == "predict" and self.on_kubernetes and not processed:
            raise OptionError("output", "required; give the file or directory to write the predictions to")
        gpu = self.worker_resource_request.get("nvidia.com/gpu", "0")
        if self.on_kubernetes and not gpu.isdecimal():
            raise OptionError(
                "worker_resource_request", f"gpu={gpu} is not a whole number; only workers on one machine share GPUs"
            )
        if self.sample_weight_column and self.class_weight:
            raise OptionError("class_weight", "given together with sample_weight_column; use only one of them")
        if not self.label and (names := [name for name in self.class_weight if not name.isdecimal()]):
            raise OptionError(
                "class_weight", f"{names[0]!r} is not the number of a class; names of classes need the option label"
            )
        for other in ("input_fn", "dataset_fn", "custom_data_reader"):
            if self.label and getattr(self, other):
                raise OptionError("label", f"given together with {other}, which says itself what the label is")
        if self.validation_split and self.validation_data:
            raise OptionError("validation_split", "given together with validation_data; use only one of them")
        if self.label and self.on_kubernetes:
            raise OptionError(
                "label", "is for jobs on this machine, which look at the data first; on a cluster, use an input_fn"
            )
        if self.input_fn and self.dataset_fn:
            raise OptionError("input_fn", "given together with dataset_fn; use only one of them to read the data")
        if self.uses_allreduce and self.min_workers > self.num_workers:
            raise OptionError(
                "min_workers", f"{self.min_workers}, but num_workers={self.num_workers}: training would never begin"
            )

    def notes(self) -> list[str]:
        """Return what users should know of options that change nothing here, each a sentence without a full stop."""
        return notes_on(self)

    @property
    def uses_servers(self) -> bool:
        """Whether the job has parameter server processes."""
        return self.kind == "train" and self.distribution_strategy == "ParameterServerStrategy"

    @property
    def uses_allreduce(self) -> bool:
        """Whether the job's workers average their gradients."""
        return self.kind == "train" and self.distribution_strategy == "AllreduceStrategy"

    @property
    def trains_alone(self) -> bool:
        """Whether the job trains in a single worker."""
        return self.kind == "train" and not self.uses_servers and not self.uses_allreduce

    def replace(self, **changes: Any) -> JobSpec:
        """Return a copy with some values changed; they are not validated."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Return the job as JSON text that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """Read back what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


_MOST_SHOWN = 200
"""How many characters of a wrong value a message repeats."""


def _parse(option: Option, name: str, value: Any) -> Any:
    try:
        parsed = option.parse(value)
        json.dumps(parsed)
        return parsed
    except (ValueError, TypeError) as error:
        shown = repr(value)
        shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"
        raise OptionError(name, f"{shown} is not valid: {error}") from None


_INHERITED = {item.name for item in dataclasses.fields(ClusterOptions)}
_OPTIONS = tuple(
    Option(
        name=item.name,
        default=item.default if item.default is not dataclasses.MISSING else {},
        **item.metadata,
    )
    for item in sorted(dataclasses.fields(JobSpec), key=lambda item: item.name in _INHERITED)
    if item.name != "kind"
)


def options(kind: JobKind) -> tuple[Option, ...]:
    """The options that jobs of this kind take, in the order of their declaration."""
    return tuple(one for one in _OPTIONS if kind in one.jobs)


def find_option(kind: JobKind, name: str) -> Option:
    """Return the option of that name or alias; raise `OptionError` if this kind of job has no such option."""
    known: dict[str, Option] = {}
    for one in options(kind):
        for known_name in one.names(kind):
            known.setdefault(known_name, one)
    if name in known:
        return known[name]
    elsewhere = [other for other in KINDS for one in options(other) if name in one.names(other)]
    if elsewhere:
        raise OptionError(name, f"not an option of {kind}, only of {' and '.join(dict.fromkeys(elsewhere))}")
    raise OptionError(name, f"not an option of {kind}.{did_you_mean(name, known)}")
