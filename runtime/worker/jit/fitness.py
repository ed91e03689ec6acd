"""What a compiled step would do in another way than its graph."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

import tensorflow as tf

_RANDOM = re.compile("Random|Multinomial|TruncatedNormal")
_SILENT = re.compile("Assert|CheckNumerics|Print.*|GatherNd|ResourceGatherNd|ScatterNd|TensorScatter.*")
_CHECKED = {"ResourceGather", "GatherV2", "SparseSoftmaxCrossEntropyWithLogits"}


class Unfit(Exception):
    """Why a step stays a graph."""


def check_operations(outer: Set[str], inner: Set[str]) -> None:
    """Raise Unfit for operations that would do something else when compiled, and that nobody would notice."""
    if any(map(_RANDOM.search, outer | inner)):
        raise Unfit("it draws random numbers, which would be others")
    if silent := sorted(filter(_SILENT.fullmatch, outer | inner)):
        raise Unfit(f"{silent[0]} would not report what is wrong")
    if hidden := sorted(inner & _CHECKED):
        raise Unfit(f"{hidden[0]} inside a loop or a function would not report an index that is out of range")


def indices_are_in_range() -> tf.Tensor | None:
    """Within a graph: whether all that was looked up by number so far is there; None if nothing was.

    A compiled step takes the nearest row, or makes the loss NaN, where the graph raises an error.
    """
    graph = tf.compat.v1.get_default_graph()
    found = [_in_range(op) for op in graph.get_operations() if op.type in _CHECKED]
    return tf.reduce_all(tf.stack(found)) if found else None


def _in_range(op: Any) -> tf.Tensor:
    if op.type == "SparseSoftmaxCrossEntropyWithLogits":
        indices, size = op.inputs[1], tf.shape(op.inputs[0])[-1]
    elif op.type == "ResourceGather":
        indices, size = op.inputs[1], tf.raw_ops.VariableShape(input=op.inputs[0])[0]
    else:
        indices, size = op.inputs[1], tf.gather(tf.shape(op.inputs[0]), op.inputs[2])
    indices, size = tf.cast(indices, tf.int64), tf.cast(size, tf.int64)
    return tf.reduce_all((indices >= 0) & (indices < size))
