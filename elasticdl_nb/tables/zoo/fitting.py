"""What fits a label and the end of a model: loss, metric and optimizer where there are none, and predictions."""

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.tables.labelform import LOSSES

_SIGMOID, _SOFTMAX = "Sigmoid", "Softmax"
_SAME = ("Identity", "Reshape", "Squeeze", "ExpandDims", "Cast")


class Fitting:
    """For a label in this form (see `labelform`), of a model with this end."""

    def __init__(self, label, form, head):
        self._label, self._form = label, form
        self._activated = head.activation in ("sigmoid", "softmax")

    def note(self):
        """Say what is used for a model without a loss."""
        what = "mean absolute error" if self._form == "number" else "accuracy"
        classes = "a number" if self._form == "number" else f"{len(self._label.classes)} classes"
        return (
            f"{self._label.column}: {classes}; the model was compiled without a loss, so it gets {LOSSES[self._form]}, "
            f"Adam, and the metric {what}"
        )

    @property
    def is_binary(self):
        """Whether the label has two classes, of which the model's one output says how likely the second one is."""
        return self._form == "binary"

    # ------------------------------------------------------------ compile()

    def loss(self, labels, outputs):
        """Return the loss of each row [n]; of probabilities or of logits, whichever the model gives."""
        outputs = self._two_dimensional(outputs)
        if self._form == "number":
            return keras.losses.mean_squared_error(labels, outputs)
        function = keras.losses.get(LOSSES[self._form])
        return function(labels, outputs, from_logits=not self.gives_probabilities(outputs))

    def metrics(self):
        """Return the metric that people expect."""
        if self._form == "number":
            return [keras.metrics.MeanAbsoluteError(name="mae")]
        return [keras.metrics.MeanMetricWrapper(self._is_found, name="accuracy")]

    optimizer = keras.optimizers.Adam

    def _is_found(self, labels, outputs):
        outputs = self._two_dimensional(outputs)
        found = self._class_numbers(outputs)
        wanted = tf.argmax(labels, axis=-1) if self._form == "one_hot" else tf.reshape(labels, [-1])
        return tf.cast(tf.equal(tf.cast(found, tf.int64), tf.cast(wanted, tf.int64)), tf.float32)

    # ------------------------------------------------------------ predictions

    def predictions(self, outputs):
        """Return tensors [n] for outputs: a number, or the number of a class and its probability."""
        outputs = self._two_dimensional(outputs)
        if self._form == "number":
            return {"prediction": outputs[:, 0]}
        known = outputs if self._form == "whole" else outputs[:, : len(self._label.classes)]
        if self._form == "binary":
            second = outputs[:, 0] if self.gives_probabilities(outputs) else tf.sigmoid(outputs[:, 0])
            probability = tf.maximum(second, 1 - second)
        elif self.gives_probabilities(outputs):
            probability = tf.reduce_max(known, axis=-1)
        else:
            probability = tf.reduce_max(tf.nn.softmax(outputs)[:, : known.shape[-1]], axis=-1)
        return {"prediction": self._class_numbers(known), "probability": probability}

    def decoded(self, predictions):
        """Return the arrays with classes as they are in the label."""
        arrays = {name: np.asarray(values) for name, values in predictions.items()}
        if self._form in ("number", "whole"):
            return arrays
        classes = self._label.classes
        values = np.array(classes, object if isinstance(classes[0], str) else None)
        return {**arrays, "prediction": values[arrays["prediction"]]}

    def _class_numbers(self, outputs):
        if self._form == "binary":
            return tf.cast(outputs[:, 0] > (0.5 if self.gives_probabilities(outputs) else 0.0), tf.int64)
        return tf.argmax(outputs, axis=-1)

    @staticmethod
    def _two_dimensional(outputs):
        return outputs[:, tf.newaxis] if outputs.shape.rank == 1 else outputs

    def gives_probabilities(self, outputs):
        """Whether outputs are probabilities: as the graph shows, or else the model's last layer."""
        found = None if tf.executing_eagerly() else _ends_in(outputs)
        if found is not None:
            self._activated = found in (_SIGMOID, _SOFTMAX)
        return self._activated


def _ends_in(tensor):
    """Return the type of the operation that computes a tensor's values; None at the edge of a graph."""
    operation = tensor.op
    while operation.type in _SAME or operation.type == "StridedSlice":
        operation = operation.inputs[0].op
    return None if operation.type in ("Placeholder", "PartitionedCall", "StatefulPartitionedCall") else operation.type
