"""A model to start from: it learns `target` from the columns `x1` and `x2` of a CSV file.

elasticdl train --model_zoo=. --model_def=my_model.MyModel --data='train*.csv' --output=trained
"""

import keras
import tensorflow as tf

from elasticdl_nb import Mode, batched


class MyModel(keras.Model):
    # --params="hidden_units=[64, 32], learning_rate=0.01" changes these.
    def __init__(self, hidden_units=(32, 16)):
        super().__init__()
        self.hidden = [keras.layers.Dense(units, activation="relu") for units in hidden_units]
        self.head = keras.layers.Dense(1)

    def call(self, inputs):
        for layer in self.hidden:
            inputs = layer(inputs)
        return self.head(inputs)

    # Turns a batch of rows, strings [n, columns], into features and labels.
    @staticmethod
    @batched
    def default_input(rows, mode, metadata):
        def columns(*names):
            return tf.strings.to_number(tf.gather(rows, [metadata.column_names.index(name) for name in names], axis=1))

        features = columns("x1", "x2")
        return features if mode == Mode.PREDICTION else (features, columns("target"))

    @staticmethod
    def default_loss(labels, outputs):
        return keras.losses.mean_squared_error(labels, outputs)

    @staticmethod
    def default_optimizer(learning_rate=0.01):
        return keras.optimizers.Adam(learning_rate)
