"""The one declaration of a job: `JobSpec`.

Python arguments, command-line flags, notebook options, their help texts and their validation all come from the fields
below, and the master and its workers read the same object from the job's folder. To add an option, add a field.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from elasticdl_nb.runtime import literals
from elasticdl_nb.runtime.errors import OptionError, did_you_mean

JobKind = Literal["train", "evaluate", "predict"]
KINDS: tuple[JobKind, ...] = get_args(JobKind)
STRATEGIES = ("Local", "ParameterServerStrategy", "AllreduceStrategy")
COMPRESSIONS = ("none", "float16", "bfloat16")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
JOB_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Option:
    """How one field of `JobSpec` looks to people; `parse` turns what they wrote into the field's value."""

    name: str
    help: str
    parse: Callable[[Any], Any]
    form: str
    default: Any
    jobs: tuple[JobKind, ...]
    group: str
    aliases: Mapping[str, tuple[str, ...]]
    required: bool
    choices: tuple[str, ...]

    def names(self, kind: JobKind) -> tuple[str, ...]:
        """Every name under which jobs of this kind take the option, its own first."""
        return (self.name, *self.aliases.get(kind, ()))


# ------------------------------------------------------------------ forms of values: each parses, or raises ValueError


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string is needed")
    return value.strip()


def _path(value: Any) -> str:
    return os.path.expanduser(os.path.expandvars(_text(os.fspath(value) if isinstance(value, os.PathLike) else value)))


