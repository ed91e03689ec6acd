"""From the options of a call to the folder of a job that is ready to run.

Every mistake that can be found without starting a process is found here, in a fixed order: the options, the model's
code, the data, the output. If there is a mistake, nothing is left behind.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticdl_nb.given.checks import check_code, check_inputs_and_output
from elasticdl_nb.given.fed import Fed
from elasticdl_nb.given.frames import is_frame, write_frame
from elasticdl_nb.given.namedobjects import CAPTURED_MODULE, NamedObjects, name_objects
from elasticdl_nb.given.paths import with_absolute_paths
from elasticdl_nb.given.sharing import check_not_shared
from elasticdl_nb.given.trial import needs_trial, try_model
from elasticdl_nb.job.handle import Job
from elasticdl_nb.job.naming import make_name, subject_of
from elasticdl_nb.runtime.errors import CaptureError, OptionError
from elasticdl_nb.runtime.spec import JobKind, JobSpec, find_option
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.versions import held

if TYPE_CHECKING:
    from elasticdl_nb.capture.checking import Check

# Where results go that the call names no place for, in the job's folder.
_OUTPUTS: dict[JobKind, str] = {"train": "trained_model", "predict": "predictions.parquet"}

Tell = Callable[[str], object]
"""Gets what is being done now, to show it to those who wait."""

Soon = Callable[[JobSpec], object]
"""Gets the options of a job whose processes can start already: the rest of its preparation takes as long as they do."""


@contextmanager
def prepared(
    kind: JobKind, given: Mapping[str, Any], tell: Tell = lambda doing: None, soon: Soon = lambda spec: None
) -> Iterator[JobFolder]:
    """Yield the folder of the job, checked and complete except for its master; remove it if the block fails.

    `soon` is called when a job for this machine has something slow ahead, such as the check of captured code. Raises
    OptionError, DataError or ModelError.
    """
    tell("checking the options")
    _check_each(kind, given)
    named = name_objects(kind, _with_outputs_of_jobs(kind, given))
    if named.captured and kind == "train":
        from elasticdl_nb.capture.checker import start_early

        start_early()
    from elasticdl_nb.given.arraydata import ArrayData

    arrays = ArrayData.of(kind, named.options)
    options, frames = _set_frames_aside(kind, arrays.options)
    stated = JobSpec.create(kind, **options)
    _check_options_of_capture(stated, named)
    if kind == "train":
        _check_given_for(_living_model(given), stated)
    stated = stated.replace(job_name=stated.job_name or make_name(kind, subject_of(stated)))
    if stated.on_kubernetes:
        with _prepared_for_cluster(stated, named, [*frames, *arrays.given], tell) as folder:
            yield folder
        return
    if named.captured and kind == "train":
        soon(stated)
    spec = with_absolute_paths(stated)
    with JobFolder.prepare(_for_keeping(spec)) as folder:
        tell("packaging and checking the model")
        spec = spec.replace(trained_model=held(spec.trained_model, folder.version))
        check = _fetch_code(spec, named, folder) if kind == "train" else None
        if spec.label:
            from elasticdl_nb.given.tables import with_input_function

            spec = with_input_function(spec, folder.zoo)
        arrays.check(spec, folder.zoo)
        if reader := check_code(spec, folder.zoo):
            # Only the reader knows what the data's names mean: they need not be paths.
            spec = spec.replace(custom_data_reader=reader, data=stated.data, validation_data=stated.validation_data)
        tell("checking the data")
        spec = arrays.write(_write_frames(spec, frames, folder), folder.data)
        spec = check_inputs_and_output(spec, reads_files=not reader)
        check_not_shared(spec, folder)
        if spec.label:
            spec = _look_at_columns(spec, folder, given)
        if kind == "predict":
            from elasticdl_nb.job.predictions import keep_index

            keep_index(_data_of(kind, named.options), folder.path)
        if kind == "evaluate" and not reader:
            from elasticdl_nb.given.tables import check_labels

            check_labels(spec)
        if not spec.output and not spec.prediction_outputs_processor and kind in _OUTPUTS:
            spec = spec.replace(output=os.fspath(folder.path / _OUTPUTS[kind]))
        _finish(check, spec, tell)
        _keep(spec, folder)
        if needs_trial(spec, folder.zoo):
            tell("trying the model")
            soon(spec)
            try_model(folder.path)
        yield folder


@contextmanager
def _prepared_for_cluster(
    stated: JobSpec, named: NamedObjects, frames: Collection[str], tell: Tell
) -> Iterator[JobFolder]:
    """See `prepared`. What only pods can see is checked first by the master's pod."""
    from elasticdl_nb.given.clusterpaths import as_pods_see_it, check_visible

    if frames:
        raise OptionError(
            "data", "frames and arrays stay on this machine; write them to a volume or an object store of the pods"
        )
    spec = as_pods_see_it(stated)
    check_visible(spec)
    with JobFolder.prepare(_for_keeping(spec)) as folder:
        if spec.kind == "train" and not spec.image_name:
            tell("packaging and checking the model")
            check = _fetch_code(spec, named, folder)
            check_code(spec, folder.zoo, installed_here=False)
            _finish(check, spec, tell)
        _keep(spec, folder)
        yield folder


