"""The last task of a job: what it leaves behind appears whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from elasticdl_nb.runtime.data.writers import concatenate
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, write_trained_model
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import publish
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.worker.predictor import FORMS, part_form, part_path


def finish_training(
    spec: JobSpec, folder: JobFolder, loaded: LoadedModel, metrics: Mapping[str, float], step: int
) -> tuple[str, list[str]]:
    """Write the trained model to the job's output; return where it is, and notes for people."""
    output = spec.output or os.fspath(folder.path / "trained_model")
    if _published_before(folder, output):
        return output, []
    directory = _aside(folder, output)
    directory.mkdir()
    try:
        notes = write_trained_model(
            os.fspath(directory), spec=spec, loaded=loaded, zoo=os.fspath(folder.zoo), metrics=dict(metrics), step=step,
            job_name=folder.name, saved_model=spec.saved_model,
        )  # fmt: skip
        return publish.publish(directory, output, overwrite=spec.overwrite, marker=MESSAGE), notes
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def finish_prediction(spec: JobSpec, folder: JobFolder, parts: int) -> list[str]:
    """Put the parts of a prediction together at the job's output, in the order of the data; return where it is."""
    if not spec.output:
        return []
    if _published_before(folder, spec.output):
        return [spec.output]
    form = part_form(spec)
    paths = [part_path(folder, index, form) for index in range(parts)]
    target = _aside(folder, spec.output)
    try:
        if os.path.splitext(spec.output)[1].lower() in FORMS:
            concatenate([os.fspath(path) for path in paths], os.fspath(target), form)
        else:
            target.mkdir()
            for path in paths:
                shutil.copyfile(path, target / path.name)
        return [publish.publish(target, spec.output, overwrite=spec.overwrite)]
    finally:
        shutil.rmtree(folder.parts, ignore_errors=True)
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)


def _aside(folder: JobFolder, output: str) -> Path:
    """Where to write the output first; the job's folder remembers it, and what a dead worker left there goes."""
    left = folder.publishing()
    path = publish.aside(output, folder.path)
    folder.write_publishing(path)
    publish.discard(left)
    return path


def _published_before(folder: JobFolder, output: str) -> bool:
    """Whether a worker of this job has published the output already, and died before it could say so."""
    path = folder.publishing()
    return path is not None and not path.exists() and publish.exists(output)
