"""Training steps of a model that lives in this process."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.weights import load_optimizer, load_weights, save_optimizer, save_weights
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.protocol.master_pb2 import Place, Task
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.worker.link import MasterLink
from elasticdl_nb.runtime.worker.training.callbacks import Callbacks
from elasticdl_nb.runtime.worker.training.servercheckpoint import load_from_servers

MODEL = "model"
OPTIMIZER = "optimizer"
LOSS_INTERVAL = 0.25


def batch_size(values: Any) -> int:
    """Number of records in a batch: the first dimension of its first tensor."""
    return int(tf.nest.flatten(values)[0].shape[0])


def with_own_losses(loss: tf.Tensor, model: Any) -> tf.Tensor:
    """Add the losses of the model's own layers in its latest call, such as regularization, to a batch's loss."""
    return loss + tf.add_n([tf.cast(extra, loss.dtype) for extra in model.losses]) if model.losses else loss


class LocalTrainer:
    """Applies batches to a built model, one step each; `element_spec` is the form of the batches."""

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, link: MasterLink, element_spec: Any,
        on_loss: Callable[[int, float], None],
    ) -> None:  # fmt: skip
        self._spec, self._loaded, self._link, self._on_loss = spec, loaded, link, on_loss
        self._losses: list[tf.Tensor] = []
        self._reported_at = 0.0
        self._warned = False
        self.step = 0
        self.stopped = ""
        self.model = loaded.model
        self.optimizer = loaded.make_optimizer()
        self._build_optimizer()
        self.model.compile(optimizer=self.optimizer)
        self.model.stop_training = False
        self.callbacks = self._make_callbacks()
        self._apply_batch = self._compiled(element_spec)

    def _build_optimizer(self) -> None:
        self.optimizer.build(self.model.trainable_variables)

    def _make_callbacks(self) -> Callbacks:
        return Callbacks(self._loaded.callbacks(), self.model, self._spec.num_epochs)

    def _compiled(self, element_spec: Any) -> Callable[[Any, Any], Any]:
        """Return what applies a batch: from features and labels to the loss."""
        compiled: Callable[[Any, Any], Any] = as_graph(self._apply, element_spec)
        return compiled

    # ------------------------------------------------------------ checkpoints

    def restore(self, directory: str, *, keep_step: bool) -> None:
        """Take model and optimizer from the newest intact checkpoint at a path, and its step if the job goes on."""
        path = checkpoints.find(directory)
        self._read(path)
        if keep_step:
            self.step = checkpoints.verify(path)

    def _read(self, path: Path) -> None:
        if not (path / f"{MODEL}.pb").exists():
            load_from_servers(path, self.model, self.optimizer)
            return
        load_weights(self.model, *_saved(path, MODEL))
        load_optimizer(self.optimizer, *_saved(path, OPTIMIZER))

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write a checkpoint's files; return its folder, sealed but not yet committed."""
        path = checkpoints.begin(directory, self.step)
        self._write(path)
        checkpoints.seal(path, self.step)
        return path

    def _write(self, path: Path) -> None:
        for name, variables in (
            (MODEL, save_weights(self.model, _parameters(path, MODEL))),
            (OPTIMIZER, save_optimizer(self.optimizer, _parameters(path, OPTIMIZER))),
        ):
            (path / f"{name}.pb").write_bytes(pb.Variables(variables=variables).SerializeToString())

    def refresh(self) -> None:
        """See that the model has the values of the job's last step."""

    def finish(self) -> None:
        """Make the model a plain one that holds all its weights; no further step will be made."""

    # ------------------------------------------------------------ tasks

    def begins(self, task: Task) -> None:
        """The batches that come next are those of this task."""

    def when_safe(self, call: Callable[[], None]) -> None:
        """Call once the steps so far cannot be lost by the death of another worker."""
        call()

    def places(self) -> list[Place]:
        """How far workers are with their tasks, if the model knows of more than those that were reported."""
        return []

    @property
    def records_kept(self) -> int:
        """How many records of the task whose steps have come to an end need not be used again if it failed."""
        return 0

    # ------------------------------------------------------------ steps

    def _apply(self, features: Any, labels: Any) -> tf.Tensor:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self._loaded.call_model(features, training=True)
            loss = with_own_losses(self._loaded.compute_loss(labels, outputs), self.model)
            scaled = self.optimizer.scale_loss(loss)
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return loss

    def train(self, epoch: int, batches: Iterator[Any]) -> int:
        """Apply batches until there are no more or training stops; return the number of records used."""
        records = 0
        self.callbacks.task_begins(epoch)
        for features, labels in batches:
            self.callbacks.batch_begins()
            loss = self._apply_batch(features, labels)
            self._stepped()
            size = batch_size(features)
            records += size
            self._link.progress(self.step, size)
            self._losses.append(loss)
            if self._loss_is_due():
                self.report_loss()
            self.callbacks.batch_ended(loss)
            if self.should_stop():
                break
        return records

    def _stepped(self) -> None:
        self.step += 1

    def should_stop(self) -> bool:
        """Whether a callback or max_step has ended the training; `stopped` says why."""
        if self._spec.max_step and self.step >= self._spec.max_step:
            self.stopped = f"max_step={self._spec.max_step} is reached"
        elif self.model.stop_training:
            self.stopped = f"a callback ended it after step {self.step}"
        return bool(self.stopped)

    def _loss_is_due(self) -> bool:
        if self._spec.log_loss_steps:
            return self.step % self._spec.log_loss_steps == 0
        return time.monotonic() - self._reported_at > LOSS_INTERVAL

    def report_loss(self) -> None:
        """Report the mean loss of the steps since the last report."""
        if not self._losses:
            return
        value = float(tf.reduce_mean(tf.stack(self._losses)))
        self._losses.clear()
        self._reported_at = time.monotonic()
        self._link.loss(self.step, value)
        self._on_loss(self.step, value)
        if not math.isfinite(value) and not self._warned:
            self._warned = True
            self._link.note(
                "warning",
                f"the loss is {value} at step {self.step}: a smaller learning rate, clipped gradients or cleaner data "
                "are the usual cures",
            )


def _parameters(path: Path, name: str) -> str:
    return os.fspath(path / f"{name}.safetensors")


def _saved(path: Path, name: str) -> tuple[str, Sequence[pb.Variable]]:
    return _parameters(path, name), pb.Variables.FromString((path / f"{name}.pb").read_bytes()).variables


def as_graph(function: Callable[..., tf.Tensor], element_spec: Any) -> Any:
    """Return a function of features and labels as a tf.function for batches of the form `element_spec`."""
    specs = tf.nest.flatten(element_spec)
    if all(getattr(spec.shape, "rank", None) is not None for spec in specs):
        return tf.function(function, input_signature=element_spec)
    return tf.function(function, reduce_retracing=True)
