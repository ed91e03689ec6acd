"""Training steps of a model whose parameters are on servers.

Asynchronous: while a batch is computed, the gradients of the one before are on their way to the servers, which send
back the rows of the one after. Synchronous: every step waits for its answer, and is computed again if it was too late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.model.embeddings.served_step import ServedStep
from elasticdl_nb.runtime.model.flat import FlatGraph
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.kept import settle
from elasticdl_nb.runtime.model.saving.weights import variable_names
from elasticdl_nb.runtime.parameters.api import ParameterServers, Push, StepRequest, StepResult
from elasticdl_nb.runtime.parameters.arrays import Array, Dense, RowGradients
from elasticdl_nb.runtime.parameters.effects import TaskPart
from elasticdl_nb.runtime.parameters.optimizers.clipping import Clipping
from elasticdl_nb.runtime.parameters.optimizers.rules import has_compiled_rule, optimizer_from_config
from elasticdl_nb.runtime.parameters.optimizers.schedules import SCHEDULES
from elasticdl_nb.runtime.protocol.master_pb2 import Border, Decision, Task
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.batches import batch_size
from elasticdl_nb.runtime.worker.jit.asked import measured
from elasticdl_nb.runtime.worker.orders import TaskVoid
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.ahead import LookingAhead
from elasticdl_nb.runtime.worker.training.base import Logs, Trainer
from elasticdl_nb.runtime.worker.training.callbackchecks import check_callbacks_with_tables
from elasticdl_nb.runtime.worker.training.misfits import (
    check_even,
    check_fading,
    check_for_servers,
    note_on_embeddings,
    takes_means,
)
from elasticdl_nb.runtime.worker.training.rows import BatchRows, shared_with_tensor, tensor_of_parts
from elasticdl_nb.runtime.worker.training.slices import slices
from elasticdl_nb.runtime.worker.training.tables import check_optimizer


@dataclass(frozen=True)
class _Gradients:
    """Clipped ones, as `Push` has them."""

    dense: Dense
    rows: RowGradients
    sizes: Dense
    rate: float
    """The learning rate before the step."""


@dataclass(frozen=True)
class _Batch:
    parts: Any
    rows: BatchRows
    part: TaskPart


class ServerTrainer(Trainer):
    """Lets servers make the updates; `step` is their version. Call `connect` before anything else.

    Every method that talks to servers raises ServersLost when they are gone: then connect again, to those that the
    master names, and drop the task.
    """

    _others_train, _rate_is_told = True, False

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, session: WorkerSession, element_spec: Any,
        on_loss: Callable[[int, float], None], layers: ServedLayers,
    ) -> None:  # fmt: skip
        self._layers = layers
        self._size: Callable[[tf.Tensor], tf.Tensor] | None = None  # see `Push.sizes`
        make = measured(spec, loaded.model, note=session.note, left=self._steps_left)
        given = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int64)]
        self._served = ServedStep(loaded, layers, element_spec, self._give_out, make, self._begin, given)
        for note in self._served.notes:
            session.note("warning", note)
        super().__init__(spec, loaded, session, on_loss)
        check_model_for_servers(loaded, spec)
        check_fading(layers, self.optimizer)
        if layers.layers:
            check_callbacks_with_tables(loaded.callbacks())
        self._apply_batch = self._asynchronous_step if spec.use_async else self._synchronous_step
        self._config, self._sends_rate, self._has_own_schedule = _for_servers(check_optimizer(self.optimizer))
        # A graph of its own that sets the variables takes longer than the step that begins with it. But it is needed
        # where something between two steps looks at them, or at the number of the step.
        is_looked_at = spec.prequential or self._has_own_schedule or bool(loaded.callbacks())
        self._sets_in_step = self._served.ids_are_fixed and not is_looked_at
        clipping = Clipping.from_config(self._config["config"])
        servers_clip = bool(clipping) and takes_means(spec)
        self._clipping = Clipping() if servers_clip else clipping
        # With rows, what is clipped is known only outside the graph. Sizes are those of clipped gradients.
        self._clips_in_graph = bool(self._clipping) and not self._served.groups
        if has_compiled_rule(self._config) and not servers_clip and (self._clips_in_graph or not self._clipping):
            self._size = _in_graph(optimizer_from_config(self._config).rule.size)
        elif note := note_on_embeddings(self.model):
            session.note("info", note)
        names = dict(zip(map(id, self.model.weights), variable_names(self.model.weights), strict=True))
        self._trainable = {names[id(variable)]: variable for variable in self.model.trainable_variables}
        # Every worker has its own counters and states of random generators.
        self._others = {
            names[id(variable)]: variable for variable in self.model.non_trainable_variables
            if id(variable) in names and np.issubdtype(np.dtype(variable.dtype), np.floating)
        }  # fmt: skip
        self._set = _setter([*self._trainable.values()], self.optimizer.iterations)
        self._install = FlatGraph(tf.function(self._set, input_signature=given, autograph=False))
        self._values: list[tf.Tensor] = []
        # What a job begins with that goes back to its beginning: the variables are trained from here on.
        self._initial = {name: _numpy(variable) for name, variable in (self._trainable | self._others).items()}
        self._servers: ParameterServers | None = None
        self._ahead = LookingAhead(self._rows_of, ahead=2, beside=self._served.ids_are_fixed)
        self._under_way: Future[StepResult] | None = None
        self._rows: dict[str, NDArray[Any]] = {}
        self._since_pull = 0
        self._generation = 0
        self._task = Task()
        self._read = 0
        self.finished = False
        self._is_new = True

    # ------------------------------------------------------------ servers

    def connect(self, servers: ParameterServers, generation: int) -> None:
        """Continue with these servers: declare the model to them, untrained, and take the values that they have.

        Tasks of other generations no longer count from now on.
        """
        self._generation = generation
        if self._servers is not None:
            self._servers.close()
        self._servers, self._layers.source = servers, servers
        self.stopped = ""
        self.model.stop_training = False
        self.epochs.forget()
        self._forget()
        servers.initialize(self._config, self._initial, self._layers.specs())
        self.refresh()
        settle(self.model)

    @property
    def servers(self) -> ParameterServers:
        """The servers in use."""
        assert self._servers is not None
        return self._servers

    def refresh(self) -> None:
        """Take all dense values of the servers, as they are now."""
        dense, version = self.servers.pull()
        for name, variable in self._others.items():
            variable.assign(dense[name])
        self._at(version, dense)
        self._install(self._values)

    def _at(self, version: int, dense: Dense) -> None:
        """The next step is made with these values."""
        self.step = version
        flat = [dense[name].reshape(-1) for name in self._trainable]
        tensor = tensor_of_parts(flat)
        if tensor is None:
            # New memory each time, as variables may go on using it.
            values, tensor = shared_with_tensor(sum(one.size for one in flat))
            np.concatenate([np.zeros(0, np.float32), *flat], out=values)
        # TensorFlow keeps what it makes of numbers of Python as long as the process lives, but not of arrays.
        self._values = [tensor, tf.constant(np.array(version, np.int64))]
        if not self._sets_in_step:
            self._install(self._values)

    def _begin(self, values: tf.Tensor, version: tf.Tensor) -> None:
        """Within the graph of a step."""
        if self._sets_in_step:
            self._set(values, version)

    def _forget(self) -> None:
        self._under_way, self._rows, self._since_pull = None, {}, 0

    # ------------------------------------------------------------ steps

    def train(self, task: Task, batches: Iterator[Any]) -> int:
        """See `Trainer.train`. All gradients are with the servers when it returns.

        Begins after the last record whose effect is there: another worker may have got that far, or still be on the
        task. Raises TaskVoid for a task of another generation.
        """
        if task.generation != self._generation:
            raise TaskVoid
        self._forget()
        self.refresh()
        done = self.servers.position(task.epoch, task.index)
        self._task, self._read = task, done or 0
        if done is None:  # all records: by a worker that died before it could report it
            return sum(batch_size(batch[0]) for batch in batches)
        records = done + super().train(task, self._ahead.over(slices(batches, done, lambda size: size)))
        if self._under_way is not None:
            self._take(self._under_way.result())
        self.servers.flush()
        self._forget()
        self._install(self._values)
        if self._others:
            self.servers.assign({name: _numpy(variable) for name, variable in self._others.items()})
        return records

    def _rows_of(self, batch: Any) -> BatchRows:
        return BatchRows(self._served.groups, self._served.ids(batch[0]))

    def _make_step(self, batch: Any) -> Logs:
        if self._is_new and takes_means(self._spec) and (note := check_even(self._loaded, batch)):
            self._session.note("info", note)
        self._is_new = False
        start, self._read = self._read, self._read + batch_size(batch[0])
        part = TaskPart(self._task.epoch, self._task.index, start, self._read)
        logs = self._apply_batch(_Batch(batch, self._ahead.prepared(batch), part))
        self._used(part.stop - part.start, logs["loss"])
        return logs

    def _asynchronous_step(self, batch: _Batch) -> Logs:
        if batch.rows.ids and not self._rows:  # the first of a task, or ids that depend on the step before
            self._take(self.servers.fetch(batch.rows.ids, pull=False).result())
        if self._under_way is None:
            self._under_way = self.servers.fetch(self._ids_ahead(1), pull=False)
        version = self.step
        logs, gradients = self._compute(batch)
        self._take(self._under_way.result())
        self._since_pull = (self._since_pull + 1) % self._spec.get_model_steps
        self._under_way = self.servers.step_async(
            StepRequest(self._push(batch, gradients, version), lookup=self._ids_ahead(2), pull=self._since_pull == 0)
        )
        return logs

    def _synchronous_step(self, batch: _Batch) -> Logs:
        if not self._rows:
            self._take(self.servers.fetch(batch.rows.ids).result())
        while True:
            measured = self._loaded.kept_metrics() if self._loaded.measures else []
            logs, gradients = self._compute(batch)
            result = self.servers.step(StepRequest(self._push(batch, gradients, self.step), lookup=self._ids_ahead(1)))
            if result.accepted:
                self._take(result)
                return logs
            # Others were faster: use the same batch again, with the model as it is by now.
            self._loaded.give_back_metrics(measured)
            self._take(self.servers.fetch(batch.rows.ids).result())

    def _ids_ahead(self, number: int) -> dict[str, Any]:
        rows = self._ahead.following(number)
        return {} if rows is None else rows.ids

    def _take(self, result: StepResult) -> None:
        """Make the next step with these values; without a pull, the dense values remain those of an earlier version."""
        self._rows = result.rows
        if result.dense is not None:
            self._at(result.version, result.dense)

    def _compute(self, batch: _Batch) -> tuple[Logs, _Gradients]:
        """Return a batch's logs and gradients."""
        (logs, rate, gradients, sizes), of_rows = self._served.compute(
            batch.parts, batch.rows.inputs(self._rows), *self._values
        )
        dense = self._by_name(gradients)
        rows: RowGradients = batch.rows.gradients(of_rows)
        if self._clipping and not self._clips_in_graph:
            clipped, rows = self._clipping.with_rows([*dense.values()], rows)
            dense = dict(zip(dense, clipped, strict=True))
        return logs, _Gradients(dense, rows, self._by_name(sizes), float(rate))

    def _by_name(self, values: Mapping[int, tf.Tensor]) -> dict[str, Array]:
        names = list(self._trainable)
        return {names[place]: np.asarray(value, np.float32) for place, value in values.items()}

    def _push(self, batch: _Batch, gradients: _Gradients, version: int) -> Push:
        """A batch's gradients as they are sent now, with the version of the model that they were computed from."""
        rate = None
        if self._sends_rate:  # a schedule of the user's own goes by the number of the step that is current now
            rate = float(self.optimizer.learning_rate) if self._has_own_schedule else gradients.rate
        return Push(
            gradients.dense, gradients.rows, version, rate, part=batch.part, oldest_epoch=self._task.oldest_epoch,
            sizes=gradients.sizes, counts=batch.rows.counts(), distinct=True,
        )  # fmt: skip

    def _give_out(self, logs: dict[str, Any], gradients: list[Any]) -> tuple[Any, ...]:
        """Within the graph of a step: the rate, the gradients of the variables that have any, by position, their sizes.

        Keras clips, squares and so on what each occurrence of an id adds to the gradient of an embedding.
        """
        places = [place for place, one in enumerate(gradients) if one is not None]
        given = [gradients[place] for place in places]
        if self._clips_in_graph:
            given = self.optimizer._clip_gradients(given)
        sizes = {
            place: tf.convert_to_tensor(tf.IndexedSlices(self._size(one.values), one.indices, one.dense_shape))
            for place, one in zip(places, given, strict=True) if self._size and isinstance(one, tf.IndexedSlices)
        }  # fmt: skip
        rate = tf.identity(tf.convert_to_tensor(self.optimizer.learning_rate))
        return logs, rate, {place: tf.convert_to_tensor(one) for place, one in zip(places, given, strict=True)}, sizes

    # ------------------------------------------------------------ callbacks, the end

    def at_border(self, border: Border) -> Decision:
        """See `Trainer`. No gradients wait for those of other workers."""
        self.servers.settle()
        return super().at_border(border)

    def _share_model(self) -> None:
        values = self._trainable | self._others
        self.servers.assign({name: _numpy(variable) for name, variable in values.items()})

    def finish(self) -> None:
        """See `Trainer.finish`."""
        self.servers.settle()
        self.refresh()
        self._layers.unserve(keep=self._layers.too_large(self._spec.table_files_mb << 20))
        self.finished = True


