"""`train`, `evaluate` and `predict`."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from elasticdl_nb.job import Job
from elasticdl_nb.job.display import ProgressChoice, TerminalDisplay, notebook_display, notes, readable_notes
from elasticdl_nb.job.starting import start_job
from elasticdl_nb.runtime.spec import JobKind, Option, options

if TYPE_CHECKING:
    import keras


def train(
    model_def: Any = None, *, wait: bool | None = None, detach: bool = False, progress: ProgressChoice = None,
    **given: Any,
) -> Job:  # fmt: skip
    """Train a model."""
    return _start("train", "model_def", model_def, given, wait, detach, progress)


def evaluate(
    trained_model: Any = None, *, wait: bool | None = None, detach: bool = False, progress: ProgressChoice = None,
    **given: Any,
) -> Job:  # fmt: skip
    """Evaluate a trained model."""
    return _start("evaluate", "trained_model", trained_model, given, wait, detach, progress)


def predict(
    trained_model: Any = None, *, wait: bool | None = None, detach: bool = False, progress: ProgressChoice = None,
    **given: Any,
) -> Job:  # fmt: skip
    """Predict with a trained model."""
    return _start("predict", "trained_model", trained_model, given, wait, detach, progress)


def load(trained_model: Any) -> keras.Model:
    """Return a trained model as a Keras model in this process, for a few predictions without a job.

    trained_model: the output directory of a training job, or the `Job` itself, which is waited for.

    The model takes features, as its `call` does, rather than records. Runs the model's own code, which is in that
    directory, and imports TensorFlow. Raises OptionError for a directory that is no trained model, ModelError if the
    code fails, and JobFailed or JobCancelled if the job has no model.
    """
    from elasticdl_nb.runtime.model.saving.opening import open_model

    return trained_model.model if isinstance(trained_model, Job) else open_model(trained_model)


def _start(
    kind: JobKind, option: str, first: Any, given: dict[str, Any], wait: bool | None, detach: bool,
    progress: ProgressChoice,
) -> Job:  # fmt: skip
    given = given if first is None else {option: first, **given}
    display = notebook_display(kind) if progress is None else None
    if display is None:
        with readable_notes():
            return start_job(kind, given, TerminalDisplay(progress), wait=wait, detach=detach)
    with notes(print):
        return start_job(kind, given, display, wait=wait, detach=detach)


# ------------------------------------------------------------------ help() and editors

_SUMMARIES: dict[JobKind, str] = {
    "train": "Train a model on this machine, in processes of its own, and return the job.",
    "evaluate": "Evaluate a trained model and return the job; its `metrics` are the result.",
    "predict": "Predict with a trained model and return the job; its `output` is where the predictions are.",
}

_COMMON = {
    "wait": "Wait until the job has ended; otherwise return as soon as it runs. By default waits, except in a live "
    "notebook.",
    "detach": "Let the job continue when this process ends. Returns as soon as it runs, unless `wait` is true.",
    "progress": "Show progress on stderr: True, False, or by default only on a terminal, while notebooks show a live "
    "view. Can also be a function that gets every JobStatus.",
}

_CODE = "Names of code may also be given as the objects themselves: classes, functions, modules, global values."
_FRAMES = (
    "Data may also be given as pandas, Arrow or Polars frames, or a list of these and of paths; or as `fit` takes it, "
    "(x, y) of arrays or a dataset of batches: see docs/data.md."
)
_RAISES = """\
Raises:
    OptionError, DataError, ModelError: something is wrong with the call; nothing has started.
    JobFailed, JobCancelled: from waiting. The message is the worker's, and `traceback` has its traceback.
"""


def signature(kind: JobKind) -> inspect.Signature:
    """Return the keyword arguments of one of the functions: first the job's options, then those of the call itself."""
    own = inspect.signature({"train": train, "evaluate": evaluate, "predict": predict}[kind]).parameters
    first = next(iter(own))
    parameters = [
        inspect.Parameter(
            option.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if option.name == first else inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if option.required else option.default,
            annotation=annotation(option),
        )
        for option in sorted(options(kind), key=lambda option: option.name != first)
    ]
    parameters += [parameter for name, parameter in own.items() if name in _COMMON]
    return inspect.Signature(parameters, return_annotation="Job")


def annotation(option: Option) -> str:
    """Return the accepted types, as text."""
    if option.choices:
        return "Literal[" + ", ".join(repr(choice) for choice in option.choices) + "]"
    if option.group == "Model" and option.form == "NAME":
        return "str | object"
    if option.form.startswith("PATH["):
        return "str | list[str] | DataFrame"
    if isinstance(option.default, dict):
        return "str | dict[str, Any]"
    return type(option.default).__name__


def docstring(kind: JobKind) -> str:
    """Return the text that help() shows."""
    lines = [_SUMMARIES[kind], "", *([_CODE] if kind == "train" else []), _FRAMES, "", "Args:"]
    for option in options(kind):
        also = "".join(f" Also called {alias}." for alias in option.names(kind)[1:])
        lines.append(_argument(option.name, option.help + also))
    lines += [_argument(name, text) for name, text in _COMMON.items()]
    return "\n".join([*lines, "", _RAISES])


def _argument(name: str, text: str) -> str:
    return textwrap.fill(f"{name}: {text}", width=100, initial_indent="    ", subsequent_indent="        ")


def _describe(function: Callable[..., Job], kind: JobKind) -> None:
    described = signature(kind)
    function.__doc__ = docstring(kind)
    function.__signature__ = described  # type: ignore[attr-defined]


for _function, _kind in ((train, "train"), (evaluate, "evaluate"), (predict, "predict")):
    _describe(_function, _kind)  # type: ignore[arg-type]
