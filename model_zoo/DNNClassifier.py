"""`TRAIN DNNClassifier`: a dense network that predicts a class from the columns of a table."""

import keras
import tensorflow as tf
from regressor import DNN
from tabular import tabular_input

from elasticdl_nb import batched


class DNNClassifier(DNN):
    """Predicts the probability of each class.

    Takes hidden_units, learning_rate, features (names of columns; all by default), label (a column's name), and either
    n_classes, for labels 0 to n_classes - 1, or classes, the list of the label's values.
    """

    activation = "softmax"

    def __init__(
        self, hidden_units=(64, 32), learning_rate=0.001, features=None, label="label", n_classes=2, classes=None
    ):
        self.output_units = len(classes) if classes else n_classes
        super().__init__(hidden_units, learning_rate, features, label)
        self.classes = classes

    def default_loss(self):
        """The cross-entropy."""
        return keras.losses.SparseCategoricalCrossentropy()

    @batched
    def default_input(self, records, mode, metadata):
        """The table's columns, and the number of the class."""
        made = tabular_input(records, mode, metadata, features=self.features, label=self.label)
        return (made[0], self.class_number(made[1])) if isinstance(made, tuple) else made

    def class_number(self, column):
        """Turn a column [n] of classes, numbers or texts, into integers [n] from 0."""
        if self.classes:
            texts = column if column.dtype == tf.string else tf.strings.as_string(column)
            matches = tf.equal(texts[:, tf.newaxis], tf.constant([str(value) for value in self.classes]))
            known = tf.debugging.Assert(tf.reduce_all(tf.reduce_any(matches, axis=1)), ["not a class of params", texts])
            with tf.control_dependencies([known]):
                return tf.argmax(matches, axis=1, output_type=tf.int32)
        if column.dtype == tf.string:
            column = tf.strings.to_number(column)
        return tf.cast(column, tf.int32)

    def default_metrics(self):
        """The share of records whose class is predicted correctly."""
        return {"accuracy": keras.metrics.SparseCategoricalAccuracy()}
