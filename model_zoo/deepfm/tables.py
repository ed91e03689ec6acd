"""DeepFM (Guo et al., 2017) for any table: a factorization machine and a dense network share embeddings."""

import keras


class DeepFM(keras.Model):
    """Predicts the probability of a label with two values.

    Takes {"linear_feature_columns": [n, a], "field_feature_columns": [n, fields * embedding_dim] and, where the table
    has numbers, "dnn_feature_columns": [n, b]}: what is added up, the embeddings of the categories, and the numbers.
    """

    def __init__(self, hidden_units=(64, 32), learning_rate=0.001, embedding_dim=8):
        super().__init__()
        self.learning_rate = learning_rate
        self.embedding_dim = embedding_dim
        self.linear = keras.layers.Dense(1)
        self.hidden = [keras.layers.Dense(units, activation="relu") for units in hidden_units]
        self.head = keras.layers.Dense(1)

    def call(self, inputs):
        """Return probabilities [n, 1]."""
        fields = inputs["field_feature_columns"]
        factors = keras.ops.reshape(fields, (-1, fields.shape[1] // self.embedding_dim, self.embedding_dim))
        # The sum of all pairs' products: (square of the sum - sum of the squares) / 2.
        squared_sum = keras.ops.square(keras.ops.sum(factors, axis=1))
        sum_of_squares = keras.ops.sum(keras.ops.square(factors), axis=1)
        pairs = 0.5 * keras.ops.sum(squared_sum - sum_of_squares, axis=1, keepdims=True)
        deep = fields
        if "dnn_feature_columns" in inputs:
            deep = keras.ops.concatenate([fields, inputs["dnn_feature_columns"]], axis=1)
        for layer in self.hidden:
            deep = layer(deep)
        return keras.ops.sigmoid(self.linear(inputs["linear_feature_columns"]) + pairs + self.head(deep))

    def default_loss(self):
        """The cross-entropy."""
        return keras.losses.BinaryCrossentropy()

    def default_optimizer(self):
        """Adam."""
        return keras.optimizers.Adam(self.learning_rate)

    def default_metrics(self):
        """The area under the ROC curve, and the share of rows predicted correctly."""
        return {"auc": keras.metrics.AUC(), "accuracy": keras.metrics.BinaryAccuracy()}
