"""Which columns of its records an input function reads, according to the graph that was traced of it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def columns_read(mapped: tf.data.Dataset, spec: Any) -> frozenset[str] | None:
    """Return the columns that the function of `mapped`, a dataset's `map`, reads; None if that is not known.

    `spec` is the form of its argument. The function itself has seen all columns, whatever it does with them in Python;
    but what a graph returns cannot depend on an argument that no operation in it takes.
    """
    if not isinstance(spec, dict) or not all(type(one) is tf.TensorSpec for one in spec.values()):
        return None
    try:
        graph = mapped._map_func.function.graph
        arguments = list(graph.inputs)[: len(spec)]
        outputs = {id(tensor) for tensor in graph.outputs}
    except AttributeError:  # another version of TensorFlow
        return None
    names = sorted(spec)  # as TensorFlow flattens dicts
    if [one.dtype for one in arguments] != [spec[name].dtype for name in names]:
        return None
    controls = {id(op) for one in graph.get_operations() for op in one.control_inputs}
    return frozenset(
        name for name, one in zip(names, arguments, strict=True)
        if one.consumers() or id(one) in outputs or id(one.op) in controls
    )  # fmt: skip
