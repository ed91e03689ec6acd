"""The last task of a job: its output appears whole, or not at all; see `runtime.storage.publish`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.data.writers import concatenate
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, write_trained_model
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import usedfiles, versions
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.publish import Publication, is_remote, local_path, published
from elasticdl_nb.runtime.worker.predictor import FORMS, part_form, part_path

SUCCESS = "_SUCCESS"
"""In an object store, the file of a folder of predictions that is uploaded last; readers of such folders skip it."""


def write_form(spec: JobSpec, folder: JobFolder, loaded: LoadedModel) -> None:
    """Write the form of the versions that the job publishes, unless another worker has: see `runtime.publishing`."""
    if not spec.publish_every or folder.form.exists():
        return
    aside = Path(durable.aside_name(folder.form))
    try:
        write_trained_model(
            aside, spec=spec, loaded=loaded, zoo=os.fspath(folder.zoo), metrics={}, step=0, job_name=folder.name,
            saved_model=False,
        )  # fmt: skip
        with contextlib.suppress(FileExistsError):
            durable.put(aside, folder.form, overwrite=False)
    finally:
        durable.remove(aside)


def finish_training(
    spec: JobSpec, folder: JobFolder, loaded: LoadedModel, layers: ServedLayers, metrics: Mapping[str, float],
    step: int, task: pb.Task,
) -> tuple[str, list[str]]:  # fmt: skip
    """Write the trained model to the job's output; return where it is, and notes for the user.

    The rows of `layers` are written as files, by whoever has them. The `task` says how many records were trained on,
    and what the last ones of a topic were.
    """
    notes: list[str] = []

    output = spec.output or os.fspath(folder.path / "trained_model")
    # Object stores cannot replace a folder in one step: for a moment a new model's files stand beside the old one's.
    tag = f"-{secrets.token_hex(4)}" if is_remote(output) else ""

    def write(directory: Path) -> None:
        notes.clear()
        if spec.follow:
            directory.mkdir(parents=True, exist_ok=True)
            usedfiles.write(folder, directory, {one.path: (one.offset, one.fingerprint) for one in task.last})
        notes.extend(write_trained_model(
            directory, spec=spec, loaded=loaded, zoo=os.fspath(folder.zoo), metrics=dict(metrics), step=step,
            job_name=folder.name, saved_model=spec.saved_model, layers=layers, tag=tag,
        ))  # fmt: skip
        if spec.publish_every:
            now = time.time()
            versions.VersionRecord(folder.identity, step, task.records, now, now, final=True).write(directory)

    if spec.publish_every:
        return _publish_last(spec, folder, local_path(output), write), notes
    Publication(folder.path, output, overwrite=spec.overwrite, marker=MESSAGE).publish(write)
    return output, notes


def _publish_last(spec: JobSpec, folder: JobFolder, output: Path, write: Callable[[Path], None]) -> str:
    """Make the trained model the last version in the job's output; return where it is."""
    if done := published(folder.path):
        return done
    while True:
        target = output / str(versions.next_number(output))
        with contextlib.suppress(FileExistsError):  # a version that has just been published
            Publication(folder.path, os.fspath(target), overwrite=False, marker=MESSAGE).publish(write)
            versions.prune(output, spec.keep_published)
            return os.fspath(target)


def finish_prediction(spec: JobSpec, folder: JobFolder, parts: int) -> list[str]:
    """Put the parts of a prediction together at the job's output, in the order of the data; return where it is."""
    if not spec.output:
        return []
    form = part_form(spec)
    paths = [part_path(folder, index, form) for index in range(parts)]

    def write(target: Path) -> None:
        if os.path.splitext(spec.output)[1].lower() in FORMS:
            concatenate([os.fspath(path) for path in paths], os.fspath(target), form)
            return
        target.mkdir()
        for path in paths:
            shutil.copyfile(path, target / path.name)
        if is_remote(spec.output):  # elsewhere the folder appears in one step
            (target / SUCCESS).write_text(json.dumps({"job": folder.name, "parts": parts}))

    Publication(folder.path, spec.output, overwrite=spec.overwrite, marker=SUCCESS).publish(write)
    shutil.rmtree(folder.parts, ignore_errors=True)
    return [spec.output]
