"""Reads WITH: arguments of the model, and options of the job."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.model.reading import keras_names
from elasticdl_nb.runtime.spec import JobKind, JobSpec, find_option, options
from elasticdl_nb.runtime.spec.tableoptions import NAMES as OF_TABLES
from elasticdl_nb.runtime.spec.tableoptions import TableOptions
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Attribute, Name, Position
from elasticdl_nb.sql.models.argumentforms import Form, of_keras
from elasticdl_nb.sql.models.finding import Model
from elasticdl_nb.sql.models.metricnames import read_metrics
from elasticdl_nb.sql.record.modelrecord import Chosen

_SHORT = {
    "batch_size": "minibatch_size", "epoch": "num_epochs", "epochs": "num_epochs", "steps": "max_step",
    "eval_steps": "evaluation_steps", "save_checkpoints_steps": "checkpoint_steps",
    "sample_weight": "sample_weight_column",
}  # fmt: skip
# Options that follow from the statement itself, or would contradict it.
_OURS = frozenset({
    "model_zoo", "model_def", "params", "data", "validation_data", "data_reader_params", "output", "output_format",
    "overwrite", "trained_model", "input_fn", "dataset_fn", "custom_data_reader", "loss", "optimizer",
    "eval_metrics_fn", "callbacks", "prediction_outputs_processor", "saved_model",
    "on_nan",  # a model whose loss is not finite never replaces a stored one
    "label", "features", "validation_split",  # LABEL, COLUMN and validation.select say this
    "from_scratch", "verify", "max_state_mb",  # a class has no state
    "follow",  # train.follow names a column: see `Attributes`
})  # fmt: skip


FOLLOW_DELAY = 10.0
_LONGEST_DELAY = 7 * 86_400
_FOLLOWS = ("train.follow", "train.follow_delay")


@dataclass
class Attributes:
    """WITH, sorted: `job` holds options of JobSpec by their own names."""

    params: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    optimizer: Chosen = Chosen()
    loss: Chosen = Chosen()
    validation_select: str = ""
    validation_position: Position | None = None
    metrics: list[str] = field(default_factory=list)
    metrics_position: Position | None = None
    embedding: dict[str, Any] = field(default_factory=dict)
    """What all embeddings' tables do: `train.embedding.min_count` and so on."""
    embedding_position: Position | None = None
    follow: str = ""
    """The column of `train.follow`, by which new rows are known; empty if the training does not wait for any."""
    follow_position: Position | None = None
    follow_delay: float = FOLLOW_DELAY
    """How long after a row was first seen others with a lower value may still appear, in seconds."""
    own: dict[str, Any] = field(default_factory=dict)
    """Values of the keys that belong to the statement's verb, such as `replace`."""

    def replaces(self) -> bool:
        """Whether an existing table may be replaced; raises SqlError if the value is not true or false."""
        value = self.own.get("replace", False)
        if not isinstance(value, bool):
            raise SqlError(f"replace: {value!r} is not valid: expected true or false")
        return value


def plain(value: Any) -> Any:
    """Return a value in which bare names and moments have become text, and decimals floats."""
    if isinstance(value, Name):
        return value.text
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return [plain(item) for item in value] if isinstance(value, list) else value


def job_options(kind: JobKind) -> list[str]:
    """Return the options that `train.*` and `engine.*` accept, by short and full names."""
    names = [name for option in options(kind) if option.name not in _OURS for name in option.names(kind)]
    return [*names, *(short for short, name in _SHORT.items() if name in names)]


def known_keys(kind: JobKind, model: Model | None, own: Iterable[str] = ()) -> list[str]:
    """Return all keys that WITH may have."""
    keys = [*own, *(f"{prefix}.{name}" for prefix in ("train", "engine") for name in job_options(kind))]
    if model is not None:
        names = model.arguments().names
        keys += [*names, *(f"model.{name}" for name in names)]
        keys += [f"optimizer.{name}" for name in sorted(keras_names.OPTIMIZER_ARGUMENTS)]
        keys += ["optimizer", "loss", "validation.select"]
        keys += [] if model.own_input else [f"train.embedding.{name}" for name in OF_TABLES]
        keys += _FOLLOWS
    return [*keys, "validation.metrics"] if kind != "predict" else keys


