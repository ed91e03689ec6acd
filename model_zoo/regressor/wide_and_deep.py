"""A wide and deep model for tables: the sum of a linear model and a dense network."""

import keras
from regressor import DNN
from tabular import BUCKETS


class MagicalWAD(DNN):
    """Predicts one number from the columns, linearly (wide) and through a dense network (deep)."""

    def __init__(self, hidden_units=(64, 32), learning_rate=0.001, features=None, label="label"):
        super().__init__(hidden_units, learning_rate, features, label)
        self.wide_numbers = keras.layers.Dense(1, use_bias=False)
        self.wide_categories = keras.layers.Embedding(BUCKETS, 1, embeddings_initializer="zeros")
        self.wide = keras.layers.Dense(1, use_bias=False)

    def call(self, inputs, training=False):
        """Return predictions [n, 1].

        Columns of a SQL statement come as {"linear_feature_columns": [n, a], "dnn_feature_columns": [n, b]}.
        """
        if not isinstance(inputs, dict):
            inputs = {"numbers": inputs}
        if "linear_feature_columns" in inputs:
            deep = super().call(inputs["dnn_feature_columns"], training=training)
            return deep + self.wide(inputs["linear_feature_columns"])
        prediction = super().call(inputs, training=training)
        if "numbers" in inputs:
            prediction += self.wide_numbers(self.encode.normalization(inputs["numbers"], training=False))
        if "categories" in inputs:
            prediction += keras.ops.sum(self.wide_categories(inputs["categories"]), axis=1)
        return prediction
