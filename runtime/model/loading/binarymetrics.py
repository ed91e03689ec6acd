"""How well a model tells two classes apart, by Keras' own metrics: AUC, log loss and calibration.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.loading.metricstates import States

_THRESHOLDS = 400
_MOST_ODDS = 10.0
"""The log-odds between which predictions are told apart, from -10 to 10 (probabilities of 0.00005 to 0.99995)."""
_LOSSES = ("BinaryCrossentropy", "BinaryFocalCrossentropy", "binary_crossentropy", "binary_focal_crossentropy")


class BinaryMetrics:
    """Of labels 0 and 1, and outputs of shape [n] or [n, 1], which are log-odds if `are_logits` says so of them, or
    else probabilities.

    `auc` is Keras' AUC of the log-odds: its thresholds are evenly spaced there, because the probabilities of rare
    events lie close together. `calibration` is the mean prediction divided by the mean label.
    """

    def __init__(self, are_logits: Callable[[Any], bool]) -> None:
        self._are_logits = are_logits
        self._auc = keras.metrics.AUC(num_thresholds=_THRESHOLDS, name="auc")
        self._log_loss = keras.metrics.BinaryCrossentropy(from_logits=True, name="log_loss")
        self._predicted, self._labelled = keras.metrics.Mean(name="predicted"), keras.metrics.Mean(name="labelled")

    @staticmethod
    def of(loaded: LoadedModel, element_spec: Any) -> BinaryMetrics | None:
        """Return the metrics for a compiled and built model, or None if nothing says that it tells two classes apart.

        That is said by the job's `label`, by a loss of Keras for two classes, or by a last layer that is a sigmoid with
        labels that are whole numbers, where there is one output for each record.
        """
        label = element_spec[1] if isinstance(element_spec, tuple) and len(element_spec) > 1 else None
        output = getattr(loaded.model, "output_shape", None) if loaded.model.built else None
        if not isinstance(label, tf.TensorSpec) or not _is_single(label.shape[1:] if label.shape.rank else None):
            return None
        if isinstance(output, tuple) and output and isinstance(output[0], int | None) and not _is_single(output[1:]):
            return None
        loss = getattr(loaded.model._compile_loss, "_user_loss", None)
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        if name in _LOSSES:
            return BinaryMetrics(lambda outputs: bool(getattr(loss, "from_logits", False)))
        if loaded.table is not None:
            fitting = loaded.table.fitting
            return (
                BinaryMetrics(lambda outputs: not fitting.gives_probabilities(outputs)) if fitting.is_binary else None
            )
        outputs = tf.nest.flatten(getattr(loaded.model, "outputs", None))  # a model's own attribute may have the name
        last = outputs[0]._keras_history.operation if [*map(type, outputs)] == [keras.KerasTensor] else None
        activation = getattr(last, "activation", None)
        whole = label.dtype.is_integer or label.dtype.is_bool
        return BinaryMetrics(lambda outputs: False) if whole and activation is keras.activations.sigmoid else None

    @property
    def _all(self) -> tuple[keras.metrics.Metric, ...]:
        return self._auc, self._log_loss, self._predicted, self._labelled

    @property
    def variables(self) -> list[Any]:
        """The variables of all of them."""
        return [variable for metric in self._all for variable in metric.variables]

    def update(self, labels: Any, outputs: Any) -> None:
        """Add a batch; works eagerly and in a graph. A single output may be in a list or a dict."""
        (outputs,) = tf.nest.flatten(outputs)
        logits = self._are_logits(outputs)
        labels = tf.reshape(tf.cast(labels, tf.float32), [-1, 1])
        outputs = tf.reshape(tf.cast(outputs, tf.float32), [-1, 1])
        if logits:
            odds, probabilities = outputs, tf.sigmoid(outputs)
        else:
            clipped = tf.clip_by_value(outputs, 1e-7, 1 - 1e-7)
            odds, probabilities = tf.math.log(clipped) - tf.math.log1p(-clipped), outputs
        self._auc.update_state(labels, tf.clip_by_value(0.5 + odds / (2 * _MOST_ODDS), 0.0, 1.0))
        self._log_loss.update_state(labels, odds)
        self._predicted.update_state(probabilities)
        self._labelled.update_state(labels)

    def reset(self) -> None:
        """Forget all records seen."""
        for metric in self._all:
            metric.reset_state()

    def states(self) -> States:
        """Everything seen so far, as arrays that can be added to those of other records."""
        return {
            f"binary {metric.name}": [np.asarray(variable, np.float64) for variable in metric.variables]
            for metric in self._all
        }

    def results(self, states: Mapping[str, Sequence[np.ndarray]]) -> dict[str, float]:
        """Return the values for the sum of such states."""
        for metric in self._all:
            for variable, array in zip(metric.variables, states[f"binary {metric.name}"], strict=True):
                variable.assign(np.asarray(array, variable.dtype))
        auc, log_loss, predicted, labelled = (float(np.asarray(metric.result())) for metric in self._all)
        self.reset()
        return {
            "auc": auc if 0 < labelled < 1 else math.nan, "log_loss": log_loss,
            "calibration": predicted / labelled if labelled else math.nan,
        }  # fmt: skip


def _is_single(shape: Any) -> bool:
    """Whether there is one value for each record."""
    return shape is not None and all(size == 1 for size in shape)