def _paths(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(_path(item) for item in value)
    text = _path(value)
    if text.startswith("["):
        return tuple(_path(item) for item in literals.parse_value(text))
    if "," in text and not os.path.exists(text):
        return tuple(_path(part) for part in text.split(",") if part.strip())
    return (text,) if text else ()


def _whole(minimum: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = int(value) if isinstance(value, str) else value
        if isinstance(number, bool) or number != math.floor(number) or number < minimum:
            raise ValueError(f"a whole number of at least {minimum} is needed")
        return int(number)

    return parse


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    answers = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).strip().lower() not in answers:
        raise ValueError("true or false is needed")
    return answers[str(value).strip().lower()]


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        for choice in choices:
            if str(value).lower() == choice.lower():
                return choice
        raise ValueError(f"one of {', '.join(choices)} is needed.{did_you_mean(str(value), choices)}")

    return parse


def _arguments(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else literals.parse_arguments(_text(value))


def _environment(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(name): str(item) for name, item in value.items()}
    pairs = [part.partition("=") for part in _text(value).split(",") if part.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError("NAME=VALUE,NAME=VALUE is needed")
    return {name.strip(): text.strip() for name, _, text in pairs}


def _job_name(value: Any) -> str:
    name = _text(value)
    if name and not JOB_NAME.fullmatch(name):
        raise ValueError("up to 63 letters, digits, '.', '_' and '-' are needed, a letter or digit at both ends")
    return name


_ALL = KINDS


def _option(
    help: str,
    *,
    group: str,
    parse: Callable[[Any], Any] = _text,
    form: str = "TEXT",
    default: Any = "",
    jobs: tuple[JobKind, ...] = _ALL,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
    required: bool = False,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = dict(
        help=help, parse=parse, form=form, jobs=jobs, group=group, required=required, choices=choices,
        aliases=aliases or {},
    )  # fmt: skip
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


_TRAIN: tuple[JobKind, ...] = ("train",)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """Everything that says what a job does. Build one with `JobSpec.create`, which validates.

    All values are plain JSON values; paths are as the processes of the job will open them.
    """

    kind: JobKind

    # ------------------------------------------------------------ the model
    model_zoo: str = _option(
        "Where the model's code is: a directory, or the URL of a Git repository (URL@BRANCH for a branch or tag). "
        "Without it, the models that come with elasticdl_nb.",
        group="Model", parse=_path, form="DIR|URL", jobs=_TRAIN,
    )  # fmt: skip
    model_def: str = _option(
        "The model, as a dotted name from the zoo's root: a keras.Model subclass, a function that returns a model "
        "(usually custom_model), a model object, or a module that has one of these.",
        group="Model", form="NAME", jobs=_TRAIN, required=True, aliases={"train": ("model", "model_class")},
    )  # fmt: skip
    params: dict[str, Any] = _option(
        'Arguments for the model\'s constructor: "hidden_units=[10, 100], learning_rate=0.01". Those it does not take '
        "are offered to the optimizer function.",
        group="Model", parse=_arguments, form="ARGS", default={}, jobs=_TRAIN,
        aliases={"train": ("model_params",)},
    )  # fmt: skip
    input_fn: str = _option(
        "Function that turns one record into features and label, instead of the model's default_input.",
        group="Model", form="NAME",
    )  # fmt: skip
    dataset_fn: str = _option(
        "Function (dataset, mode[, metadata]) that turns a dataset of records into one of features and labels, "
        "instead of the module's dataset_fn or feed.",
        group="Model", form="NAME", aliases={"train": ("feed",), "evaluate": ("feed",), "predict": ("feed",)},
    )  # fmt: skip
    custom_data_reader: str = _option(
        "Function (data, records_per_task[, …]) that returns a reader of other data than files, instead of the "
        "module's custom_data_reader.",
        group="Model", form="NAME",
    )  # fmt: skip
    loss: str = _option(
        "Function (labels, outputs) or name of a Keras loss, instead of the model's default_loss or module's loss.",
        group="Model", form="NAME", jobs=_TRAIN,
    )  # fmt: skip
    optimizer: str = _option(
        "Function that returns an optimizer, or name of a Keras one, instead of the model's default_optimizer or "
        "module's optimizer.",
        group="Model", form="NAME", jobs=_TRAIN,
    )  # fmt: skip
    eval_metrics_fn: str = _option(
        "Function that gives the evaluation metrics, instead of the model's or module's eval_metrics_fn.",
        group="Model", form="NAME", jobs=("train", "evaluate"),
    )  # fmt: skip
    callbacks: str = _option(
        "Function that returns a list of Keras callbacks, instead of the module's callbacks.",
        group="Model", form="NAME", jobs=_TRAIN,
    )  # fmt: skip
    prediction_outputs_processor: str = _option(
        "Class whose process(predictions, worker_id) gets every batch of predictions, instead of the module's "
        "PredictionOutputsProcessor.",
        group="Model", form="NAME", jobs=("predict",),
    )  # fmt: skip
    trained_model: str = _option(
        "The directory that a training job wrote to its output.",
        group="Model", parse=_path, form="DIR", jobs=("evaluate", "predict"), required=True,
    )  # fmt: skip

    # ------------------------------------------------------------ data
    data: tuple[str, ...] = _option(
        "Files to use: a path, glob or URL, or several of them (RecordIO, TFRecord, CSV, Parquet, Arrow).",
        group="Data", parse=_paths, form="PATH[,PATH…]", default=(), required=True,
        aliases={"train": ("training_data",), "evaluate": ("validation_data",), "predict": ("prediction_data",)},
    )  # fmt: skip
    validation_data: tuple[str, ...] = _option(
        "Files to evaluate on during training and at its end.",
        group="Data", parse=_paths, form="PATH[,PATH…]", default=(), jobs=_TRAIN,
    )  # fmt: skip
    data_reader_params: dict[str, Any] = _option(
        "How to read the data: \"columns=['a', 'b']; sep=','\". See docs/data.md.",
        group="Data", parse=_arguments, form="ARGS", default={},
    )  # fmt: skip
    minibatch_size: int = _option(
        "Records in a batch.", group="Data", parse=_whole(1), form="N", default=64,
    )  # fmt: skip
    num_minibatches_per_task: int = _option(
        "Batches in a task, the piece of work that one worker takes at a time.",
        group="Data", parse=_whole(1), form="N", default=32,
    )  # fmt: skip
    num_epochs: int = _option(
        "How often to use every record.", group="Data", parse=_whole(1), form="N", default=1, jobs=_TRAIN,
    )  # fmt: skip
    max_step: int = _option(
        "Stop after this many steps (batches), even if epochs are left; 0 for no limit.",
        group="Data", parse=_whole(0), form="N", default=0, jobs=_TRAIN, aliases={"train": ("max_steps",)},
    )  # fmt: skip
    shuffle: bool = _option(
        "Hand out the tasks of each epoch in another order, and mix the records in each.",
        group="Data", parse=_switch, form="BOOL", default=True, jobs=_TRAIN,
    )  # fmt: skip
    seed: int = _option(
        "Seed of everything random: the same seed and data give the same model from a single worker, and from a fixed "
        "number of them with AllreduceStrategy.",
        group="Data", parse=_whole(0), form="N", default=0, jobs=_TRAIN,
    )  # fmt: skip

    # ------------------------------------------------------------ results
    output: str = _option(
        "Where the result goes: training writes a directory with the trained model; prediction writes a .recordio, "
        ".parquet or .csv file, or a directory (one part per task).",
        group="Result", parse=_path, form="PATH", jobs=("train", "predict"),
    )  # fmt: skip
    output_format: str = _option(
        "Form of the parts when a prediction's output is a directory.",
        group="Result", parse=_one_of(("parquet", "csv", "recordio")), form="FORM", default="parquet",
        jobs=("predict",), choices=("parquet", "csv", "recordio"),
    )  # fmt: skip
    overwrite: bool = _option(
        "Replace an output that exists, once the new one is complete.",
        group="Result", parse=_switch, form="BOOL", default=False, jobs=("train", "predict"),
    )  # fmt: skip
    saved_model: bool = _option(
        "Also export a TensorFlow SavedModel (for serving) into the output's saved_model/.",
        group="Result", parse=_switch, form="BOOL", default=True, jobs=_TRAIN,
    )  # fmt: skip
    evaluation_steps: int = _option(
        "Evaluate on the validation data every this many steps and at the end; 0 for every epoch.",
        group="Result", parse=_whole(0), form="N", default=0, jobs=_TRAIN,
    )  # fmt: skip
    log_loss_steps: int = _option(
        "Report the loss every this many steps; 0 for a few times a second.",
        group="Result", parse=_whole(0), form="N", default=0, jobs=_TRAIN,
    )  # fmt: skip

    # ------------------------------------------------------------ checkpoints
    checkpoint_steps: int = _option(
        "Write a checkpoint every this many steps; 0 for about every 30 seconds.",
        group="Checkpoints", parse=_whole(0), form="N", default=0, jobs=_TRAIN,
    )  # fmt: skip
    checkpoint_dir: str = _option(
        "Where checkpoints go; by default into the job's folder.",
        group="Checkpoints", parse=_path, form="DIR", jobs=_TRAIN,
    )  # fmt: skip
    keep_checkpoint_max: int = _option(
        "How many checkpoints to keep; 0 for all.",
        group="Checkpoints", parse=_whole(0), form="N", default=3, jobs=_TRAIN,
    )  # fmt: skip
    checkpoint_dir_for_init: str = _option(
        "Start from the model and optimizer of the last checkpoint in this directory (or of this checkpoint).",
        group="Checkpoints", parse=_path, form="DIR", jobs=_TRAIN,
    )  # fmt: skip

    # ------------------------------------------------------------ running
    distribution_strategy: str = _option(
        "Local trains in one worker process; ParameterServerStrategy trains in num_workers processes that share "
        "their model through num_ps parameter servers; AllreduceStrategy in num_workers processes that each have the "
        "whole model and average their gradients in every step.",
        group="Running", parse=_one_of(STRATEGIES), form="STRATEGY", default="Local", choices=STRATEGIES, jobs=_TRAIN,
    )  # fmt: skip
    num_workers: int = _option(
        "Worker processes. Local training uses one, everything else all of them.",
        group="Running", parse=_whole(1), form="N", default=1,
    )  # fmt: skip
    job_name: str = _option(
        "Name of the job; made up when absent.", group="Running", parse=_job_name, form="NAME",
    )  # fmt: skip
    envs: dict[str, str] = _option(
        "Environment variables for the workers: NAME=VALUE,NAME=VALUE.",
        group="Running", parse=_environment, form="ENVS", default={},
    )  # fmt: skip
    log_level: str = _option(
        "How much the job's processes write to their logs.",
        group="Running", parse=_one_of(LOG_LEVELS), form="LEVEL", default="INFO", choices=LOG_LEVELS,
    )  # fmt: skip

    # ------------------------------------------------------------ parameter servers
    num_ps: int = _option(
        "Parameter server processes.",
        group="Parameter servers", parse=_whole(1), form="N", default=1, jobs=_TRAIN,
        aliases={"train": ("num_ps_pods",)},
    )  # fmt: skip
    use_async: bool = _option(
        "Apply every worker's gradients as they come; otherwise grads_to_wait of them at a time.",
        group="Parameter servers", parse=_switch, form="BOOL", default=True, jobs=_TRAIN,
    )  # fmt: skip
    grads_to_wait: int = _option(
        "Synchronous training: how many workers' gradients make one step.",
        group="Parameter servers", parse=_whole(1), form="N", default=1, jobs=_TRAIN,
    )  # fmt: skip
    sync_version_tolerance: int = _option(
        "Synchronous training: gradients are computed anew if the model has moved on by more steps than this.",
        group="Parameter servers", parse=_whole(0), form="N", default=0, jobs=_TRAIN,
    )  # fmt: skip
    get_model_steps: int = _option(
        "Asynchronous training: a worker takes the model's dense values anew after this many of its steps.",
        group="Parameter servers", parse=_whole(1), form="N", default=1, jobs=_TRAIN,
    )  # fmt: skip
    lr_staleness_modulation: bool = _option(
        "Asynchronous training: divide the learning rate by the number of steps that gradients come late.",
        group="Parameter servers", parse=_switch, form="BOOL", default=False, jobs=_TRAIN,
    )  # fmt: skip

    # ------------------------------------------------------------ all-reduce
    min_workers: int = _option(
        "Training waits while fewer workers than this are there.",
        group="All-reduce", parse=_whole(1), form="N", default=1, jobs=_TRAIN,
    )  # fmt: skip
    fixed_global_batch: bool = _option(
        "All workers together use minibatch_size records in a step, however many they are; otherwise each of them "
        "does, so that the batch grows with their number. The learning rate is never changed.",
        group="All-reduce", parse=_switch, form="BOOL", default=False, jobs=_TRAIN,
    )  # fmt: skip
    compression: str = _option(
        "Form in which gradients travel between workers: as they are, or at half the size.",
        group="All-reduce", parse=_one_of(COMPRESSIONS), form="FORM", default="none", choices=COMPRESSIONS, jobs=_TRAIN,
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
        for name, value in given.items():
            option = find_option(kind, name)
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            if option.name in values:
                raise OptionError(name, f"given together with {named[option.name]}; they are the same option")
            named[option.name] = name
            values[option.name] = _parse(option, name, value)
        for option in options(kind):
            if option.required and not values.get(option.name):
                also = "".join(f" (also called {alias})" for alias in option.names(kind)[1:2])
                raise OptionError(option.name, f"needed{also}. {option.help}")
        spec = cls(kind=kind, **values)
        spec._check_together()
        return spec

    def _check_together(self) -> None:
        if self.kind == "predict" and not self.output and not self.prediction_outputs_processor:
            raise OptionError("output", "needed: where shall the predictions go?")
        if self.input_fn and self.dataset_fn:
            raise OptionError("input_fn", "given together with dataset_fn; one of them reads the data")
        if self.use_async and self.grads_to_wait > 1:
            raise OptionError("grads_to_wait", "given for asynchronous training; with it, say use_async=False")
        if self.uses_allreduce and self.min_workers > self.num_workers:
            raise OptionError(
                "min_workers", f"{self.min_workers}, but num_workers={self.num_workers}: training would never begin"
            )

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
        """Return a copy with some values changed; they are taken as they are."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Return the job as JSON text that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """Read back what `to_json` wrote."""
        values = json.loads(text)
        for name in ("data", "validation_data"):
            values[name] = tuple(values[name])
        return cls(**values)


def _parse(option: Option, name: str, value: Any) -> Any:
    try:
        parsed = option.parse(value)
        json.dumps(parsed)
        return parsed
    except (ValueError, TypeError) as error:
        raise OptionError(name, f"{value!r} does not do: {error}") from None


_OPTIONS = tuple(
    Option(
        name=item.name,
        default=item.default if item.default is not dataclasses.MISSING else {},
        **item.metadata,
    )
    for item in dataclasses.fields(JobSpec)
    if item.name != "kind"
)


def options(kind: JobKind) -> tuple[Option, ...]:
    """The options that jobs of this kind take, in the order of their declaration."""
    return tuple(option for option in _OPTIONS if kind in option.jobs)


def find_option(kind: JobKind, name: str) -> Option:
    """Return the option of that name or alias; raise `OptionError` if this kind of job takes none such."""
    known: dict[str, Option] = {}
    for option in options(kind):
        for known_name in option.names(kind):
            known.setdefault(known_name, option)
    if name in known:
        return known[name]
    elsewhere = [other for other in KINDS for option in options(other) if name in option.names(other)]
    if elsewhere:
        raise OptionError(name, f"not an option of {kind}, only of {' and '.join(dict.fromkeys(elsewhere))}")
    raise OptionError(name, f"no such option of {kind}.{did_you_mean(name, known)}")