def check_model_for_servers(loaded: LoadedModel, spec: JobSpec) -> None:
    """Raise ModelError if parameter servers cannot train a compiled, built model with its optimizer."""
    loaded.check_loss()
    check_for_servers(loaded, spec)
    check_optimizer(loaded.make_optimizer())


def _for_servers(config: dict[str, Any]) -> tuple[dict[str, Any], bool, bool]:
    """Return an optimizer's configuration for servers, whether workers must send them the rate, and whether that
    follows a schedule of the user's own.

    They must unless it follows one of Keras' schedules, which servers evaluate by their own version.
    """
    rate = config["config"]["learning_rate"]
    if not isinstance(rate, dict):
        return config, True, False
    if rate["class_name"] in SCHEDULES and not rate.get("registered_name"):
        return config, False, False
    return {**config, "config": {**config["config"], "learning_rate": 0.0}}, True, True


def _in_graph(size: Callable[[Array], Array] | None) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """What `rules.Rule.size` is within a graph."""
    if size is None:
        return None
    in_graph: Callable[[tf.Tensor], tf.Tensor] = tf.abs if size is np.abs else tf.square
    return in_graph


def _numpy(variable: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _setter(variables: list[Any], iterations: Any) -> Callable[[tf.Tensor, tf.Tensor], None]:
    """Return what sets, in a graph, the variables from one vector of all values, and the optimizer's step count.

    One graph instead of one assignment per variable saves milliseconds a step.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    sizes = [math.prod(shape) for shape in shapes]

    def set_all(values: tf.Tensor, version: tf.Tensor) -> None:
        iterations.assign(tf.cast(version, iterations.dtype))
        for variable, shape, part in zip(variables, shapes, tf.split(values, sizes) if sizes else [], strict=True):
            variable.assign(tf.cast(tf.reshape(part, shape), variable.dtype))

    return set_all
