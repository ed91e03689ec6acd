"""Integrated gradients: the part of a model's output that each column of a table causes.

M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks", 2017. The path is a
straight line from neutral features (numbers at their mean, no category) to those of the row. The values of all columns
add up to the difference between the outputs at its two ends.
"""

import numpy as np
import tensorflow as tf

from elasticdl_nb.sql.zoo.tablelayers import FeatureModel
from elasticdl_nb.tables.featurerecord import Number


class AttributionModel(FeatureModel):
    """Returns, instead of the model's output or its greatest output, the part of each of `columns` [n, columns]."""

    def __init__(self, model, features, scale, columns, steps):
        super().__init__(model, features, scale, name="feature_model")  # which names the tables of its embeddings
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self.way = [((node + 1) / 2, weight / 2) for node, weight in zip(nodes, weights, strict=True)]
        self.shares = [_shares(listed, columns) for listed in features.values()]

    def call(self, inputs):
        """Take the tensors that `TableInput` makes."""
        ends = self.features(inputs)
        outputs = self.outputs(ends)
        chosen = tf.one_hot(tf.argmax(outputs, axis=-1), outputs.shape[-1], dtype=outputs.dtype)
        gradients = [tf.zeros_like(end) for end in ends]
        for place, weight in self.way:
            with tf.GradientTape() as tape:
                points = [place * end for end in ends]
                tape.watch(points)
                value = tf.reduce_sum(self.outputs(points) * chosen)
            found = tape.gradient(value, points, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            gradients = [sum_ + weight * gradient for sum_, gradient in zip(gradients, found, strict=True)]
        parts = zip(ends, gradients, self.shares, strict=True)
        return tf.add_n([tf.matmul(end * gradient, share) for end, gradient, share in parts])


def _shares(features, columns):
    """Return the share [width, columns] of each column in each number of the features."""
    rows = []
    for feature in features:
        own = set(feature.columns())
        row = [1 / len(own) if column in own else 0.0 for column in columns]
        embedded = not isinstance(feature, Number) and feature.output == "embedding"
        rows += [row] * (feature.dimension if embedded else feature.size)
    return tf.constant(rows, tf.float32)
