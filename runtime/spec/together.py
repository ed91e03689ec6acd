"""Which options have an effect only together with others, and what follows from options that were given.

An option whose need is not met is refused: nobody should believe that it did something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import forms

if TYPE_CHECKING:
    from elasticdl_nb.runtime.spec.jobspec import JobSpec
    from elasticdl_nb.runtime.spec.option import Option


@dataclass(frozen=True)
class Need:
    """What an option needs to have an effect: in words that follow "only …", and as a test of the job."""

    words: str
    is_met: Callable[[JobSpec], bool]


NO_RING = Need(
    "with distribution_strategy=Local or ParameterServerStrategy", lambda spec: spec.trains_alone or spec.uses_servers
)
SERVERS = Need("with distribution_strategy=ParameterServerStrategy", lambda spec: spec.uses_servers)
ASYNCHRONOUS = Need(
    "with distribution_strategy=ParameterServerStrategy and use_async=true",
    lambda spec: spec.uses_servers and spec.use_async,
)
SYNCHRONOUS = Need(
    "with distribution_strategy=ParameterServerStrategy and use_async=false",
    lambda spec: spec.uses_servers and not spec.use_async,
)
RING = Need("with distribution_strategy=AllreduceStrategy", lambda spec: spec.uses_allreduce)
CLUSTER = Need("with platform=kubernetes", lambda spec: spec.on_kubernetes)
GPUS = Need(
    "with platform=kubernetes, except for gpu",
    lambda spec: spec.on_kubernetes or spec.worker_resource_request.keys() == {"nvidia.com/gpu"},
)
DIRECTORY = Need(
    "if output is a directory: a file has the format of its name",
    lambda spec: bool(spec.output) and not spec.output.lower().endswith((".recordio", ".parquet", ".csv")),
)
ARRAY_INPUT = "array_columns.input_fn"
"""The input function that a zoo gets for a job whose data is arrays."""

TABLES = Need(
    "with embedding_tables=true, and not with distribution_strategy=AllreduceStrategy, which has no tables",
    lambda spec: spec.embedding_tables and not spec.uses_allreduce,
)
LABEL = Need("with label", lambda spec: bool(spec.label))
DIVISIBLE = Need("with label, or with data in arrays", lambda spec: bool(spec.label) or spec.input_fn == ARRAY_INPUT)
PREQUENTIAL = Need("with prequential", lambda spec: spec.prequential)
OUTPUT = Need("with output", lambda spec: bool(spec.output))
PUBLISHING = Need("with publish_every", lambda spec: bool(spec.publish_every))

NEEDS_OF_GROUPS: Mapping[str, Need] = {
    "Parameter servers": SERVERS,
    "All-reduce": RING,
    "Kubernetes": CLUSTER,
    "Image": CLUSTER,
}
NEEDS_OF_OPTIONS: Mapping[str, Need] = {
    "grads_to_wait": SYNCHRONOUS,
    "sync_version_tolerance": SYNCHRONOUS,
    "get_model_steps": ASYNCHRONOUS,
    "lr_staleness_modulation": ASYNCHRONOUS,
    "output_format": DIRECTORY,
    "embedding_options": TABLES,
    "checkpoint_deltas": TABLES,
    "checkpoint_delta_mb": TABLES,
    "overwrite": OUTPUT,
    "publish_every": OUTPUT,
    "keep_published": PUBLISHING,
    "jit_compile": NO_RING,
    "worker_resource_request": GPUS,
    "features": LABEL,
    "prequential": NO_RING,
    "prequential_window": PREQUENTIAL,
    "alarm": PREQUENTIAL,
    "validation_split": DIVISIBLE,
}


def need_of(option: Option) -> Need | None:
    """Return what an option needs to have an effect, or None if it always has one."""
    return NEEDS_OF_OPTIONS.get(option.name) or NEEDS_OF_GROUPS.get(option.group)


def strategy_asked_for(values: Mapping[str, Any], given: Collection[Option]) -> str:
    """Return the strategy that follows from the values given, if no strategy is among them.

    Options of one strategy ask for it; several workers alone ask for parameter servers. Raises OptionError if options
    of two strategies are given.
    """
    asked = {
        group: option.name
        for group in ("Parameter servers", "All-reduce")
        for option in given
        if option.group == group and (option.name == "num_ps" or values[option.name] != option.default)
    }
    if len(asked) == 2:
        servers, ring = asked["Parameter servers"], asked["All-reduce"]
        raise OptionError(
            servers, f"applies only {SERVERS.words}, but {ring} only {RING.words}; choose one distribution_strategy"
        )
    if "All-reduce" in asked:
        return "AllreduceStrategy"
    return "ParameterServerStrategy" if asked or values.get("num_workers", 1) > 1 else "Local"


def without_effect(spec: JobSpec, given: Collection[Option]) -> list[OptionError]:
    """Return an error for each of these options whose value differs from the default and yet changes nothing."""
    errors = []
    for option in given:
        need = need_of(option)
        if need is not None and getattr(spec, option.name) != option.default and not need.is_met(spec):
            errors.append(OptionError(option.name, f"has an effect only {need.words}"))
    return errors


def check_following(spec: JobSpec, given: Collection[Option]) -> None:
    """Raise OptionError if a job that follows its data has an option that does not go with that."""
    if not spec.follow:
        return
    shuffles = spec.shuffle and "shuffle" in {option.name for option in given}
    others = {
        "shuffle": (shuffles, "uses records in the order in which they come"),
        "num_epochs": (spec.num_epochs > 1, "uses every record once, as there are no epochs"),
        "max_step": (spec.max_step > 0, "ends when it is stopped"),
        "validation_split": (spec.validation_split > 0, "does not know its records in advance; use validation_data"),
        "custom_data_reader": (bool(spec.custom_data_reader), "looks for files"),
        "callbacks": (bool(spec.callbacks), "has no epochs, between which callbacks are called"),
        "distribution_strategy": (spec.uses_allreduce, "trains with Local or ParameterServerStrategy"),
    }
    for name, (is_wrong, why) in others.items():
        if is_wrong:
            raise OptionError(name, f"given together with follow: a training that follows its data {why}")


def check_testing(spec: JobSpec) -> None:
    """Raise OptionError if a job that tests records before it learns them would learn them before."""
    if spec.prequential and spec.num_epochs > 1:
        raise OptionError(
            "num_epochs",
            "given together with prequential, which predicts records before they are learnt; from the "
            "second epoch on, they have been",
        )


def _has_password(topic: str) -> bool:
    """Whether a topic's URL has a password, be it in the URL of its dead letters."""
    return "@" in topic.partition("?")[0] or "password=" in topic or bool(re.search(r"://[^/@]*:[^/@]*@", topic))


