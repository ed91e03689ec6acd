"""Several steps in one call of TensorFlow, each with the next batch of a running iteration over a dataset.

For small batches, what Python does between two steps takes as long as the steps. The steps are the same, one after the
other; where one fails, it is known which, and what those before it have returned.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.worker.feed import StreamBatches
from elasticdl_nb.runtime.worker.jit.number import MOST

logger = logging.getLogger(__name__)


@dataclass
class Made:
    """Steps that were made, one after the other: what they returned, and with how many records."""

    losses: Sequence[float]
    records: Sequence[int]
    logs: Mapping[str, Any]
    """What the last one has returned, as scalar tensors; empty if the call has failed."""


class BrokenOff(Exception):
    """A call has failed after the steps `made`, in a step with `batch`, or in reading the next one if that is None."""

    def __init__(self, made: Made, batch: Any, error: Exception) -> None:
        super().__init__(str(error))
        self.made, self.batch, self.error = made, batch, error


class SeveralSteps:
    """Calls `step(*tensors of a batch)`, which returns (logs, is right) within a graph, for batches of a form.

    With `shapes`, it stops before a batch that has others. `is right` is None, or false for a step that looked up what
    is not there. Raises ValueError if steps return anything but scalars.
    """

    def __init__(self, step: Callable[..., Any], element_spec: Any, logs: Any, shapes: Sequence[Any] | None) -> None:
        self._step, self._spec, self._shapes, self._logs = step, element_spec, shapes, logs
        self._flat = tf.nest.flatten(element_spec)
        if any(one.shape.rank != 0 for one in logs.values()) or "loss" not in logs:
            raise ValueError("a step returns more than numbers")
        with tf.device("CPU:0"):
            self._begun, self._made = tf.Variable(0), tf.Variable(0)
            self._losses = tf.Variable(np.zeros(MOST))
            self._records = tf.Variable(np.zeros(MOST, np.int32))
            self._empty = tf.experimental.Optional.empty(element_spec)._variant_tensor
            self._held = tf.Variable(self._empty, dtype=tf.variant, shape=[])
        self._graph: Any = None

    def prepare(self) -> None:
        """Make the graph; may be called in any thread, and changes nothing."""
        signature = [tf.TensorSpec([], kind) for kind in (tf.resource, tf.variant, tf.int32)]
        graph = tf.function(self._loop, input_signature=signature, autograph=False).get_concrete_function()
        nothing = iter(tf.data.Dataset.from_tensors(tf.experimental.Optional.empty(self._spec)))
        graph(nothing._iterator_resource, self._empty, tf.constant(0))  # TensorFlow optimizes it at its first call
        self._graph = graph

    def __call__(self, batches: StreamBatches, most: int) -> Made:
        """Make at most so many steps with batches of which there is one. Raises BrokenOff."""

        def take(resource: tf.Tensor, pending: tf.Tensor) -> tuple[tf.Tensor, Any]:
            _, after, right, logs = self._graph(resource, pending, tf.constant(most))
            return after, (right, logs)

        try:
            right, logs = batches.taken_by(take)
        except Exception as error:
            failed_in_step = int(self._begun) > int(self._made)
            raise BrokenOff(self._so_far({}), self._batch() if failed_in_step else None, error) from error
        made = self._so_far(logs)
        if not right:
            out_of_range = tf.errors.InvalidArgumentError(None, None, "an index is out of range")
            raise BrokenOff(made, self._batch(), out_of_range)
        return made

    def _so_far(self, logs: Mapping[str, Any]) -> Made:
        count = int(self._made)
        return Made(self._losses.numpy()[:count].tolist(), self._records.numpy()[:count].tolist(), logs)

    def _batch(self) -> Any:
        return tf.nest.pack_sequence_as(self._spec, self._tensors(self._held.read_value()))

    def _tensors(self, optional: tf.Tensor) -> Any:
        types, shapes = [one.dtype for one in self._flat], [one.shape for one in self._flat]
        return tf.raw_ops.OptionalGetValue(optional=optional, output_types=types, output_shapes=shapes)

    # ------------------------------------------------------------ the graph

    def _loop(self, resource: tf.Tensor, pending: tf.Tensor, most: tf.Tensor) -> Any:
        self._begun.assign(0)
        self._made.assign(0)
        nothing = {name: tf.zeros([], one.dtype) for name, one in self._logs.items()}

        def goes_on(count: tf.Tensor, pending: tf.Tensor, right: tf.Tensor, _: Any) -> tf.Tensor:
            return (count < most) & right & self._fits(pending)

        def once(count: tf.Tensor, pending: tf.Tensor, _: tf.Tensor, __: Any) -> Any:
            return self._once(resource, count, pending)

        start = [tf.constant(0), pending, tf.constant(True), nothing]
        return tf.while_loop(goes_on, once, start, parallel_iterations=1)

    def _fits(self, pending: tf.Tensor) -> tf.Tensor:
        there = tf.raw_ops.OptionalHasValue(optional=pending)
        if self._shapes is None:
            return there
        return tf.cond(there, lambda: self._has_shapes(self._tensors(pending)), lambda: False)

    def _has_shapes(self, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        assert self._shapes is not None
        pairs = zip(tensors, self._shapes, strict=True)
        return tf.reduce_all([tf.reduce_all(tf.equal(tf.shape(one), shape)) for one, shape in pairs])

    def _once(self, resource: tf.Tensor, count: tf.Tensor, pending: tf.Tensor) -> Any:
        """Make a step, then fetch the next batch; nothing of the next step begins before that."""
        with tf.device("CPU:0"):
            begins = [self._held.assign(pending), self._begun.assign_add(1)]
        with tf.control_dependencies(begins):
            tensors = self._tensors(pending)
        if self._shapes is not None:
            tensors = [tf.ensure_shape(one, shape) for one, shape in zip(tensors, self._shapes, strict=True)]
        logs, right = self._step(*tensors)
        with tf.device("CPU:0"):
            loss, size = tf.cast(logs["loss"], tf.float64), tf.shape(tensors[0])[0]
            ends = [
                self._losses.scatter_nd_update([[count]], [loss]), self._records.scatter_nd_update([[count]], [size]),
                *tf.nest.flatten(logs),
            ]  # fmt: skip
            with tf.control_dependencies(ends), tf.control_dependencies([self._made.assign_add(1)]):
                (after,) = tf.raw_ops.IteratorGetNext(
                    iterator=resource, output_types=[tf.variant], output_shapes=[tf.TensorShape([])]
                )
                return tf.identity(count) + 1, after, tf.constant(True) if right is None else right, dict(logs)


class Preparing(threading.Thread):
    """Prepares several steps beside training; `ready` has them once that is done, if it has not failed."""

    def __init__(self, steps: SeveralSteps) -> None:
        super().__init__(name="preparing", daemon=True)
        self._steps = steps
        self.ready: SeveralSteps | None = None
        self.start()

    def run(self) -> None:
        """Prepare them."""
        try:
            self._steps.prepare()
        except Exception:  # whatever it is, steps are made one by one, as before
            logger.warning("steps are made one by one", exc_info=True)
            return
        self.ready = self._steps
