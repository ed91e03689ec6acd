"""A step as a graph whose arguments are the tensors of a batch, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.model.flat import Flat, FlatGraph

Values = Mapping[int, tuple[tf.Variable, tf.Tensor]]
"""Variables and values, by the identity of the variable's handle."""


class StepGraph:
    """The graph of `step(*parts of a batch)`, for batches of the form `element_spec`; called with a batch's tensors."""

    def __init__(self, step: Callable[..., Any], element_spec: Any, *, jit: bool = False) -> None:
        def of_tensors(*flat: tf.Tensor) -> Any:
            return step(*tf.nest.pack_sequence_as(element_spec, flat))

        self._graph = FlatGraph(
            tf.function(of_tensors, input_signature=tf.nest.flatten(element_spec), jit_compile=jit or None)
        )

    def __call__(self, flat: Flat) -> Any:
        """Make the step with these tensors, which have the form."""
        return self._graph(flat)

    @property
    def variables(self) -> Values:
        """All variables of the step, with their present values."""
        return {id(one.handle): (one, one.read_value()) for one in self._graph.traced.graph.variables}

    def with_copies(self, flat: Flat, values: Values) -> Any:
        """Make the step with copies of its variables that have these values; it changes nothing else."""
        copies = {key: tf.Variable(value, shape=one.shape, dtype=one.dtype) for key, (one, value) in values.items()}
        captured = [copies[id(one)].handle if id(one) in copies else one for one in self._graph.captured]
        return self._graph.traced._call_flat([*flat], captured)

    @property
    def returns(self) -> Any:
        """What a step returns, as tensors of its graph."""
        return self._graph.traced.structured_outputs

    def within(self, *flat: tf.Tensor) -> Any:
        """Make the step within another graph."""
        return self._graph.traced(*flat)

    def draws_by_itself(self) -> bool:
        """Whether operations draw random numbers that depend on how often they themselves have run."""
        whole = self._graph.traced.graph.as_graph_def()
        nodes = [*whole.node, *(node for one in whole.library.function for node in one.node_def)]
        return any("seed" in node.attr or "seed2" in node.attr for node in nodes)

    def operations(self) -> tuple[set[str], set[str]]:
        """Return the types of the graph's operations, and of those inside the functions that it calls."""
        whole = self._graph.traced.graph.as_graph_def()
        return {one.op for one in whole.node}, {node.op for one in whole.library.function for node in one.node_def}
