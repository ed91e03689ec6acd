"""Weights of records in training and evaluation: a column of the data, or the weights of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError, OptionError

Split = Callable[[Any], tuple[Any, Any]]


def weight_taker(column: str, spec: Any, metadata: Any) -> Split:
    """Return what splits records of the form `spec` into what the input function gets, and their weights, float32.

    The records are dicts of columns, which then lack the column, or vectors of strings. Raises OptionError if they have
    no column of that name.
    """
    names = list(spec) if isinstance(spec, Mapping) else list(metadata.column_names)
    if column not in names:
        has = f"it has {', '.join(map(str, names))}" if names else "its records are strings without columns"
        raise OptionError("sample_weight_column", f"the data has no column {column!r}; {has}")

    def from_columns(record: Mapping[str, Any]) -> tuple[Any, Any]:
        return {name: value for name, value in record.items() if name != column}, _checked(record[column], column)

    def from_strings(record: Any) -> tuple[Any, Any]:
        return record, _checked(tf.strings.to_number(record[..., names.index(column)]), column)

    return from_columns if isinstance(spec, Mapping) else from_strings


def _checked(values: Any, column: str) -> Any:
    weights = tf.cast(values, tf.float32)
    valid = tf.reduce_all(tf.logical_and(tf.math.is_finite(weights), weights >= 0))
    problem = f"sample_weight_column: {column} has values that are missing, negative or not finite"
    with tf.control_dependencies([tf.debugging.Assert(valid, [problem])]):
        return tf.identity(weights)


def with_class_weights(dataset: tf.data.Dataset, weights: Mapping[str, float], name: str) -> tf.data.Dataset:
    """Add the weights of their classes to batches of (features, labels), as `fit` does; unlisted classes weigh 1.

    Labels are numbers of classes, or vectors with a value for each class. Raises ModelError for other batches.
    """
    spec = dataset.element_spec
    if len(spec) != 2 or tf.nest.is_nested(spec[1]):
        has = "no labels" if len(spec) == 1 else "sample weights already" if len(spec) == 3 else "several labels"
        raise ModelError(f"class_weight works with one label for each record; {name} returns {has}")
    size = max(map(int, weights)) + 1
    table = tf.constant([weights.get(str(number), 1.0) for number in range(size)] + [1.0], tf.float32)

    def weighted(features: Any, labels: Any) -> tuple[Any, Any, Any]:
        classes = labels
        if labels.shape.rank and labels.shape.rank >= 2:
            classes = tf.squeeze(labels, -1) if labels.shape[-1] == 1 else tf.argmax(labels, -1)
        numbers = tf.cast(tf.round(tf.cast(classes, tf.float32)), tf.int32)
        known = tf.logical_and(numbers >= 0, numbers < size)
        return features, labels, tf.gather(table, tf.where(known, numbers, size))

    return dataset.map(weighted)
