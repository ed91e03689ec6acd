"""A training step in two halves, as graphs: what a worker computes alone, and what follows from all results."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.allreduce.buckets import groups, limit_of
from elasticdl_nb.runtime.allreduce.collective import Collective
from elasticdl_nb.runtime.allreduce.overlap import Exchanged
from elasticdl_nb.runtime.allreduce.places import Entry
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.loading.losses import is_of_keras
from elasticdl_nb.runtime.worker.batches import as_graph
from elasticdl_nb.runtime.worker.training.base import Logs
from elasticdl_nb.runtime.worker.training.exchange import Bucket, Exchange
from elasticdl_nb.runtime.worker.training.hurrying import hurry


class RingStep:
    """The two halves of a step of a built model, for batches of the form `element_spec`, and their exchange between.

    Gradients are pushed in buckets as soon as the backward pass produces them; the last bucket holds the loss, the
    statistics that the forward pass has changed (moving means and variances), and what the batch adds to the states of
    Keras' own metrics. `compute` changes neither weights nor statistics: until `apply`, the model is that of the last
    step that all have made.
    """

    def __init__(self, loaded: LoadedModel, optimizer: Any, element_spec: Any) -> None:
        self._loaded, self._optimizer = loaded, optimizer
        self._model = loaded.model
        self._spec = element_spec
        self._variables = list(self._model.trainable_variables)
        self._statistics = statistics(self._model)
        self._groups: list[list[int]] = []
        self._sums: list[Any] = []
        self._compute_graph = as_graph(self._compute, element_spec, eagerly=self._model.run_eagerly)
        if getattr(self._compute_graph, "input_signature", None):
            self._sums = self._states_that_add_up()
            self._compute_graph.get_concrete_function()
        else:  # batches of unknown form cannot be traced before the first one
            self._group(range(len(self._variables)))
        signature = [tf.TensorSpec([bucket.length], bucket.dtype) for bucket in self.buckets]
        self._apply_graph = tf.function(self._apply, input_signature=[tf.TensorSpec([], tf.float32), *signature])
        self._exchange = Exchange(self.buckets)

    def _states_that_add_up(self) -> list[Any]:
        """The variables of the metrics that count all workers' records in each of them."""
        if not self._loaded.measures:
            return []

        def measure(*batch: Any) -> Any:
            return self._loaded.training_logs(batch, *self._loaded.forward(batch, training=True))

        as_graph(measure, self._spec).get_concrete_function()  # which makes the variables, and changes nothing
        parts = [getattr(metric, "metrics", None) or [metric] for metric in self._model.metrics]
        metrics = {id(metric): metric for part in parts for metric in part if is_of_keras(type(metric))}
        return [variable for metric in metrics.values() for variable in metric.variables]

    # ------------------------------------------------------------ what a trainer calls

    def begin(self, collective: Collective, entry: Entry, *, again: bool = False) -> None:
        """Begin a step; `again` if `compute` need not be called once more."""
        self._exchange.begin(collective, entry, again=again)

    def compute(self, batch: Any) -> Logs:
        """Compute a batch's part, while it is exchanged; return its own logs, of which `loss` is the batch's loss."""
        logs: Logs = self._compute_graph(*batch)
        return logs

    @property
    def exchanged(self) -> Exchanged:
        """How long exchanges took so far, and how much of that was hidden behind computing."""
        return self._exchange.exchanged

    def cancel(self) -> None:
        """`compute` has failed: the exchange waits for nothing."""
        self._exchange.cancel()

    def result(self) -> list[Entry]:
        """Wait for the exchange; return what every rank has brought. Raises RingBroken."""
        return self._exchange.result()

    def apply(self, entries: Sequence[Entry]) -> Logs:
        """Make the step that was exchanged; return its mean loss, and the metrics of all workers so far."""
        records = np.float32(sum(entry.records for entry in entries))
        logs: Logs = self._apply_graph(records, *self._exchange.averages)
        return logs

    def _group(self, places: Sequence[int]) -> None:
        """Divide the variables with gradients among buckets."""
        kinds = [_wire_dtype(self._variables[place]) for place in places]
        sizes = [
            _length(self._variables[place]) * np.dtype(kind).itemsize for place, kind in zip(places, kinds, strict=True)
        ]
        self._groups = [[places[one] for one in group] for group in groups(sizes, kinds, limit_of(sum(sizes)))]

    @property
    def buckets(self) -> list[Bucket]:
        """The buckets that `compute` pushes and `apply` takes."""
        made = [
            Bucket(sum(_length(self._variables[place]) for place in group), _wire_dtype(self._variables[group[0]]))
            for group in self._groups
        ]
        rest = sum(_length(one) for one in (*self._statistics, *self._sums))
        return [*made, Bucket(1 + rest, "float32", exact=True)]

    def _compute(self, *batch: Any) -> Logs:
        restored = [*self._statistics, *self._sums]
        before = [tf.identity(one.value) for one in restored]
        with tf.GradientTape() as tape:
            outputs, loss = self._loaded.forward(batch, training=True)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self._variables)
        if not self._groups:
            self._group([place for place, gradient in enumerate(gradients) if gradient is not None])
        pushes = []
        for number, group in enumerate(self._groups):
            members = [_dense(gradients[place], self._variables[place]) for place in group]
            flat = _flat(members, _wire_dtype(self._variables[group[0]]))
            pushes.append(tf.numpy_function(partial(self._push, number), [flat], [], name="push"))
        hurry(scaled, pushes)
        logs = self._loaded.training_logs(batch, outputs, loss)
        after = [tf.identity(one.value) for one in restored]
        # Divided by the records, because what travels becomes a mean over them.
        records = tf.shape(tf.nest.flatten(batch[0])[0])[0]
        added = [
            tf.cast(now - then, "float32") / tf.cast(records, "float32")
            for now, then in list(zip(after, before, strict=True))[len(self._statistics) :]
        ]
        # Others make the step once they have the last bucket: whatever may fail here comes before.
        with tf.control_dependencies([one for one in tf.nest.flatten(logs) if tf.is_tensor(one)]):
            flat = _flat([loss, *after[: len(self._statistics)], *added], "float32")
            tf.numpy_function(partial(self._push, len(self._groups)), [flat], [], name="push")
        for variable, value in zip(restored, before, strict=True):
            variable.assign(value)
        return logs

    def _push(self, number: int, values: Any) -> None:
        self._exchange.push(number, values)

    def _apply(self, records: tf.Tensor, *averages: tf.Tensor) -> Logs:
        """Make the step with these averages over so many records."""
        gradients, variables = [], []
        for flat, group in zip(averages, self._groups, strict=False):
            members = [self._variables[place] for place in group]
            gradients += _parts(flat, members)
            variables += members
        if variables:
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        loss, rest = averages[-1][0], averages[-1][1:]
        means, sums = tf.split(rest, [sum(map(_length, some)) for some in (self._statistics, self._sums)])
        for variable, value in zip(self._statistics, _parts(means, self._statistics), strict=True):
            variable.assign(value)
        for variable, value in zip(self._sums, _parts(sums * records, self._sums), strict=True):
            variable.assign_add(value)
        return {**(self._model.get_metrics_result() if self._sums else {}), "loss": loss}

    def warm_up(self, records: int) -> None:
        """Run both halves once, so that no worker waits while they are compiled; this changes the model's values."""
        specs = tf.nest.flatten(self._spec)
        if all(isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None for spec in specs):
            blank = tf.nest.map_structure(lambda spec: _blank(spec, records), self._spec)
            # Not every model can take a batch of zeros; it is compiled all the same.
            with contextlib.suppress(tf.errors.OpError):
                self._compute_graph(*blank)
        self._apply_graph(np.float32(0), *[np.zeros(bucket.length, bucket.dtype) for bucket in self.buckets])


