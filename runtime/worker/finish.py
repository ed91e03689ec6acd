"""The last task of a job: its output appears whole, or not at all; see `runtime.storage.publish`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from elasticdl_nb.runtime.data.writers import concatenate
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, write_trained_model
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import usedfiles
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.publish import Publication, is_remote
from elasticdl_nb.runtime.worker.predictor import FORMS, part_form, part_path

SUCCESS = "_SUCCESS"
"""In an object store, the file of a folder of predictions that is uploaded last; readers of such folders skip it."""


def finish_training(
    spec: JobSpec, folder: JobFolder, loaded: LoadedModel, layers: ServedLayers, metrics: Mapping[str, float], step: int
) -> tuple[str, list[str]]:
    """Write the trained model to the job's output; return where it is, and notes for the user.

    The rows of `layers` are written as files, by whoever has them.
    """
    notes: list[str] = []

    output = spec.output or os.fspath(folder.path / "trained_model")
    # Object stores cannot replace a folder in one step: for a moment a new model's files stand beside the old one's.
    tag = f"-{secrets.token_hex(4)}" if is_remote(output) else ""

    def write(directory: Path) -> None:
        if spec.follow:
            directory.mkdir(parents=True, exist_ok=True)
            usedfiles.write(folder, directory)
        notes.extend(write_trained_model(
            directory, spec=spec, loaded=loaded, zoo=os.fspath(folder.zoo), metrics=dict(metrics), step=step,
            job_name=folder.name, saved_model=spec.saved_model, layers=layers, tag=tag,
        ))  # fmt: skip

    Publication(folder.path, output, overwrite=spec.overwrite, marker=MESSAGE).publish(write)
    return output, notes


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
