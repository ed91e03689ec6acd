"""Models that predict a number from the columns of a table."""

import keras
import tensorflow as tf
from tabular import BUCKETS, tabular_input

from elasticdl_nb import batched


class TabularFeatures(keras.layers.Layer):
    """Numbers, normalized, and embedded categories, side by side: a tensor [n, width].

    A number that is missing (NaN) or infinite counts as the column's mean so far.
    """

    def __init__(self, embedding_dim=8):
        super().__init__()
        self.normalization = keras.layers.BatchNormalization(momentum=0.9)
        self.embedding = keras.layers.Embedding(BUCKETS, embedding_dim)
        self.flatten = keras.layers.Flatten()

    def call(self, inputs, training=False):
        """Take {"numbers": [n, a], "categories": [n, b]} (either may be absent), or only the numbers."""
        if not isinstance(inputs, dict):
            inputs = {"numbers": inputs}
        parts = []
        if "numbers" in inputs:
            parts.append(self.normalization(self._filled(inputs["numbers"]), training=training))
        if "categories" in inputs:
            parts.append(self.flatten(self.embedding(inputs["categories"])))
        return keras.ops.concatenate(parts, axis=1)

    def _filled(self, numbers):
        if not self.normalization.built:
            self.normalization.build(numbers.shape)
        return keras.ops.where(keras.ops.isfinite(numbers), numbers, self.normalization.moving_mean)


class DNN(keras.Model):
    """A dense network that predicts one number; its input is any table, see `tabular.tabular_input`."""

    output_units = 1
    activation = None

    def __init__(self, hidden_units=(64, 32), learning_rate=0.001, features=None, label="label"):
        super().__init__()
        self.learning_rate = learning_rate
        self.features = features
        self.label = label
        self.encode = TabularFeatures()
        self.hidden = [keras.layers.Dense(units, activation="relu") for units in hidden_units]
        self.head = keras.layers.Dense(self.output_units, activation=self.activation)

    def call(self, inputs, training=False):
        """Return predictions [n, 1]."""
        x = self.encode(inputs, training=training)
        for layer in self.hidden:
            x = layer(x)
        return self.head(x)

    def default_loss(self):
        """The squared error."""
        return keras.losses.MeanSquaredError()

    def default_optimizer(self):
        """Adam."""
        return keras.optimizers.Adam(self.learning_rate)

    @batched
    def default_input(self, records, mode, metadata):
        """The table's columns, and the label as a number."""
        made = tabular_input(records, mode, metadata, features=self.features, label=self.label)
        return (made[0], as_number(made[1])) if isinstance(made, tuple) else made

    def default_metrics(self):
        """The mean absolute error, and the root of the mean squared error."""
        return {"mae": keras.metrics.MeanAbsoluteError(), "rmse": keras.metrics.RootMeanSquaredError()}


def as_number(column):
    """Turn a column [n] of numbers, or of their texts, into float [n, 1]."""
    if column.dtype == tf.string:
        column = tf.strings.to_number(column)
    return tf.reshape(tf.cast(column, tf.float32), [-1, 1])
