"""The directory that a training job writes: `trained_model.pb`, the parameters, the zoo, a SavedModel.

Reading it does not need TensorFlow; writing does.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
from google.protobuf.message import DecodeError

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.saving.beginning import MESSAGE as MESSAGE
from elasticdl_nb.runtime.model.saving.zoofiles import copy_zoo
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec, literals
from elasticdl_nb.runtime.storage import versions

if TYPE_CHECKING:
    from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
    from elasticdl_nb.runtime.model.loading.loader import LoadedModel

PARAMETERS = "parameters.safetensors"
ZOO = "model_zoo"
SAVED_MODEL = "saved_model"
STATE = "state"
TABLES = "tables"
# How Kubernetes distinguishes images that can be pulled from those that only one machine has.
PULLABLE = "docker-pullable://"
_PACKAGES = ("elasticdl_nb", "tensorflow", "tensorflow-cpu", "keras", "numpy")


# ------------------------------------------------------------------ writing


def write_trained_model(
    directory: Path,
    *,
    spec: JobSpec,
    loaded: LoadedModel,
    zoo: str,
    metrics: Mapping[str, float],
    step: int,
    job_name: str,
    saved_model: bool,
    layers: ServedLayers | None = None,
    tag: str = "",
) -> list[str]:
    """Write a trained model into `directory`, which it creates; returns notes for users.

    `layers` are those whose rows are still in tables: they are kept as files. `trained_model.pb` comes last, so that a
    directory that has it is complete. It names the other files, whose names end in `tag`. A SavedModel that cannot be
    exported is a note, not an error.
    """
    from elasticdl_nb.runtime.model.saving.forms import form_to_json
    from elasticdl_nb.runtime.model.saving.tablefiles import write_tables
    from elasticdl_nb.runtime.model.saving.weights import save_weights

    directory.mkdir(parents=True, exist_ok=True)
    model_zoo = f"{ZOO}{tag}"
    stem, suffix = os.path.splitext(PARAMETERS)
    parameters = f"{stem}{tag}{suffix}"
    copy = copy_zoo(zoo, directory / model_zoo)
    notes = list(copy.notes)
    variables = save_weights(loaded.model, os.fspath(directory / parameters))
    loaded.write_state(directory / f"{STATE}{tag}")
    tables, digest = "", ""
    if layers is not None and layers.layers:
        tables = f"{TABLES}{tag}"
        digest = write_tables(directory / tables, layers, spec.table_files_dtype)
    exported = ""
    if saved_model:
        problem = _export(loaded, directory / f"{SAVED_MODEL}{tag}", layers)
        exported = "" if problem else f"{SAVED_MODEL}{tag}"
        notes += [f"no SavedModel was exported: {problem}"] if problem else []
    message = pb.TrainedModel(
        docker_commit_id=_commit_id(spec),
        model_def=spec.model_def,
        model_def_params=literals.format_arguments(spec.params),
        params_filename=parameters,
        input_function=spec.input_fn,
        loss=spec.loss,
        optimizer=spec.optimizer,
        dataset_function=spec.dataset_fn,
        eval_metrics_function=spec.eval_metrics_fn,
        data_reader_params=literals.format_arguments(spec.data_reader_params),
        model_zoo=model_zoo,
        model_zoo_digest=copy.digest,
        metrics=dict(metrics),
        step=step,
        versions=_versions(),
        job_name=job_name,
        created_at=time.time(),
        variables=variables,
        minibatch_size=spec.minibatch_size,
        saved_model=exported,
        custom_data_reader=spec.custom_data_reader,
        features=form_to_json(loaded.signature),
        state=f"{STATE}{tag}",
        tables=tables,
        tables_digest=digest,
    )
    (directory / MESSAGE).write_bytes(message.SerializeToString(deterministic=True))
    return notes


def _export(loaded: LoadedModel, target: Path, layers: ServedLayers | None) -> str:
    """Export a SavedModel without output on the terminal; return why it failed, or an empty string.

    Rows that are not in the model are inputs of it.
    """
    from elasticdl_nb.runtime.model.saving.rowsasinput import export_with_rows

    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if layers is not None and layers.layers:
                export_with_rows(loaded, layers, os.fspath(target))
                return ""
            signature = None if loaded.signature is None else [loaded.signature]
            with contextlib.nullcontext() if signature is None else _without_guesses():
                loaded.model.export(
                    os.fspath(target), format="tf_saved_model", verbose=False, input_signature=signature
                )
    except Exception as error:  # Keras and the user's model may raise anything here; the trained model is fine without.
        shutil.rmtree(target, ignore_errors=True)
        return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    finally:
        logger.setLevel(level)
    return ""


@contextlib.contextmanager
def _without_guesses() -> Iterator[None]:
    """Keep Keras from also exporting a function for inputs as it supposes them: float32, whatever they are."""
    import keras

    layers = keras.src.backend.tensorflow.layer.TFLayer
    guess = layers._default_save_signature
    layers._default_save_signature = property(lambda layer: None)
    try:
        yield
    finally:
        layers._default_save_signature = guess


def _commit_id(spec: JobSpec) -> str:
    """The image that the job runs in, so that predictions can use the same; empty outside a cluster."""
    if not spec.on_kubernetes:
        return ""
    return f"{PULLABLE}{spec.image_name}" if "@sha256:" in spec.image_name else spec.image_name


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


# ------------------------------------------------------------------ reading


def read_trained_model(path: str | os.PathLike[str]) -> tuple[pb.TrainedModel, ModelDefinition]:
    """Read what `write_trained_model` wrote; the definition's `zoo` and `weights` are paths on this machine.

    Of a folder of versions, which are called 1, 2, …, the newest is read.
    A remote directory (an fsspec URL) is downloaded, without its SavedModel, to a temporary one that is removed when
    the process ends. Raises OptionError("trained_model", …) for a directory that is missing or incomplete.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(
            "trained_model", f"expected the output of a training job, not an object of type {type(path).__name__}"
        )
    given = versions.newest(os.fspath(path))
    directory = _download(given) if is_remote(given) else Path(given)
    file = directory / MESSAGE
    if not file.is_file():
        raise OptionError("trained_model", _no_message(given, directory))
    try:
        message = pb.TrainedModel.FromString(file.read_bytes())
    except DecodeError:
        raise OptionError("trained_model", f"{given}/{MESSAGE} is damaged: it cannot be decoded") from None
    parts = [(message.params_filename, "the parameters file"), (message.model_zoo, "the model zoo")]
    parts += [(name, "the folder") for name in (message.state, message.tables) if name]
    for name, what in parts:
        if os.path.isabs(name) or ".." in Path(name).parts:
            raise OptionError("trained_model", f"{given} names {what} outside of its own directory: {name!r}")
        if not name or not (directory / name).exists():
            raise OptionError("trained_model", f"{given} is incomplete: {what} {name!r} is missing")
    return message, definition_of(message, directory)


