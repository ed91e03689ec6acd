"""The graphs of a training step with served layers: one finds the ids of a batch, the other computes with their rows.

Because rows are arguments, a step is the same wherever they are kept, can be computed again with newer rows, and the
next batch's rows can be fetched while this one is computed. Each call of a layer gets a row for each of its ids, not
for each distinct one: so the shape depends on that of the batch alone, and the step can be compiled for it. The ids of
layers whose rows have the same length travel as one tensor.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from elasticdl_nb.runtime.model.embeddings.served import ServedLayer, ServedLayers
from elasticdl_nb.runtime.model.flat import FlatGraph
from elasticdl_nb.runtime.model.loading.loader import LoadedModel


class Call(NamedTuple):
    """One call of a served layer while the graph of ids is traced."""

    layer: ServedLayer
    ids: tf.Tensor
    rows: tf.Tensor


class Group(NamedTuple):
    """The calls whose rows have `dim` values: their layers, with calls of the same layer next to each other."""

    dim: int
    places: tuple[int, ...]
    """The positions of the calls among all calls of a step."""
    layers: tuple[ServedLayer, ...]


MakeSteps = Callable[[Callable[..., Any], Any], Callable[..., Any]]
"""From a step, which returns a mapping with the `loss`, and the form of its arguments to what makes such steps."""


def as_graph(step: Callable[..., Any], form: Any) -> Callable[..., Any]:
    """Make steps by a graph: see `MakeSteps`."""
    return tf.function(step, reduce_retracing=True)  # type: ignore[no-any-return]


class ServedStep:
    """The graphs for batches of the form `element_spec`.

    `finish(logs, gradients)` is called inside the graph of `compute` with the step's logs, the loss among them, and
    the gradients of the model's trainable variables; its results are returned. Before all that, `begin` is called there
    with further arguments of `compute`, which have the forms `given`. `make` is called at the first step.
    `notes` says which layers had to become ordinary ones, and why. `ids_are_fixed`: the ids of a batch are the same
    before and after the step before it.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        layers: ServedLayers,
        element_spec: Any,
        finish: Callable[[dict[str, Any], list[Any]], Any],
        make: MakeSteps = as_graph,
        begin: Callable[..., None] | None = None,
        given: Sequence[tf.TensorSpec] = (),
    ) -> None:
        self._loaded, self._layers, self._finish, self._spec = loaded, layers, finish, element_spec
        self._make, self._begin, self._given = make, begin, [*given]
        self.notes: list[str] = []
        self.groups: tuple[Group, ...] = ()
        self.ids_are_fixed = True
        self._find_ids = self._ids_graph()
        self._steps: Callable[..., Any] | None = None

    # ------------------------------------------------------------ ids

    def ids(self, features: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Return, for each group, the ids of all its calls, int64 [n], and how many each call has, int32 [calls]."""
        if not self.groups:
            return []
        return self._find_ids(tf.nest.flatten(features, expand_composites=True))  # type: ignore[no-any-return]

    def _ids_graph(self) -> Any:
        """Trace a forward step and keep what leads to ids; layers whose ids come too late become ordinary ones."""
        specs = tf.nest.flatten(self._spec[0], expand_composites=True)
        while True:
            trace = _IdsTrace()
            wrapped = tf.compat.v1.wrap_function(self._forward_with(trace), specs)
            hindered = _hindered(wrapped.graph, trace.calls)
            if not hindered:
                break
            for layer, reason in hindered.items():
                layer.refuse_options(reason)
                layer.unserve()
                self.notes.append(f"embedding {layer.name} is trained as an ordinary layer: {reason}")
        self.groups = _grouped([call.layer for call in trace.calls])
        self._dims = [call.layer.dim for call in trace.calls]
        with wrapped.graph.as_default():
            fetches = []
            for group in self.groups:
                ids = [trace.calls[place].ids for place in group.places]
                fetches.append((tf.concat(ids, 0), tf.stack([tf.size(one) for one in ids])))
        if not fetches:
            return None
        pruned = wrapped.prune(wrapped.inputs[: len(specs)], fetches)
        self.ids_are_fixed = not any(_may_change(op) for op in pruned.graph.get_operations()) and not any(
            op.type.startswith(_TABLE_CHANGES) for op in wrapped.graph.get_operations()
        )
        # Such a function, when called itself, first tries its arguments as another signature, which costs milliseconds.
        return FlatGraph(tf.function(lambda *flat: pruned(*flat), input_signature=specs, autograph=False))

    def _forward_with(self, trace: _IdsTrace) -> Callable[..., tf.Tensor]:
        def forward(*flat: tf.Tensor) -> tf.Tensor:
            features = tf.nest.pack_sequence_as(self._spec[0], flat, expand_composites=True)
            with self._layers.tracing(trace):
                self._loaded.call_model(features, training=True)
            return tf.constant(0)

        return forward

    # ------------------------------------------------------------ computing

    def compute(self, batch: Any, rows: Sequence[Any], *given: tf.Tensor) -> tuple[Any, list[tf.Tensor]]:
        """Compute a step; `rows` has those of each call, float32 [n, dim], in the order of their `places`.

        `given` is for `begin`. Returns the results of `finish` and the gradients of `rows`.
        """
        if self._steps is None:
            of_rows = [tf.TensorSpec([None, dim]) for dim in self._dims]
            self._steps = self._make(self._step, (self._spec, of_rows, self._given))
        made = self._steps(batch, rows, [*given])
        return made["finished"], made["of_rows"]

    def _step(self, batch: Any, rows: Sequence[tf.Tensor], given: Sequence[tf.Tensor]) -> dict[str, Any]:
        if self._begin is not None:
            self._begin(*given)
        values = [tf.ensure_shape(value, [None, dim]) for value, dim in zip(rows, self._dims, strict=True)]
        variables = self._loaded.model.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(values)
            with self._layers.tracing(_StepTrace(values)):
                outputs, loss = self._loaded.forward(batch, training=True)
        gradients = tape.gradient(loss, variables + values)
        of_rows = [
            tf.zeros_like(value) if gradient is None else tf.convert_to_tensor(gradient)
            for value, gradient in zip(values, gradients[len(variables) :], strict=True)
        ]
        logs = self._loaded.training_logs(batch, outputs, loss)
        return {"loss": loss, "finished": self._finish(logs, gradients[: len(variables)]), "of_rows": of_rows}


class _IdsTrace:
    """Records the ids of every call; the rows it returns are zeros."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def rows(self, layer: ServedLayer, ids: tf.Tensor) -> tf.Tensor:
        rows = tf.zeros([tf.size(ids), layer.dim])
        self.calls.append(Call(layer, ids, rows))
        return rows


class _StepTrace:
    """Gives the calls the rows that were passed to the step, one after the other."""

    def __init__(self, parts: Sequence[tf.Tensor]) -> None:
        self._parts = iter(parts)

    def rows(self, layer: ServedLayer, ids: tf.Tensor) -> tf.Tensor:
        return next(self._parts)


def _grouped(calls: Sequence[ServedLayer]) -> tuple[Group, ...]:
    groups = []
    for dim in dict.fromkeys(layer.dim for layer in calls):
        tables = list(dict.fromkeys(layer for layer in calls if layer.dim == dim))
        places = [place for table in tables for place, layer in enumerate(calls) if layer is table]
        groups.append(Group(dim, tuple(places), tuple(calls[place] for place in places)))
    return tuple(groups)


def _hindered(graph: Any, calls: Sequence[Call]) -> dict[ServedLayer, str]:
    """The layers whose ids cannot be found before the step is computed, each with the reason."""
    hindered: dict[ServedLayer, str] = {}
    for call in calls:
        if call.ids.graph is not graph:
            hindered[call.layer] = "it is called inside a loop, a condition or one of the model's own functions"
        elif _depends(call.ids, {other.rows.ref() for other in calls if other.rows.graph is graph}):
            hindered[call.layer] = "its ids depend on the rows of another embedding"
    return hindered


def _depends(tensor: tf.Tensor, sources: set[Any]) -> bool:
    seen: set[str] = set()
    waiting = [tensor]
    while waiting:
        current = waiting.pop()
        if current.ref() in sources:
            return True
        if current.op.name not in seen:
            seen.add(current.op.name)
            waiting.extend(current.op.inputs)
    return False


_TABLE_CHANGES = ("LookupTableInsert", "LookupTableRemove", "LookupTableImport")
"""What makes a vocabulary one that grows while the model is called."""


def _may_change(op: Any) -> bool:
    """Whether an operation may give another result once a step has been made: it has a state, and is no fixed table."""
    return bool(op.op_def.is_stateful) and not op.type.startswith(("LookupTable", "Placeholder", "VarHandle"))
