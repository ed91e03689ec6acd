"""Metrics that a SQL statement names, fitted to what models trained in SQL get and give.

Labels of classes are numbers [n, 1], and outputs a probability for each class [n, classes]; of two classes the second's
may stand alone [n, 1]. Keras' metrics of two classes want the second's probability, others want labels as one-hot
vectors.
"""

import keras

from elasticdl_nb.runtime.model.reading.keras_names import METRICS_OF_ONE_HOT, METRICS_OF_TWO_CLASSES


def make_metric(name):
    """Return a new metric by Keras' name, or `accuracy`: the share of rows whose class is found."""
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
    """Leave the second class's probability."""
    return labels, outputs[:, 1:] if outputs.shape[-1] == 2 else outputs


def one_hot(labels, outputs):
    """Make labels vectors, and a probability that stands alone two."""
    if outputs.shape[-1] == 1:
        outputs = keras.ops.concatenate([1 - outputs, outputs], axis=-1)
    numbers = keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32")
    return keras.ops.one_hot(numbers, outputs.shape[-1]), outputs


def is_found(labels, outputs):
    """Whether the class of each row is found; as 0 or 1 [n]."""
    found = outputs[:, 0] > 0.5 if outputs.shape[-1] == 1 else keras.ops.argmax(outputs, axis=-1)
    numbers = keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32")
    return keras.ops.cast(keras.ops.equal(keras.ops.cast(found, "int32"), numbers), "float32")