def read_attributes(
    given: Sequence[Attribute], kind: JobKind, model: Model | None = None, own: Sequence[str] = ()
) -> Attributes:
    """Sort attributes; raise SqlError, with its place, for one that is unknown or has a value that is not valid."""
    read = Attributes()
    for attribute in given:
        _read(read, attribute, kind, model, own)
    if model is not None:
        missing = [name for name in model.arguments().required if name not in read.params]
        if missing:
            raise SqlError(f"{model.name} needs {' and '.join(missing)}: WITH {missing[0]} = …")
        for attribute in given:
            _check_part(read, attribute, model)
    if not read.follow and (delayed := next((one for one in given if one.key == _FOLLOWS[1]), None)):
        raise SqlError("'train.follow_delay' has an effect only with 'train.follow'", delayed.position)
    return read


def _read(read: Attributes, attribute: Attribute, kind: JobKind, model: Model | None, own: Sequence[str]) -> None:
    key, value = attribute.key, plain(attribute.value)
    prefix, dot, name = key.partition(".")
    if key in own:
        read.own[key] = value
    elif key == "validation.select" and model is not None:
        read.validation_select, read.validation_position = str(value), attribute.value_position
    elif key == "validation.metrics" and kind != "predict":
        read.metrics, read.metrics_position = read_metrics(value, attribute.value_position), attribute.value_position
    elif key.startswith("train.embedding.") and kind == "train":
        _embedding(read, attribute, key.rpartition(".")[2], model, value)
    elif key in _FOLLOWS and kind == "train":
        _follow(read, attribute, key, value)
    elif dot and prefix in ("train", "engine"):
        _job_option(read, attribute, kind, name, value)
    elif model is None or model.own_input or not _features_key(read, attribute, key, value, model):
        _argument(read, attribute, model, key, kind, own, value)


def _features_key(read: Attributes, attribute: Attribute, key: str, value: Any, model: Model) -> bool:
    """Take an attribute about the optimizer or the loss; return whether it was one."""
    prefix, dot, name = key.partition(".")
    if prefix == "model" and name in ("optimizer", "loss") and name not in model.arguments().names:
        prefix, dot = name, ""  # as SQLFlow writes it
    named = prefix in ("optimizer", "loss") and not dot and prefix not in model.arguments().names
    if named and not isinstance(value, str):
        raise SqlError(f"attribute {key!r}: {value!r} is not the name of one in Keras", attribute.value_position)
    if prefix in ("optimizer", "loss") and (dot or isinstance(value, str)):
        chosen: Chosen = getattr(read, prefix)
        known = keras_names.OPTIMIZERS if prefix == "optimizer" else keras_names.LOSSES
        if dot:
            value = float(value) if name == "momentum" and type(value) is int else value  # Keras insists on it
            chosen = replace(chosen, arguments={**chosen.arguments, name: value})
        elif value not in known and (prefix == "loss" or value.lower() not in known):
            near = did_you_mean(value, known)
            raise SqlError(f"Keras has no {prefix} named {value!r}.{near}", attribute.value_position)
        elif chosen.name:
            raise SqlError(f"attribute {key!r}: the {prefix} is given twice", attribute.position)
        else:
            chosen = replace(chosen, name=value)
        setattr(read, prefix, chosen)
        return True
    return False


def _check_part(read: Attributes, attribute: Attribute, model: Model) -> None:
    """Raise SqlError for an argument that the optimizer or the loss does not take, or not with this value."""
    prefix, dot, name = attribute.key.partition(".")
    if not dot or prefix not in ("optimizer", "loss") or model.own_input:
        return
    chosen = read.optimizer if prefix == "optimizer" else read.loss
    used = chosen.name or getattr(model, prefix)
    taken = keras_names.optimizer_arguments(used) if prefix == "optimizer" else keras_names.loss_arguments(used)
    if name not in taken:
        known = name in keras_names.OPTIMIZER_ARGUMENTS | keras_names.loss_arguments("")
        who = f"the {prefix} {used} does not take {name!r}" if used and known else f"no Keras {prefix} takes {name!r}"
        near = did_you_mean(name, taken)
        others = "" if near else f" It takes {', '.join(sorted(taken)) or 'no arguments'}."
        raise SqlError(f"attribute {attribute.key!r}: {who}.{near}{others}", attribute.position)
    _check_value(attribute, chosen.arguments[name], of_keras(prefix, name))
    clips = [key for key in ("clipnorm", "clipvalue", "global_clipnorm") if chosen.arguments.get(key) is not None]
    if name in clips[1:]:
        raise SqlError(f"attribute {attribute.key!r}: given together with {clips[0]!r}; use only one of them",
                       attribute.position)  # fmt: skip


