"""Compiling a step with copies of everything that it changes: an attempt that fails has changed nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.model.flat import Flat
from elasticdl_nb.runtime.worker.jit.fitness import Unfit, check_operations, indices_are_in_range
from elasticdl_nb.runtime.worker.jit.graphs import StepGraph

_MOST_COPIED = 1 << 30
"""Bytes of variables that may be copied."""
_LIKE, _LIKE_IN_16_BITS = 1e-4, 3e-2


class Compiled:
    """A step for tensors of exactly the shapes of `flat`, which is compiled by `compile`, in any thread.

    Making it traces the step, which belongs in the thread that trains. Raises Unfit for a step that must stay a
    graph; with `strictly`, that includes steps which would give other results, or not report what is wrong.
    """

    def __init__(
        self, step: Callable[..., Mapping[str, Any]], element_spec: Any, reference: StepGraph, flat: Flat, *,
        strictly: bool,
    ) -> None:  # fmt: skip
        checks = not tf.config.list_physical_devices("GPU")  # where no step notices what is out of range

        def checked(*batch: Any) -> Any:
            return step(*batch), indices_are_in_range() if checks else None

        if strictly:
            check_operations(*reference.operations())
        fixed = tf.nest.pack_sequence_as(element_spec, [tf.TensorSpec(one.shape, one.dtype) for one in flat])
        # Rows of large embeddings are in memory that the next step uses again.
        self._flat = [one if one.dtype == tf.string else tf.constant(one.numpy()) for one in flat]
        self._reference = reference if strictly else None
        self._tolerance = _LIKE_IN_16_BITS if "16" in keras.config.dtype_policy().compute_dtype else _LIKE
        try:
            self._graph = StepGraph(checked, fixed, jit=True)
        except Exception as error:
            raise Unfit(_in_short(error)) from error
        self._values = {**self._graph.variables, **reference.variables}
        if sum(value.dtype.size * value.shape.num_elements() for _, value in self._values.values()) > _MOST_COPIED:
            raise Unfit("its variables are too large to try it with copies of them")

    def compile(self) -> None:
        """Compile the step and make it once, with copies of all variables. Raises Unfit."""
        values = self._values
        self._values = {}
        try:
            logs, _ = self._graph.with_copies(self._flat, values)
            if self._reference is not None:
                self._compare(loss_of(logs), loss_of(self._reference.with_copies(self._flat, values)))
        except tf.errors.OpError as error:
            raise Unfit(_in_short(error)) from error
        finally:
            self._flat, self._reference = [], None

    def _compare(self, loss: Any, of_graph: Any) -> None:
        if not np.allclose(loss, of_graph, rtol=self._tolerance, atol=1e-6, equal_nan=True):
            raise Unfit(f"the loss of a batch would be {float(loss):.6g} instead of {float(of_graph):.6g}")

    def __call__(self, flat: Flat) -> Mapping[str, Any]:
        """Make the step; raises InvalidArgumentError if it looked up something that is not there."""
        logs, is_right = self._graph(flat)
        if is_right is not None and not is_right:
            raise tf.errors.InvalidArgumentError(None, None, "an index is out of range")
        return logs  # type: ignore[no-any-return]


def loss_of(logs: Any) -> Any:
    """Return the loss among what a step returns."""
    if not isinstance(logs, Mapping):
        return logs
    return logs["loss"] if "loss" in logs else next(iter(logs.values()), float("nan"))


def _in_short(error: Exception) -> str:
    text = str(error).strip()
    unsupported = re.search(r" on XLA_\w+: (\w+) ", text)
    return f"XLA does not support {unsupported[1]}" if unsupported else text.partition("\n")[0][:200]