def _keep(spec: JobSpec, folder: JobFolder) -> None:
    for note in spec.notes():
        warnings.warn(note, stacklevel=2)
    folder.write_spec(_for_keeping(spec))


def _for_keeping(spec: JobSpec) -> JobSpec:
    """Return the job in a form that may be written to a file: without the credentials in its zoo's URL."""
    from elasticdl_nb.given.zoosource import without_credentials

    return spec.replace(model_zoo=without_credentials(spec.model_zoo))


# ------------------------------------------------------------------ the model's code


def _check_each(kind: JobKind, given: Mapping[str, Any]) -> None:
    """Raise OptionError if an option does not exist; it then also names numbers and texts that are not valid."""
    errors, unknown = [], False
    for name, value in given.items():
        try:
            option = find_option(kind, name)
            if isinstance(value, (str, int, float)):
                option.parse(value)
        except OptionError as error:
            errors.append(error)
            unknown = True
        except (ValueError, TypeError) as error:
            errors.append(OptionError(name, f"{value!r} is not valid: {error}"))
    if unknown:  # if not, `JobSpec.create` names them, with those that are missing
        OptionError.raise_together(errors)


def _with_outputs_of_jobs(kind: JobKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a training job, given as the trained model, with its output; wait for a job that has not ended."""
    options = dict(given)
    for name, value in given.items():
        if not isinstance(value, Job):
            continue
        if find_option(kind, name).name != "trained_model" or value.spec.kind != "train":
            raise OptionError(name, f"expected {find_option(kind, name).form}, not a job of {value.spec.kind}")
        options[name] = value.trained_model()
    return options


def _check_options_of_capture(spec: JobSpec, named: NamedObjects) -> None:
    given = [
        name for name in ("from_scratch", "verify", "max_state_mb")
        if not named.captured and getattr(spec, name) != find_option(spec.kind, name).default
    ] if spec.kind == "train" else []  # fmt: skip
    OptionError.raise_together(
        [OptionError(name, "has an effect only on a model that a notebook or script defines") for name in given]
    )


def _living_model(given: Mapping[str, Any]) -> Any:
    """Return the Keras model to train if it was given as an object; None otherwise."""
    keras = sys.modules.get("keras")
    model = next((value for name, value in given.items() if find_option("train", name).name == "model_def"), None)
    return model if keras is not None and isinstance(model, keras.Model) else None


def _check_given_for(model: Any, spec: JobSpec) -> None:
    """Raise OptionError if nothing says what a living model gets of the data, or if it has no optimizer."""
    if model is None or spec.label:
        return
    if not (spec.input_fn or spec.dataset_fn or _defines(model, "input_fn") or _defines(model, "dataset_fn")):
        if spec.on_kubernetes:
            raise OptionError("input_fn", "required, or dataset_fn: nothing says what the model gets of the data")
        raise OptionError(
            "label",
            "required: name the column to predict, if the data is a table; or give arrays, data=(x, y), or an input_fn",
        )
    own_step = type(model).train_step is not sys.modules["keras"].Model.train_step
    if not (model.compiled or spec.optimizer or own_step or _defines(model, "optimizer")):
        raise OptionError("optimizer", "required, as the model is not compiled: for example optimizer='adam'")


def _defines(model: Any, role: str) -> bool:
    from elasticdl_nb.runtime.model.contract import CLASS_NAMES

    return any(hasattr(type(model), name) for name in CLASS_NAMES[role])


def _fetch_code(spec: JobSpec, named: NamedObjects, folder: JobFolder) -> Check | None:
    """Put the model's code into the job's folder; return the check of what was captured, which is under way."""
    if spec.model_zoo or not spec.model_def.startswith(f"{CAPTURED_MODULE}."):
        from elasticdl_nb.given.zoosource import fetch_zoo

        for note in fetch_zoo(spec.model_zoo, folder.zoo).notes:
            warnings.warn(note, stacklevel=2)
    return _write_captured(named.captured, folder.zoo, spec) if named.captured else None


def _write_captured(objects: dict[str, object], zoo: Path, spec: JobSpec) -> Check | None:
    from elasticdl_nb.capture import capture_objects, checking, write_zoo

    captured = capture_objects(objects, scratch=spec.from_scratch, most_bytes=spec.max_state_mb * 2**20)
    for warning in (*captured.warnings, *captured.notes):
        warnings.warn(warning, stacklevel=2)
    requirements = zoo / "requirements.txt"
    before = requirements.read_text().splitlines() if requirements.exists() else []
    write_zoo(captured, zoo, CAPTURED_MODULE)
    requirements.write_text("".join(f"{line}\n" for line in [*before, *captured.requirements]))
    if checking.is_plain(captured):
        return None
    return checking.begin_check(captured, objects, os.fspath(zoo), CAPTURED_MODULE)


def _finish(check: Check | None, spec: JobSpec, tell: Tell) -> None:
    """Wait for the check of what was captured; refuse what differs, or warn of it."""
    if check is None:
        return
    from elasticdl_nb.capture.checking import report

    tell("comparing the package with the notebook")
    try:
        found = check.finish()
    except CaptureError as error:
        if spec.verify:
            raise
        found = list(error.problems)
    if spec.verify:
        report(found)
    for difference in found:
        warnings.warn(difference, stacklevel=2)


# ------------------------------------------------------------------ data


def _look_at_columns(spec: JobSpec, folder: JobFolder, given: Mapping[str, Any]) -> JobSpec:
    """Describe the columns of a job with a label, and tell users what becomes of them."""
    from elasticdl_nb.given.tables import check_live_model, look

    spec, record = look(spec, folder.zoo, folder.data)
    notes = record.notes
    model = _living_model(given)
    if model is not None:
        notes = (*notes, *check_live_model(record, model, given.get("loss")))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return spec


def _data_of(kind: JobKind, options: Mapping[str, Any]) -> Any:
    return next(value for name, value in options.items() if find_option(kind, name).name == "data")


def _set_frames_aside(kind: JobKind, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace frames with the names of the Parquet files they will be written to; return these with their frames."""
    replaced, frames = dict(options), {}
    for name, value in options.items():
        option = find_option(kind, name).name
        if option not in ("data", "validation_data"):
            continue
        if isinstance(value, Fed):
            replaced[name] = f"{option}-rows"
            frames[replaced[name]] = value
            continue
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        if not any(is_frame(item) for item in items):
            continue
        for place, item in enumerate(items):
            if is_frame(item):
                items[place] = f"{option}-{place}.parquet"
                frames[items[place]] = item
        replaced[name] = items
    return replaced, frames


def _write_frames(spec: JobSpec, frames: Mapping[str, Any], folder: JobFolder) -> JobSpec:
    files = {given: os.fspath(folder.data / name) for name in frames for given in (name, os.path.abspath(name))}
    for name, frame in frames.items():
        if isinstance(frame, Fed):
            (folder.data / name).mkdir()
            frame.begin(folder.data / name)
            folder.write_feeder(frame.module, frame.settings)
            continue
        write_frame(frame, folder.data / name, name.partition("-")[0])
    return spec.replace(
        data=tuple(files.get(path, path) for path in spec.data),
        validation_data=tuple(files.get(path, path) for path in spec.validation_data),
    )