def definition_of(message: pb.TrainedModel, directory: Path) -> ModelDefinition:
    """Return the model that a trained model's message describes; its files are in `directory`."""
    return ModelDefinition(
        zoo=os.fspath(directory / message.model_zoo),
        model_def=message.model_def,
        params=literals.parse_arguments(message.model_def_params),
        input_fn=message.input_function,
        dataset_fn=message.dataset_function,
        custom_data_reader=message.custom_data_reader,
        loss=message.loss,
        optimizer=message.optimizer,
        eval_metrics_fn=message.eval_metrics_function,
        weights=os.fspath(directory / message.params_filename),
        state=os.fspath(directory / message.state) if message.state else "",
        tables=os.fspath(directory / message.tables) if message.tables else "",
        tables_digest=message.tables_digest,
    )


def is_remote(path: str) -> bool:
    """Whether a path is an fsspec URL for something other than this machine's files."""
    return "://" in path and not path.startswith(("file://", "local://"))


def _no_message(given: str, directory: Path) -> str:
    if not is_remote(given) and not directory.exists():
        return f"no such directory: {given}"
    return f"{given} is not a trained model: it has no {MESSAGE}. Give the output of a training job"


def _download(url: str) -> Path:
    filesystem, root = fsspec.core.url_to_fs(url)
    root = root.rstrip("/")
    local = Path(tempfile.mkdtemp(prefix="elasticdl-"))
    atexit.register(shutil.rmtree, local, ignore_errors=True)
    try:
        found = filesystem.find(root)
    except FileNotFoundError:
        found = []
    for name in found:
        relative = name[len(root) :].lstrip("/") if name.startswith(root) else name
        if relative.partition("/")[0].startswith(SAVED_MODEL):
            continue
        target = local / relative
        if not target.resolve().is_relative_to(local.resolve()):
            raise OptionError("trained_model", f"{url} has a file with an invalid name: {relative!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(name, os.fspath(target))
    return local
