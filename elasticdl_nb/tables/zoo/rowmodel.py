"""A trained model that takes rows of a table, as they were when it was trained."""

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.tables.frames import as_columns


class RowModel(keras.Model):
    """A Keras model that takes a frame, or a dict of columns [n], and gives what `model` gives for its rows.

    `model` is the model as it was written; `features(rows)` is what it takes.
    """

    def __init__(self, model, table):
        super().__init__(name=f"{model.name}_of_rows")
        self.model = model
        self._table = table
        self.built = True  # as the model is, whose weights are all that there are

    def features(self, rows):
        """Return what the model takes, for a frame or a dict of columns."""
        columns = rows if isinstance(rows, dict) else as_columns(rows)
        return self._table.features({name: _tensor(values) for name, values in columns.items()})

    def call(self, rows, training=None):
        """Return the model's outputs for rows."""
        return self.model(self.features(rows), training=training)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Return the model's outputs for rows, as Keras' `predict` does for features."""
        return self.model.predict(self.features(x), batch_size, verbose, steps, callbacks)

    def classes(self, x, batch_size=None, verbose=0):
        """Return the predictions for rows as NumPy arrays: `prediction`, and the `probability` of a class."""
        outputs = tf.convert_to_tensor(self.predict(x, batch_size, verbose))
        return self._table.decoded(self._table.predictions(outputs))


def _tensor(values):
    if tf.is_tensor(values):
        return values
    values = np.asarray(values)
    return tf.constant(values.astype(str) if values.dtype == object else values)
