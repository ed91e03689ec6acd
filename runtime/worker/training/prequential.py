"""Test, then train: each batch is predicted with the model as it is before the batch is learnt.

Nothing that training depends on is changed by that: every variable that a prediction writes gets its value back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.binarymetrics import BinaryMetrics
from elasticdl_nb.runtime.model.loading.compiling import own_methods
from elasticdl_nb.runtime.model.loading.dictfeatures import batch_spec, blank
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.loading.teststep import TestStep
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states, state_messages
from elasticdl_nb.runtime.spec.alarms import check_metrics
from elasticdl_nb.runtime.worker.batches import as_graph, batch_size

_WRITES = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ResourceScatter", "StatefulPartitioned")
_GROWS = ("LookupTableInsert", "LookupTableRemove", "LookupTableImport", "MutableHashTable")


def check_prequential(loaded: LoadedModel) -> None:
    """Raise ModelError for a compiled model that cannot be evaluated, and so not tested before it learns."""
    model = loaded.model
    measured = bool({"test_step", "compute_loss"} & own_methods(model)) or bool(model.losses)
    if model._compile_loss is None and not measured:
        raise ModelError(
            f"prequential: {type(model).__name__} has no loss to be tested by, as its train_step computes its own; "
            "override test_step, too"
        )


class Prequential:
    """Tests batches of the form `element_spec` with a built and compiled model, and adds up its metrics.

    They are those that `evaluate` reports, and for a model that tells two classes apart, those of `BinaryMetrics`,
    unless the model has others of the same names. Raises OptionError before the first batch is learnt if there is a
    bound in `alarms` for a metric that the model does not have.
    """

    def __init__(self, loaded: LoadedModel, element_spec: Any, alarms: tuple[str, ...] = ()) -> None:
        check_prequential(loaded)
        self._alarms = alarms
        self._loaded, self._spec = loaded, element_spec
        self._binary = BinaryMetrics.of(loaded, element_spec)
        self._step = TestStep(loaded, beside=self._binary.update if self._binary else None)
        self._make: Any = None
        self._of_model: list[Any] = []
        self._own: list[tf.Variable] = []
        self._written: list[tf.Variable] = []
        self._records = 0

    # ------------------------------------------------------------ batches

    def begin(self) -> None:
        """The first batch of a task comes next."""
        self._records = 0
        if self._make is not None:
            self._forget()

    def test(self, batch: Any) -> None:
        """Predict a batch of (features[, labels[, sample weights]]), and add the result to those of its task."""
        if self._make is None:
            self._prepare(batch)
            self._check_alarms(batch)
        self._step.add(self._make(*batch), batch, size := batch_size(batch[0]))
        self._records += size

    def report(self) -> dict[str, Any]:
        """Return what a result of a task says of the batches since `begin`: `tested` records, and `states`."""
        if not self._records:
            return {}
        kept = self._loaded.kept_metrics()
        for variable, own in zip(self._of_model, self._own, strict=True):
            variable.assign(own)
        states = self._step.states()
        self._loaded.give_back_metrics(kept)
        if self._binary:
            states |= self._binary.states()
        return {"tested": self._records, "states": state_messages(states)}

    def values(self, states: list[pb.MetricState]) -> dict[str, float]:
        """Return the metrics' values for the sum of such states, `loss` first. To be called between two tasks."""
        if self._make is None:
            self._prepare()
        summed = read_states(states)
        of_binary = {name: summed.pop(name) for name in [*summed] if name.startswith("binary ")}
        kept = self._loaded.kept_metrics()
        values = self._step.results(summed)
        self._step.reset()
        self._loaded.give_back_metrics(kept)
        return {**values, **(self._binary.results(of_binary) if self._binary else {}), **values}

    def _check_alarms(self, batch: Any) -> None:
        """Compare the bounds' metrics with those that a batch shows."""
        if self._alarms:
            self.test(batch)
            check_metrics(self._alarms, list(self.values(self.report()["states"])))
            self.begin()

    # ------------------------------------------------------------ graphs

    def _prepare(self, batch: Any = None) -> None:
        """Make the graph, and the metrics' variables; the model's own metrics stay as they are."""
        model, kept = self._loaded.model, self._loaded.kept_metrics()
        eagerly = bool(model.run_eagerly)
        if eagerly and batch is None:  # only a call makes the metrics
            batch = tf.nest.map_structure(blank, self._spec)
        spec = self._spec if _is_known(self._spec) or batch is None else tf.nest.map_structure(batch_spec, batch)
        before = [(variable, tf.identity(variable.value)) for variable in model.variables] if batch is not None else []
        if not eagerly:
            graph = self._step.trace(spec)
            self._refuse_growing(graph)
            self._written = list(_written(graph))
        else:
            self._step.make(batch)
            self._written = [variable.value for variable in model.variables]
        if batch is not None:
            self._step.check(batch)
        for variable, value in before:
            variable.assign(value)
        self._step.reset()
        self._of_model = [variable.value for metric in model.metrics for variable in metric.variables]
        self._own = [tf.Variable(variable, trainable=False) for variable in self._of_model]
        apart = [*self._step.variables, *(self._binary.variables if self._binary else [])]
        others = {id(one.value) for one in apart} | {id(one) for one in self._of_model}
        self._written = [one for one in self._written if id(one) not in others]
        self._loaded.give_back_metrics(kept)
        self._make = as_graph(self._apart, None, eagerly=eagerly)
        self._forget()

    def _apart(self, *batch: Any) -> Any:
        """Test a batch with metrics apart from those of training; every variable of the model keeps its value."""
        before = [(one, tf.identity(one)) for one in (*self._of_model, *self._written)]
        for variable, own in zip(self._of_model, self._own, strict=True):
            variable.assign(own)
        made = self._step.make(batch)
        for variable, own in zip(self._of_model, self._own, strict=True):
            own.assign(variable)
        for variable, value in before:
            variable.assign(value)
        return made

    def _forget(self) -> None:
        kept = self._loaded.kept_metrics()
        self._step.reset()
        for variable, own in zip(self._of_model, self._own, strict=True):
            own.assign(variable)
        self._loaded.give_back_metrics(kept)
        if self._binary:
            self._binary.reset()

    def _refuse_growing(self, graph: Any) -> None:
        if any(kind.startswith(_GROWS) for kind in _kinds(graph)):
            raise ModelError(
                f"prequential: {type(self._loaded.model).__name__} adds to a vocabulary when it is called, so that a "
                "prediction would change what is learnt; leave prequential out"
            )


def _is_known(spec: Any) -> bool:
    return all(getattr(part.shape, "rank", None) is not None for part in tf.nest.flatten(spec))


def _kinds(graph: Any) -> Iterator[str]:
    """The kinds of all operations of a graph, and of the functions that it calls."""
    definition = graph.as_graph_def()
    yield from (node.op for node in definition.node)
    yield from (node.op for function in definition.library.function for node in function.node_def)


def _written(graph: Any) -> Iterator[tf.Variable]:
    """The variables that a graph may write: those whose handles go to an operation that does, or to a function."""
    handles = {
        id(inner) for operation in graph.get_operations() if _writes(operation.type) for inner in operation.inputs
    }
    written = {id(outer) for outer, inner in graph.captures if id(inner) in handles}
    yield from (variable for variable in graph.variables if id(variable.handle) in written)


def _writes(kind: str) -> bool:
    return kind.startswith(_WRITES) or kind in ("StatefulIf", "If", "While", "StatefulWhile", "Case", "StatefulCase")
