"""Several steps in one call of TensorFlow, each with the next batch of a running iteration over a dataset.

For small batches, what Python does between two steps takes as long as the steps. The steps are the same, one after the
other; where one fails, it is known which, and what those before it have returned.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from elasticdl_nb.runtime.worker.feed import StreamBatches
from elasticdl_nb.runtime.worker.jit.number import AT_ONCE, MOST

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
    """Calls `step(*tensors of a batch)` within a graph, for batches of a form; it returns something like `logs`.

    Raises ValueError if that is anything but scalars.
    """

    def __init__(self, step: Callable[..., Any], element_spec: Any, logs: Any) -> None:
        self._step, self._spec, self._logs = step, element_spec, logs
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
        """Make at most so many steps with batches of which there is one. Raises BrokenOff.

        It is also over once it has taken AT_ONCE seconds: batches may suddenly take longer to read or to learn.
        """

        def take(resource: tf.Tensor, pending: tf.Tensor) -> tuple[tf.Tensor, Any]:
            _, after, logs = self._graph(resource, pending, tf.constant(most))
            return after, logs

        try:
            logs = batches.taken_by(take)
        except Exception as error:
            failed_in_step = int(self._begun) > int(self._made)
            raise BrokenOff(self._so_far({}), self._batch() if failed_in_step else None, error) from error
        return self._so_far(logs)

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
        has_clock = not is_op_determinism_enabled()  # which forbids to look at it
        until = tf.timestamp() + AT_ONCE if has_clock else math.inf

        def goes_on(count: tf.Tensor, pending: tf.Tensor, _: Any) -> tf.Tensor:
            in_time = (count < 1) | (tf.timestamp() < until) if has_clock else True
            return (count < most) & in_time & tf.raw_ops.OptionalHasValue(optional=pending)

        def once(count: tf.Tensor, pending: tf.Tensor, _: Any) -> Any:
            return self._once(resource, count, pending)

        return tf.while_loop(goes_on, once, [tf.constant(0), pending, nothing], parallel_iterations=1)

    def _once(self, resource: tf.Tensor, count: tf.Tensor, pending: tf.Tensor) -> Any:
        """Make a step, then fetch the next batch; nothing of the next step begins before that."""
        with tf.device("CPU:0"):
            begins = [self._held.assign(pending), self._begun.assign_add(1)]
        with tf.control_dependencies(begins):
            tensors = self._tensors(pending)
        logs = self._step(*tensors)
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
                return tf.identity(count) + 1, after, dict(logs)


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
