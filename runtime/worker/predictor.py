"""Predictions of one task: to a part file, to the user's processor, or to both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.data.writers import OutputForm, open_writer
from elasticdl_nb.runtime.model.loading.compiling import own_methods
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.worker.batches import as_graph, batch_size
from elasticdl_nb.runtime.worker.predictcallbacks import PredictCallbacks
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.unsuitable import explained

FORMS: dict[str, OutputForm] = {".recordio": "recordio", ".parquet": "parquet", ".csv": "csv"}

_PREDICTS = {"predict_step", "make_predict_function"}
"""The methods by which a model decides itself what it predicts."""


def part_form(spec: JobSpec) -> OutputForm:
    """The format in which a prediction job's parts are written: the output's own, or the one for directories."""
    suffix = os.path.splitext(spec.output)[1].lower()
    return FORMS.get(suffix, cast(OutputForm, spec.output_format))


def part_path(folder: JobFolder, index: int, form: str) -> Path:
    """Where the predictions of the task with this index go."""
    return folder.parts / f"part-{index:05d}.{form}"


def columns(outputs: Any) -> dict[str, np.ndarray]:
    """Name a model's outputs: `prediction`, or the outputs' own names, or prediction_0, prediction_1, …

    Names of outputs within others are joined by underscores. Outputs of shape [n, 1] become columns of shape [n].
    """
    arrays = {name: np.asarray(value) for name, value in _named(outputs, "").items()}
    return {name: a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for name, a in arrays.items()}


def _named(outputs: Any, above: str) -> dict[str, Any]:
    """The arrays of a structure by name; `above` is the name of the structure itself, if it is within another."""
    if isinstance(outputs, Mapping):
        parts = {f"{above}_{name}" if above else str(name): value for name, value in outputs.items()}
    elif isinstance(outputs, (list, tuple)):
        parts = {f"{above or 'prediction'}_{number}": value for number, value in enumerate(outputs)}
    else:
        return {above or "prediction": outputs}
    return {name: array for part, value in parts.items() for name, array in _named(value, part).items()}


class Outputs(np.ndarray):
    """An array of predictions for the user's processor, with the method of tensors, which ElasticDL gives."""

    def numpy(self) -> np.ndarray:
        """Return the array as an ordinary one."""
        return np.asarray(self)


class Predictor:
    """Runs a built model over the batches of tasks."""

    def __init__(
        self, loaded: LoadedModel, session: WorkerSession, *, worker: int, folder: JobFolder, spec: JobSpec
    ) -> None:
        self._loaded, self._session, self._worker = loaded, session, worker
        self._form = part_form(spec)
        self._folder, self._writes = folder, bool(spec.output)
        self._table = loaded.table
        self._callbacks = PredictCallbacks(loaded, spec.num_workers)
        self._outputs = self._own_outputs if _PREDICTS & own_methods(loaded.model) else self._forward()

    def _forward(self) -> Callable[[Any], Any]:
        graph: Callable[[Any], Any] = as_graph(
            lambda features: self._with_meaning(self._loaded.call_model(features, training=False)), None,
            eagerly=self._loaded.model.run_eagerly,
        )  # fmt: skip
        return graph

    def _own_outputs(self, features: Any) -> Any:
        model = self._loaded.model
        model.make_predict_function()
        with self._loaded.user_code("predict_step()"):
            return self._with_meaning(model.predict_function([self._loaded.data_for_keras((features,))]))

    def _with_meaning(self, outputs: Any) -> tuple[Any, Any]:
        """Return outputs, and what they say of the label that the model was trained with, if it had one."""
        return outputs, () if self._table is None else self._table.predictions(outputs)

    def predict(self, index: int, batches: Iterator[Any]) -> int:
        """Write the predictions for one task's batches, in their order, as part `index`; return the record count."""
        records = 0
        writer = None
        if self._writes:
            self._folder.parts.mkdir(exist_ok=True)
            # A part belongs to this job alone: like the journal, it need not outlive the machine.
            writer = open_writer(os.fspath(part_path(self._folder, index, self._form)), self._form, flush=False)
        try:
            for features in batches:
                with self._callbacks.batch() as logs:
                    with explained(self._loaded, (features,)):
                        outputs, meaning = tf.nest.map_structure(lambda tensor: tensor.numpy(), self._outputs(features))
                    logs["outputs"] = outputs
                if self._loaded.prediction_outputs_processor is not None:
                    given = tf.nest.map_structure(lambda array: np.asarray(array).view(Outputs), outputs)
                    self._loaded.prediction_outputs_processor.process(given, self._worker)
                if writer is not None:
                    writer.write(self._table.decoded(meaning) if meaning else columns(outputs))
                size = batch_size(features)
                records += size
                self._session.progress(0, size)
        except BaseException:
            if writer is not None:
                writer.abort()
            raise
        if writer is not None:
            writer.close()
        return records

    def end(self) -> None:
        """All tasks are done: tell the callbacks."""
        self._callbacks.end()