def check_topics(spec: JobSpec) -> None:
    """Raise OptionError if a job reads a Kafka topic, and has an option that does not go with that."""
    if not any(path.startswith(forms.TOPIC) for path in (*spec.data, *spec.validation_data)):
        return
    for path in (*spec.data, *spec.validation_data):
        if path.startswith(forms.TOPIC) and _has_password(unquote(path)):
            raise OptionError("data", "a password in the URL of a Kafka topic would be stored; see docs/streams.md")
    if spec.kind == "predict":
        raise OptionError(
            "data", "a Kafka topic cannot be predicted: offsets may have no record, so rows would not match"
        )
    others = {
        "label": (bool(spec.label), "looks at all data before it is used; use an input_fn"),
        "validation_split": (spec.validation_split > 0, "divides files; use validation_data"),
        "custom_data_reader": (bool(spec.custom_data_reader), "reads the data instead"),
    }
    for name, (is_wrong, why) in others.items():
        if is_wrong:
            raise OptionError(name, f"given together with a Kafka topic: it {why}")


def notes_on(spec: JobSpec) -> list[str]:
    """Return what users should know of options that change nothing, but that existing commands combine."""
    notes = []
    if spec.trains_alone and spec.num_workers > 1:
        notes.append(
            f"num_workers={spec.num_workers} has no effect with distribution_strategy=Local, which trains in one worker"
        )
    if spec.kind == "train" and spec.evaluation_steps and not spec.validation_data:
        notes.append("evaluation_steps has no effect without validation_data")
    return notes
