"""Evaluation metrics whose states can be added up over tasks and workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.compile_utils import is_binary_or_sparse_categorical

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.calls import outputs_first, parameters, positional
from elasticdl_nb.runtime.model.loading.functionloss import flattening
from elasticdl_nb.runtime.model.reading.keras_names import METRICS_BY_SHAPE

States = dict[str, list[np.ndarray]]
_LOSS = "loss"


class MetricSet:
    """The model's metrics and the mean loss over any number of batches.

    States are additive: those of disjoint records, added by name, give the metrics over all the records. Keras metric
    objects keep their own variables; the values of metric functions, and the loss, are averaged over records.
    """

    def __init__(
        self,
        objects: Mapping[str, keras.metrics.Metric] | None = None,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        table: Callable[..., Any] | None = None,
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        """`outputs` names the output, of several, that a metric looks at."""
        self._objects = dict(objects or {})
        self._functions = dict(functions or {})
        self._table = table
        self._outputs = dict(outputs or {})
        self._means: dict[str, np.ndarray] = {}
        self._update_objects = tf.function(self.update_objects, reduce_retracing=True)
        if _LOSS in (*self._objects, *self._functions):
            raise ModelError(f"eval_metrics_fn: {_LOSS!r} is the name of the mean loss; rename the metric")
        self.reset()

    def reset(self) -> None:
        """Forget all records seen."""
        for metric in self._objects.values():
            metric.reset_state()
        self._means = {}

    @property
    def objects(self) -> dict[str, keras.metrics.Metric]:
        """The metric objects, by name."""
        return dict(self._objects)

    @property
    def needs_outputs(self) -> bool:
        """Whether `update_means` looks at labels and outputs."""
        return bool(self._functions) or self._table is not None

    def update(self, labels: Any, outputs: Any, loss: Any, records: int) -> None:
        """Add one batch of `records` records; `loss` is the batch's mean loss."""
        self._add(_LOSS, float(loss), records)
        if self._objects:
            self._update_objects(labels, outputs)
        self.update_means(labels, outputs, records)

    def update_means(self, labels: Any, outputs: Any, records: int) -> None:
        """Add the values of metric functions for one batch."""
        if not self.needs_outputs:
            return
        as_arrays = tf.nest.map_structure(lambda tensor: tensor.numpy(), labels)
        for name, function in self._functions.items():
            output = self._outputs.get(name)
            of_labels = as_arrays[output] if output and isinstance(as_arrays, Mapping) else as_arrays
            of_outputs = outputs[output] if output else outputs
            self._add(name, _call(function, of_labels, of_outputs, default_outputs_first=False), records)
        if self._table is not None:
            values = _call(self._table, as_arrays, outputs, default_outputs_first=True)
            if not isinstance(values, Mapping):
                raise ModelError(f"eval_metrics_fn returned {type(values).__name__}, not a dict of name to value")
            for name, value in values.items():
                self._add(str(name), value, records)

    def update_objects(self, labels: Any, outputs: Any) -> None:
        """Add one batch to the metric objects; in the graph that computes the outputs, so that their masks count."""
        for name, metric in self._objects.items():
            of_labels, of_outputs = labels, outputs
            if output := self._outputs.get(name):
                of_labels, of_outputs = labels[output] if isinstance(labels, Mapping) else labels, outputs[output]
            first = next((parameter.name for parameter in parameters(metric.update_state)), "")
            # keras.metrics.Mean and similar metrics take values, not labels and outputs.
            if first == "values":
                metric.update_state(of_outputs)
            else:
                metric.update_state(of_labels, of_outputs)

    def _add(self, name: str, value: Any, records: int) -> None:
        mean = float(np.mean(np.asarray(value, dtype=np.float64)))
        self._means[name] = self._means.get(name, np.zeros(2)) + np.array([mean * records, records])

    def states(self) -> States:
        """Everything seen so far, as arrays that can be added to those of other records."""
        states = {name: [np.array(mean)] for name, mean in self._means.items()}
        for name, metric in self._objects.items():
            states[name] = [keras.ops.convert_to_numpy(variable).astype(np.float64) for variable in metric.variables]
        return states

    def load(self, states: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Replace everything seen so far by these states."""
        self.reset()
        self.merge(states)

    def merge(self, states: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Add the states of other records.

        Raises ModelError if the states belong to other metrics. Metric objects that learn their shape from data
        (F1Score) must have seen a batch before.
        """
        for name, arrays in states.items():
            if name not in self._objects:
                self._means[name] = self._means.get(name, np.zeros(2)) + np.asarray(arrays[0])
                continue
            variables = self._objects[name].variables
            shapes = [tuple(variable.shape) for variable in variables]
            if shapes != [np.shape(array) for array in arrays]:
                raise ModelError(f"metric {name!r} has variables of shapes {shapes}, but its states have other shapes")
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(keras.ops.convert_to_numpy(variable) + np.asarray(array, dtype=variable.dtype))

    def results(self) -> dict[str, float]:
        """The value of every metric, `loss` first; a metric with several values has one entry for each."""
        values: dict[str, float] = {}
        for name, (total, records) in self._means.items():
            values[name] = float(total / records) if records else float("nan")
        for name, metric in self._objects.items():
            values |= as_values(name, metric.result())
        return values


def as_values(name: str, result: Any) -> dict[str, float]:
    """Return a metric's result as numbers with names: one, or one for each entry of a dict or a vector."""
    values: dict[str, float] = {}
    parts = result if isinstance(result, Mapping) else {"": result}
    for key, part in parts.items():
        array = np.asarray(part, dtype=np.float64)
        full = f"{name}_{key}" if key else name
        if array.ndim == 0:
            values[full] = float(array)
        else:
            values.update({f"{full}_{index}": float(item) for index, item in enumerate(array.ravel())})
    return values


def _call(function: Callable[..., Any], labels: Any, outputs: Any, *, default_outputs_first: bool) -> Any:
    with flattening():
        if outputs_first(function, default_outputs_first):
            return function(outputs, labels)
        return function(labels, outputs)


def make_metrics(given: Any) -> MetricSet:
    """Return the metrics that `eval_metrics_fn` (or a class's attribute of that name) describes, in any form.

    Forms: a function (predictions, labels) that returns a dict of values; or a dict or list of metric objects,
    functions (labels, outputs) and names of Keras metrics, given directly or returned by a function without arguments.
    """
    if given is None:
        return MetricSet()
    if callable(given) and not isinstance(given, keras.metrics.Metric):
        if len(positional(given)) >= 2:
            return MetricSet(table=given)
        given = given()
    if isinstance(given, (keras.metrics.Metric, str)) or callable(given):
        given = [given]
    if isinstance(given, (list, tuple)):
        given = _named(given)
    if not isinstance(given, Mapping):
        raise ModelError(f"eval_metrics_fn returned {type(given).__name__}; expected a dict or list of metrics")
    objects: dict[str, keras.metrics.Metric] = {}
    functions: dict[str, Callable[..., Any]] = {}
    outputs: dict[str, str] = {}
    for name, metric in given.items():
        if isinstance(metric, Mapping):  # the metrics of one output
            of_output = make_metrics(metric)
            outputs |= {f"{name}_{own}": str(name) for own in (*of_output._objects, *of_output._functions)}
            objects |= {f"{name}_{own}": one for own, one in of_output._objects.items()}
            functions |= {f"{name}_{own}": one for own, one in of_output._functions.items()}
            continue
        metric = _get(metric) if isinstance(metric, str) else metric
        if isinstance(metric, type) and issubclass(metric, keras.metrics.Metric):
            metric = metric()
        if isinstance(metric, keras.metrics.Metric):
            objects[str(name)] = metric
        elif callable(metric):
            functions[str(name)] = metric
        else:
            raise ModelError(f"eval_metrics_fn: {name!r} is {metric!r}; expected a Keras metric or a function")
    return MetricSet(objects, functions, outputs=outputs)


def _named(metrics: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for metric in metrics:
        name = metric if isinstance(metric, str) else getattr(metric, "name", None) or metric.__name__
        if name in named:
            raise ModelError(f"eval_metrics_fn: two metrics are named {name!r}; rename one of them")
        named[name] = metric
    return named


def _get(name: str) -> Any:
    if name.lower() in METRICS_BY_SHAPE:
        return keras.metrics.MeanMetricWrapper(_accuracy, name=name)
    try:
        return keras.metrics.get(name)
    except ValueError:
        raise ModelError(f"eval_metrics_fn: Keras has no metric named {name!r}") from None


def _accuracy(y_true: Any, y_pred: Any) -> Any:
    """The accuracy that `compile` would choose for labels and outputs of these shapes."""
    is_binary, is_sparse = is_binary_or_sparse_categorical(y_true, y_pred)
    if is_binary:
        return keras.metrics.binary_accuracy(y_true, y_pred)
    if is_sparse:
        return keras.metrics.sparse_categorical_accuracy(y_true, y_pred)
    return keras.metrics.categorical_accuracy(y_true, y_pred)
