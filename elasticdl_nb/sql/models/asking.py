"""Uses a stored model: runs the jobs that predict or evaluate with it, and waits for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elasticdl_nb.runtime.model.saving.beginning import BLUEPRINT
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, read_trained_model
from elasticdl_nb.runtime.spec import JobKind
from elasticdl_nb.sql.models.store import StoredModel
from elasticdl_nb.sql.models.zoofolder import write_record
from elasticdl_nb.sql.record.modelrecord import VERSION, ModelRecord

if TYPE_CHECKING:
    from elasticdl_nb.job import Job

_AT_ONCE = 1024
"""Rows in a batch of a prediction, unless the statement says. There are more than in training: nothing is learned."""


@dataclass(frozen=True)
class Asker:
    """Uses one model; `folder` is for files that are needed until the job has ended.

    `options` are the job's options, and `on_job` gets the job as soon as it runs. An interrupt cancels the job.
    """

    model: StoredModel
    folder: str
    options: Mapping[str, Any]
    on_job: Callable[[Job], None] | None = None

    def predict(self, rows: pa.RecordBatchReader) -> tuple[Job, str]:
        """Predict these rows; return the job, and the file of outputs that `outputs.read_outputs` reads.

        The file is in the job's folder, and stays as long as that: it is the output that the job's picture names.
        """
        job = self._run("predict", rows, **{"minibatch_size": _AT_ONCE, **self.options})
        return job, job.output

    def evaluate(self, rows: pa.RecordBatchReader) -> Job:
        """Evaluate on these rows; return the job, which has the metrics."""
        return self._run("evaluate", rows, **self.options)

    def _trained(self) -> str:
        """Return the model's path or, if an earlier version trained it, that of a copy with the current code."""
        record = self.model.record
        if record.version == VERSION or record.own_input:
            return self.model.path
        return with_record(self.model, record, self.folder).path

    def _run(self, kind: JobKind, rows: pa.RecordBatchReader, **options: Any) -> Job:
        from elasticdl_nb.job.starting import start_job

        job = start_job(kind, {"trained_model": self._trained(), "data": rows, **options}, wait=False)
        if self.on_job is not None:
            self.on_job(job)
        try:
            return job.wait()
        except KeyboardInterrupt:
            job.cancel("its statement was interrupted")
            raise


def with_record(model: StoredModel, record: ModelRecord, folder: str) -> StoredModel:
    """Return a model with the same weights, made as `record` says by the current code; its files are in `folder`."""
    record = replace(record, version=VERSION)
    message, definition = read_trained_model(model.path)
    made = Path(folder) / "trained" / model.name
    zoo = made / message.model_zoo
    shutil.copytree(definition.zoo, zoo)
    write_record(zoo, record)
    os.symlink(os.path.abspath(definition.weights), made / message.params_filename)
    if message.tables:
        os.symlink(os.path.abspath(definition.tables), made / message.tables)
    if message.state:
        # Without the blueprint: the record may ask for another model around the one that was trained.
        leave_out = shutil.ignore_patterns(BLUEPRINT)
        shutil.copytree(definition.state, made / message.state, ignore=leave_out)
    (made / MESSAGE).write_bytes(message.SerializeToString())
    return StoredModel(model.name, os.fspath(made), message, record)