def _check_value(attribute: Attribute, value: Any, form: Form) -> None:
    if not form.fits(value):
        raise SqlError(
            f"attribute {attribute.key!r}: {value!r} is not valid: expected {form.words}", attribute.value_position
        )


def _embedding(read: Attributes, attribute: Attribute, name: str, model: Model | None, value: Any) -> None:
    if name not in OF_TABLES:
        near = did_you_mean(name, OF_TABLES)
        raise SqlError(f"attribute {attribute.key!r}: embeddings have no {name!r}.{near}", attribute.position)
    if model is None or model.own_input:
        who = "a stored model" if model is None else model.name
        raise SqlError(
            f"attribute {attribute.key!r}: {who} makes its embeddings itself; use train.embedding_options='LAYER: "
            f"{name}={value}'",
            attribute.position,
        )
    try:
        TableOptions.of(**{name: value})
    except ValueError as error:
        raise SqlError(f"attribute {attribute.key!r}: {error}", attribute.value_position) from None
    read.embedding[name], read.embedding_position = value, attribute.position


def _follow(read: Attributes, attribute: Attribute, key: str, value: Any) -> None:
    if key == _FOLLOWS[0]:
        if not isinstance(value, str) or not value:
            problem = f"{value!r} is not valid: expected the column that tells new rows from those before"
            raise SqlError(f"attribute {key!r}: {problem}", attribute.value_position)
        if read.follow:
            raise SqlError(f"attribute {key!r} is given twice", attribute.position)
        read.follow, read.follow_position = value, attribute.value_position
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LONGEST_DELAY:
        problem = f"{value!r} is not valid: expected a number of seconds, from 0 to {_LONGEST_DELAY:,}"
        raise SqlError(f"attribute {key!r}: {problem}", attribute.value_position)
    read.follow_delay = float(value)


def _job_option(read: Attributes, attribute: Attribute, kind: JobKind, name: str, value: Any) -> None:
    known = job_options(kind)
    if name not in known:
        near = did_you_mean(name, known)
        raise SqlError(f"attribute {attribute.key!r}: jobs have no such option.{near}", attribute.position)
    full = _SHORT.get(name, name)
    option = find_option(kind, full)
    if option.name in read.job:
        raise SqlError(f"attribute {attribute.key!r}: {option.name} is given twice", attribute.position)
    try:
        read.job[option.name] = option.parse(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise SqlError(
            f"attribute {attribute.key!r}: {value!r} is not valid: {error}", attribute.value_position
        ) from None


def _argument(
    read: Attributes,
    attribute: Attribute,
    model: Model | None,
    key: str,
    kind: JobKind,
    own: Sequence[str],
    value: Any,
) -> None:
    name = key.removeprefix("model.")
    arguments = model.arguments() if model is not None else None
    if arguments is None or (name not in arguments.names and not arguments.takes_any) or "." in name:
        known = known_keys(kind, model, own)
        what = f"attribute of {model.name}" if model is not None else "attribute of this statement"
        near = did_you_mean(key, known) or did_you_mean(key.rpartition(".")[2], known)
        taken = "" if near else f" It takes {', '.join(arguments.names if arguments else own) or 'none'}."
        raise SqlError(f"{key!r} is not an {what}.{near}{taken}", attribute.position)
    if name in read.params:
        raise SqlError(f"attribute {key!r} is given twice", attribute.position)
    form = model.forms().get(name) if model is not None else None
    if form is not None:
        _check_value(attribute, value, form)
    read.params[name] = value


def check_job(kind: JobKind, job: dict[str, Any], **needed: Any) -> None:
    """Raise SqlError if the options contradict each other."""
    try:
        JobSpec.create(kind, **needed, **job)
    except OptionError as error:
        raise SqlError(str(error)) from None
