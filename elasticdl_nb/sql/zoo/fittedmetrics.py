"""Metrics that a SQL statement names, adapted to the labels and outputs of models trained in SQL.

Labels of classes are numbers [n, 1]. Outputs are a probability for each class [n, classes] or, with two classes,
possibly only that of the second [n, 1]. Keras' metrics for two classes expect the second's probability. Others expect
labels as one-hot vectors.
"""

import keras

from elasticdl_nb.runtime.model.reading.keras_names import METRICS_OF_ONE_HOT, METRICS_OF_TWO_CLASSES


def make_metric(name):
    """Return a new metric by its Keras name, or `accuracy`: the share of rows whose class is predicted correctly."""
    if name == "accuracy":
        return keras.metrics.MeanMetricWrapper(is_found, name=name)
    kind = type(keras.metrics.get(name))
    if name in METRICS_OF_TWO_CLASSES:
        fit = second_class
    elif name in METRICS_OF_ONE_HOT:
        fit = one_hot
    else:
        return kind(name=name)

    class Fitted(kind):
        def update_state(self, labels, outputs, sample_weight=None):
            return super().update_state(*fit(labels, outputs), sample_weight)

    return Fitted(name=name)


def second_class(labels, outputs):
    """Keep only the second class's probability."""
    return labels, outputs[:, 1:] if outputs.shape[-1] == 2 else outputs


def one_hot(labels, outputs):
    """Turn labels into vectors, and a single probability into two."""
    if outputs.shape[-1] == 1:
        outputs = keras.ops.concatenate([1 - outputs, outputs], axis=-1)
    numbers = keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32")
    return keras.ops.one_hot(numbers, outputs.shape[-1]), outputs


def is_found(labels, outputs):
    """Whether the class of each row is predicted correctly, as 0 or 1 [n]."""
    found = outputs[:, 0] > 0.5 if outputs.shape[-1] == 1 else keras.ops.argmax(outputs, axis=-1)
    numbers = keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32")
    return keras.ops.cast(keras.ops.equal(keras.ops.cast(found, "int32"), numbers), "float32")
