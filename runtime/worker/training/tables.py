"""Training steps of a model in this process whose large embeddings are in tables beside it.

Only the rows of a batch change in the tables, whereas Keras would go over the whole matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.model.embeddings.served_step import ServedStep
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.arrays import Array, Rows
from elasticdl_nb.runtime.parameters.optimizers.clipping import Clipping
from elasticdl_nb.runtime.parameters.optimizers.generic import generic_optimizer
from elasticdl_nb.runtime.parameters.optimizers.rules import check_supported, has_compiled_rule
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.protocol.master_pb2 import Task
from elasticdl_nb.runtime.ps.inprocess import InProcessServers, deltas_of
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.jit.asked import measured
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.ahead import LookingAhead
from elasticdl_nb.runtime.worker.training.base import Logs
from elasticdl_nb.runtime.worker.training.callbackchecks import check_callbacks_with_tables
from elasticdl_nb.runtime.worker.training.local import LocalTrainer
from elasticdl_nb.runtime.worker.training.misfits import check_fading, check_for_tables
from elasticdl_nb.runtime.worker.training.rows import BatchRows, StepMemory

_Declaration = tuple[dict[str, Any], dict[str, Array], list[TableSpec]]


def check_optimizer(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Return an optimizer as `keras.optimizers.serialize` gives it; raises ModelError if tables do not support it."""
    config: dict[str, Any] = keras.optimizers.serialize(optimizer)
    check_supported(config)
    excluded = getattr(optimizer, "_exclude_from_weight_decay_pattern", None) or getattr(
        optimizer, "_exclude_from_weight_decay", None
    )
    if config["config"].get("weight_decay") and excluded:
        raise ModelError(
            "optimizer: exclude_from_weight_decay does not work with embeddings in tables or on parameter servers; "
            "leave it out, or set weight_decay to None"
        )
    return config


def tables_misfit(loaded: LoadedModel) -> str:
    """Return why a model's large embeddings cannot be trained in tables, or an empty string."""
    try:
        loaded.compile_once()
        check_for_tables(loaded)
        config = check_optimizer(loaded.make_optimizer())
        if not has_compiled_rule(config):
            generic_optimizer(loaded.make_optimizer)
        check_callbacks_with_tables(loaded.callbacks())
    except ModelError as error:
        return str(error)
    return ""


class TableTrainer(LocalTrainer):
    """For a model with served layers: Keras updates the dense variables, the tables their rows."""

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, session: WorkerSession, element_spec: Any,
        on_loss: Callable[[int, float], None], layers: ServedLayers,
    ) -> None:  # fmt: skip
        self._layers = layers
        # Layers that turn out to be unsuitable become ordinary ones here, before the optimizer looks for variables.
        make = measured(spec, loaded.model, note=session.note, left=self._steps_left)
        self._served = ServedStep(loaded, layers, element_spec, self._use, make)
        for note in self._served.notes:
            session.note("warning", note)
        super().__init__(spec, loaded, session, element_spec, on_loss)
        config = check_optimizer(self.optimizer)
        check_fading(layers, self.optimizer)
        self._clipping = Clipping.from_config(config["config"])
        if self._clipping:
            self.optimizer.clipnorm = self.optimizer.global_clipnorm = self.optimizer.clipvalue = None
            self._apply_clipped = tf.function(self._apply_dense)
        self._ahead = LookingAhead(self._rows_of, beside=self._served.ids_are_fixed)
        self._memory = StepMemory()
        self._declaration: _Declaration = (config, {}, layers.specs())
        self._within_bounds = any(spec.bounds is not None for spec in layers.specs())
        self._rows = InProcessServers(make_optimizer=lambda _: loaded.make_optimizer(), deltas=deltas_of(spec))
        self._rows.initialize(*self._declaration)
        layers.source = self._rows
        session.holding = self._rows.held

    def _rows_of(self, batch: Any) -> tuple[BatchRows, dict[str, Rows]]:
        """What a batch needs, and which of its rows there are already: none leaves a table without bounds."""
        of_batch = BatchRows(self._served.groups, self._served.ids(batch[0]))
        return of_batch, {} if self._within_bounds else self._rows.find(of_batch.ids)

    def _compiled(self, element_spec: Any) -> Callable[..., Logs]:
        return self._apply_with_rows

    # ------------------------------------------------------------ steps

    def train(self, task: Task, batches: Iterator[Any]) -> int:
        """See `Trainer.train`."""
        return super().train(task, self._ahead.over(batches))

    def _apply_with_rows(self, *batch: Any) -> Logs:
        of_batch, found = self._ahead.prepared(batch)
        places = {} if self._within_bounds else self._rows.locate(of_batch.ids, found)

        def gather(table: str, among: Any, out: Array) -> None:
            self._rows.gather(table, places[table][among], out)

        if self._within_bounds:  # an id may have no row
            values = {table: self._rows.lookup(table, ids) for table, ids in of_batch.ids.items()}
            given = of_batch.inputs(values, self._memory)
        else:
            given = of_batch.gathered(gather, self._memory)
        logs: Logs
        (logs, rate, dense), of_rows = self._served.compute(batch, given)
        gradients = of_batch.summed(of_rows)
        if self._clipping:
            of_ids = {table: (of_batch.ids[table], values) for table, values in gradients.items()}
            clipped, changed = self._clipping.with_rows([np.asarray(one) for one in dense], of_ids)
            gradients = {table: values for table, (_, values) in changed.items()}
            self._apply_clipped([tf.constant(one) for one in clipped])
        if self._within_bounds:
            of_ids = {table: (of_batch.ids[table], one) for table, one in gradients.items()}
            push = Push({}, of_ids, self.step, float(rate), counts=of_batch.counts())
            self._rows.step(StepRequest(push, pull=False))
        else:
            self._rows.update({table: (places[table], one) for table, one in gradients.items()}, float(rate))
        return logs

    def _use(self, logs: dict[str, Any], gradients: list[Any]) -> tuple[Logs, tf.Tensor, list[tf.Tensor]]:
        """Within the graph of a step: apply the dense gradients, or return them to be clipped with those of rows."""
        rate = tf.identity(tf.convert_to_tensor(self.optimizer.learning_rate))
        if self._clipping:
            return logs, rate, [_dense(*pair) for pair in zip(gradients, self.model.trainable_variables, strict=True)]
        self._apply_dense(gradients)
        return logs, rate, []

    def _apply_dense(self, gradients: list[Any]) -> None:
        variables = self.model.trainable_variables
        if variables:
            self.optimizer.apply(gradients, variables)
        else:  # Keras does not count a step that changes nothing
            self.optimizer.iterations.assign_add(1)

    # ------------------------------------------------------------ checkpoints, the end

    def _write(self, path: Path) -> None:
        super()._write(path)
        self._rows.save(path)

    def _tables(self) -> list[str]:
        return [layer.name for layer in self._layers.layers]

    def _read(self, path: Path, keep_step: bool) -> None:
        super()._read(path, keep_step)
        self._rows.restore(path, keep_version=keep_step)
        self._rows.initialize(*self._declaration)

    def finish(self) -> None:
        """See `Trainer.finish`."""
        self._layers.unserve(keep=self._layers.too_large(self._spec.table_files_mb << 20))


def _dense(gradient: Any, variable: Any) -> tf.Tensor:
    return tf.zeros(variable.shape) if gradient is None else tf.convert_to_tensor(gradient)
