"""The step of an evaluation as Keras makes it, with states that can be added up over tasks and workers.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.compiling import check_test_function, own_methods
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.loading.losses import is_of_keras
from elasticdl_nb.runtime.model.loading.metricstates import States, as_values

_MODEL = "metrics of the model"
_LOG = "log "


class TestStep:
    """Evaluates batches with the model's `test_step`, and with the metrics of its `eval_metrics_fn`.

    What the step returns is reported as `evaluate` of Keras reports it, over all records. A value that no metric of the
    model keeps is averaged over records. `beside` gets each batch's labels and outputs, where they are computed.
    """

    __test__ = False  # for pytest

    def __init__(self, loaded: LoadedModel, beside: Callable[[Any, Any], None] | None = None) -> None:
        loaded.compile_once()
        check_test_function(loaded.model)
        self._loaded, self._model, self._beside = loaded, loaded.model, beside
        self._metrics = loaded.metrics()
        self._own = own_methods(loaded.model) & {"test_step", "compute_metrics"}
        self._logs: dict[str, np.ndarray] = {}
        self._checked = all(is_of_keras(type(metric)) for metric in self._all_metrics())
        self._step: Any = self._graph if loaded.model.run_eagerly else tf.function(self._graph, reduce_retracing=True)

    def trace(self, element_spec: Any) -> Any:
        """Build the metrics for batches of this form, and return the graph; raises whatever is wrong with them."""
        if self._loaded.model.run_eagerly:
            return None
        return self._step.get_concrete_function(*element_spec).graph

    def _graph(self, *batch: Any) -> tuple[Any, Any, Any]:
        """Return the outputs (if a metric function needs them), what the step returned, and whether metrics keep it."""
        features, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        outputs = None
        with self._loaded.user_code("evaluating"):
            if "test_step" in self._own:
                logs = self._model.test_step(self._loaded.data_for_keras(batch))
                if self._metrics.needs_outputs or self._metrics.objects or self._beside:
                    outputs = self._loaded.call_model(features, training=False)
            else:
                outputs, loss = self._loaded.forward(batch, training=False)
                logs = self._loaded.logs(batch, outputs, loss)
            self._metrics.update_objects(labels, outputs)
        if self._beside:
            self._beside(labels, outputs)
        logs = logs if isinstance(logs, Mapping) else {"loss": logs}
        results = self._results() if self._own else logs
        kept = {name: _equal(value, results.get(name)) for name, value in logs.items()}
        return outputs if self._metrics.needs_outputs else None, dict(logs), kept

    # ------------------------------------------------------------ batches

    def reset(self) -> None:
        """Forget all records seen."""
        self._model.reset_metrics()
        self._metrics.reset()
        self._logs = {}

    def update(self, batch: Sequence[Any], records: int) -> None:
        """Add a batch of so many records."""
        self.check(batch)
        self.add(self.make(batch), batch, records)

    def make(self, batch: Sequence[Any]) -> Any:
        """Evaluate a batch, eagerly or in a graph; return what `add` needs of it."""
        return self._step(*batch)

    def add(self, made: Any, batch: Sequence[Any], records: int) -> None:
        """Add what was made of a batch of so many records."""
        outputs, logs, kept = made
        for name, value in logs.items():
            mean = float(np.mean(np.asarray(value, np.float64)))
            state = np.array([mean * records, records, 0.0 if bool(kept[name]) else 1.0])
            self._logs[name] = self._logs.get(name, np.zeros(3)) + state
        self._metrics.update_means(batch[1] if len(batch) > 1 else None, outputs, records)

    def check(self, batch: Sequence[Any]) -> None:
        """Raise ModelError for a metric of the user's own whose state is not a sum over records; looks only once."""
        if self._checked:
            return
        self.reset()
        states = [self._states_of_each()]
        for _ in range(2):
            self._step(*batch)
            states.append(self._states_of_each())
        for name, once in states[1].items():
            first = states[0].get(name, [np.zeros(()) for _ in once])
            twice = states[2][name]
            if any(np.any(start) for start in first) or not all(
                np.allclose(2 * a, b, rtol=1e-3, atol=1e-6, equal_nan=True) for a, b in zip(once, twice, strict=True)
            ):
                raise ModelError(
                    f"metric {name!r}: its state is not a sum over records, as it must be to evaluate in parts that "
                    "are added up; write it as a function (labels, outputs) in eval_metrics_fn instead"
                )
        self.reset()
        self._checked = True

    def _states_of_each(self) -> dict[str, list[np.ndarray]]:
        return {
            metric.name: [np.asarray(variable, np.float64) for variable in metric.variables]
            for metric in self._all_metrics() if not is_of_keras(type(metric))
        }  # fmt: skip

    def _all_metrics(self) -> list[keras.metrics.Metric]:
        parts = [getattr(metric, "metrics", None) or [metric] for metric in self._model.metrics]
        return [*(metric for part in parts for metric in part), *self._metrics.objects.values()]

    # ------------------------------------------------------------ states

    @property
    def variables(self) -> list[Any]:
        """The variables of metrics that the model itself does not have."""
        return [variable for metric in self._metrics.objects.values() for variable in metric.variables]

    @property
    def _variables(self) -> list[Any]:
        return [variable for metric in self._model.metrics for variable in metric.variables]

    def states(self) -> States:
        """Everything seen so far, as arrays that can be added to those of other records."""
        return {
            _MODEL: [np.asarray(variable, np.float64) for variable in self._variables],
            **{f"{_LOG}{name}": [state] for name, state in self._logs.items()},
            **self._metrics.states(),
        }

    def results(self, states: Mapping[str, Sequence[np.ndarray]]) -> dict[str, float]:
        """Return all metrics for the sum of such states, `loss` first."""
        self.reset()
        rest = dict(states)
        kept = rest.pop(_MODEL, [])
        variables = self._variables
        if [np.shape(array) for array in kept] != [tuple(variable.shape) for variable in variables]:
            raise ModelError("the metrics of the model are not those of its evaluation; do they depend on chance?")
        for variable, array in zip(variables, kept, strict=True):
            variable.assign(np.asarray(array, variable.dtype))
        of_model = self._results()
        values: dict[str, float] = {}
        for name in [name for name in rest if name.startswith(_LOG)]:
            total, records, lost = rest.pop(name)[0]
            name = name.removeprefix(_LOG)
            is_kept = not lost and name in of_model
            values |= as_values(name, of_model[name]) if is_kept else {name: float(total / records)}
        self._metrics.load(rest)
        return values | self._metrics.results()

    def _results(self) -> dict[str, Any]:
        results: dict[str, Any] = {}
        for metric in self._model.metrics:
            result = metric.result()
            results |= result if isinstance(result, Mapping) else {metric.name: result}
        return results


def _equal(value: Any, result: Any) -> Any:
    if result is None:
        return False
    if value is result:
        return True
    value, result = tf.cast(value, tf.float64), tf.cast(result, tf.float64)
    if value.shape.rank != result.shape.rank:
        return False
    both_nan = tf.logical_and(tf.math.is_nan(value), tf.math.is_nan(result))
    return tf.reduce_all(tf.logical_or(tf.equal(value, result), both_nan))
