"""The order in which a graph computes gradients that are sent bucket by bucket.

TensorFlow runs what became ready last first. So it follows the backward pass down to the first layer, and computes most
weights' gradients only then: all buckets would be full at the same time, at the very end.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

_READS = {"ReadVariableOp", "ResourceGather"}


def hurry(loss: tf.Tensor, pushes: Sequence[Any]) -> bool:
    """Make what only later buckets need wait until earlier ones are pushed; return whether that was possible.

    `pushes` are the operations that push the buckets, in order, while their function is being traced; `loss` is what
    the gradients are those of. Where the backward pass has side effects, its order is left to TensorFlow, which keeps
    to that of the program.
    """
    if tf.executing_eagerly():
        return False
    known = _needed([loss.op], set())
    parts = []
    for push in pushes:
        parts.append(_needed([push], known))
        known |= parts[-1]
    own = set(pushes)
    if any(op.op_def.is_stateful and op.type not in _READS for part in parts for op in part - own):
        return False
    for push, part in zip(pushes, parts[1:], strict=False):
        # Constants need nothing, and TensorFlow computes them beforehand.
        waiting = {op for op in part if op.inputs}
        for op in waiting:
            if not any(tensor.op in waiting for tensor in op.inputs):
                op._add_control_input(push)
    return True


def _needed(ends: Iterable[Any], known: set[Any]) -> set[Any]:
    """All operations that these depend on, and they themselves, but for those that are known."""
    found: set[Any] = set()
    to_do = list(ends)
    while to_do:
        op = to_do.pop()
        if op not in found and op not in known:
            found.add(op)
            to_do += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return found
