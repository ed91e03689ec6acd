"""A wide and deep model for tables: a linear model and a dense network, added up."""

import keras
from regressor import DNN
from tabular import BUCKETS


class MagicalWAD(DNN):
    """Predicts one number, from the columns linearly (wide) and through a dense network (deep)."""

    def __init__(self, hidden_units=(64, 32), learning_rate=0.001, features=None, label="label"):
        super().__init__(hidden_units, learning_rate, features, label)
        self.wide_numbers = keras.layers.Dense(1, use_bias=False)
        self.wide_categories = keras.layers.Embedding(BUCKETS, 1, embeddings_initializer="zeros")

    def call(self, inputs, training=False):
        """Return predictions [n, 1]."""
        if not isinstance(inputs, dict):
            inputs = {"numbers": inputs}
        prediction = super().call(inputs, training=training)
        if "numbers" in inputs:
            prediction += self.wide_numbers(self.encode.normalization(inputs["numbers"], training=False))
        if "categories" in inputs:
            prediction += keras.ops.sum(self.wide_categories(inputs["categories"]), axis=1)
        return prediction