def statistics(model: Any) -> list[Any]:
    """Variables that the forward pass changes: floating-point ones that are never trained, in layers that are."""
    found = {
        id(variable): variable
        for layer in model._flatten_layers() if layer.trainable
        for variable in layer._non_trainable_variables if np.issubdtype(_numpy_dtype(variable), np.floating)
    }  # fmt: skip
    return [variable for variable in model.non_trainable_variables if id(variable) in found]


def _numpy_dtype(variable: Any) -> Any:
    return tf.as_dtype(variable.dtype).as_numpy_dtype


def _wire_dtype(variable: Any) -> str:
    return "float64" if variable.dtype == "float64" else "float32"


def _length(variable: Any) -> int:
    return int(np.prod(variable.shape, dtype=np.int64))


def _dense(gradient: Any, variable: Any) -> tf.Tensor:
    return tf.zeros(variable.shape, variable.dtype) if gradient is None else tf.convert_to_tensor(gradient)


def _flat(tensors: Sequence[tf.Tensor], dtype: str) -> tf.Tensor:
    return tf.concat([tf.reshape(tf.cast(tensor, dtype), [-1]) for tensor in tensors], 0)


def _parts(flat: tf.Tensor, variables: Sequence[Any]) -> list[tf.Tensor]:
    parts = tf.split(flat, [_length(variable) for variable in variables]) if variables else []
    return [
        tf.cast(tf.reshape(part, variable.shape), variable.dtype)
        for part, variable in zip(parts, variables, strict=True)
    ]


def _blank(spec: tf.TensorSpec, records: int) -> tf.Tensor:
    shape = [1 if size is None else size for size in spec.shape]
    if shape and spec.shape[0] is None:
        shape[0] = records
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)
