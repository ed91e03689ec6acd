"""Trainers that have the whole model, and the state of its optimizer, in their own process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving import kept
from elasticdl_nb.runtime.model.saving.weights import save_optimizer, save_weights
from elasticdl_nb.runtime.parameters.checkpoints.chain import inherited
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.protocol.master_pb2 import Place
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.worker.batches import as_graph
from elasticdl_nb.runtime.worker.jit.asked import compiled_by_author
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.base import Logs, Trainer
from elasticdl_nb.runtime.worker.training.callbackchecks import check_callbacks
from elasticdl_nb.runtime.worker.training.misfits import makes_own_steps, note_on_momentum
from elasticdl_nb.runtime.worker.training.servercheckpoint import load_from_servers
from elasticdl_nb.runtime.worker.training.workercheckpoint import MODEL, OPTIMIZER, load_from_worker


class WholeModelTrainer(Trainer):
    """Updates all variables by Keras' optimizer, and saves and restores them; `element_spec` is the form of batches."""

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, session: WorkerSession, element_spec: Any,
        on_loss: Callable[[int, float], None],
    ) -> None:  # fmt: skip
        super().__init__(spec, loaded, session, on_loss)
        self._apply_batch = self._compiled(element_spec)

    def _check(self) -> None:
        if not self._makes_own_steps:
            super()._check()
        else:
            check_callbacks(self._loaded.callbacks(), alone=self._is_alone)

    @property
    def _makes_own_steps(self) -> bool:
        return makes_own_steps(self.model)

    def _build_optimizer(self) -> None:
        if self._makes_own_steps:
            return
        if note := note_on_momentum(self.optimizer):
            self._session.note("info", note)
        self.optimizer.build(self.model.trainable_variables)

    def _finalize(self) -> None:
        if isinstance(self.optimizer, keras.optimizers.Optimizer) and self.optimizer.built:
            self.optimizer.finalize_variable_values(self.model.trainable_variables)

    def _optimizers(self) -> Any:
        """What holds the variables of everything that updates the model, all of them built."""
        return self.optimizer

    def _compiled(self, element_spec: Any) -> Callable[..., Logs]:
        """Return what applies a batch: from its parts to the step's logs."""
        jit = compiled_by_author(self.model)
        compiled: Callable[..., Logs] = as_graph(self._apply, element_spec, eagerly=self.model.run_eagerly, jit=jit)
        return compiled

    def _apply(self, *batch: Any) -> Logs:
        variables = self.model.trainable_weights
        with tf.GradientTape() as tape:
            outputs, loss = self._loaded.forward(batch, training=True)
            scaled = self.optimizer.scale_loss(loss)
        if variables:
            self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
        return self._loaded.training_logs(batch, outputs, loss)

    # ------------------------------------------------------------ checkpoints

    def restore(self, checkpoint: str, *, keep_step: bool) -> None:
        """Restore model and optimizer from a checkpoint, and the step if the job continues.

        Raises DamagedCheckpoint, and has changed nothing then.
        """
        path = checkpoints.find(checkpoint)
        self._read(path, keep_step)
        if keep_step:
            self.step = checkpoints.Manifest.read(path).step

    def _tables(self) -> list[str]:
        """The names of the tables beside the model."""
        return []

    def _read(self, path: Path, keep_step: bool) -> None:
        if not (path / f"{MODEL}.pb").exists():
            load_from_servers(path, self.model, self.optimizer, self._tables())
        else:
            load_from_worker(path, self.model, self._optimizers, self._tables())
        self._loaded.take_back(path)

    def save(self, directory: str | os.PathLike[str], job: str) -> Path:
        """Write a job's checkpoint; return its folder, sealed but not yet committed.

        Raises OSError, and leaves nothing behind then.
        """
        path = checkpoints.begin(directory, self.step, job)
        try:
            self._write(path)
            checkpoints.seal(path, self.step, job, inherited(path))
        except BaseException:
            durable.remove(path)
            raise
        return path

    def _write(self, path: Path) -> None:
        kept.write(self.model, path, self._loaded.root)
        for name, variables in (
            (MODEL, save_weights(self.model, _parameters(path, MODEL))),
            (OPTIMIZER, save_optimizer(self._optimizers(), _parameters(path, OPTIMIZER))),
        ):
            (path / f"{name}.pb").write_bytes(pb.Variables(variables=variables).SerializeToString())

    def places(self) -> list[Place]:
        """How far workers have got with their tasks, if the model is ahead of what they have reported."""
        return []


def _parameters(path: Path, name: str) -> str:
    return os.fspath(path / f"{name}.safetensors")
