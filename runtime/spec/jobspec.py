"""The one declaration of a job: `JobSpec`.

Python arguments, command-line flags, notebook options, their help texts and their validation all come from its
fields, which the classes it inherits declare by subject. The master and its workers read the same object from the job's
folder. To add an option, add a field to one of them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec.clusteroptions import ClusterOptions
from elasticdl_nb.runtime.spec.dataoptions import DataOptions
from elasticdl_nb.runtime.spec.modeloptions import ModelOptions
from elasticdl_nb.runtime.spec.option import KINDS, JobKind, Option
from elasticdl_nb.runtime.spec.resultoptions import ResultOptions
from elasticdl_nb.runtime.spec.rhythm import Rhythm, check_publishing
from elasticdl_nb.runtime.spec.runningoptions import COMPRESSIONS, LOG_LEVELS, STRATEGIES, RunningOptions
from elasticdl_nb.runtime.spec.streamoptions import StreamOptions
from elasticdl_nb.runtime.spec.together import (
    check_following,
    check_testing,
    check_topics,
    notes_on,
    strategy_asked_for,
    without_effect,
)

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


@dataclass(frozen=True, kw_only=True)
class JobSpec(ClusterOptions, RunningOptions, StreamOptions, ResultOptions, DataOptions, ModelOptions):
    """Everything that says what a job does. Build one with `JobSpec.create`, which validates.

    All values are plain JSON values. Paths are written as the job's processes will open them. Help texts show the
    options in the order of the bases, from the last one to the first.
    """

    kind: JobKind

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
        check_testing(spec)
        check_publishing(spec)
        check_topics(spec)
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

    @property
    def rhythm(self) -> Rhythm | None:
        """How often the job publishes versions of its model; None if it does not."""
        return Rhythm.of(self.publish_every)

    @property
    def steps_between_checkpoints(self) -> int:
        """After how many steps there is a checkpoint; 0 if that depends on the time alone."""
        return self.rhythm.steps(self) if self.rhythm is not None else self.checkpoint_steps

    def seconds_between_checkpoints(self, usual: float) -> float:
        """After how many seconds there is a checkpoint; `usual` if nothing more frequent is asked for."""
        return min(usual, self.rhythm.seconds) if self.rhythm is not None and self.rhythm.seconds else usual

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
