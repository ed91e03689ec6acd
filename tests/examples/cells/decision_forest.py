"""Neural decision forest."""

import keras
import numpy as np
from keras import layers, ops


class NeuralDecisionTree(keras.Model):
    def __init__(self, depth, num_features, used_features_rate, num_classes):
        super().__init__()
        self.depth, self.num_leaves, self.num_classes = depth, 2**depth, num_classes
        used = int(num_features * used_features_rate)
        one_hot = np.eye(num_features)
        chosen = np.random.default_rng(1).choice(np.arange(num_features), used, replace=False)
        self.used_features_mask = one_hot[chosen]
        self.pi = self.add_weight(
            initializer="random_normal", shape=[self.num_leaves, self.num_classes], dtype="float32", trainable=True
        )
        self.decision_fn = layers.Dense(units=self.num_leaves, activation="sigmoid", name="decision")

    def call(self, features):
        batch_size = ops.shape(features)[0]
        features = ops.matmul(features, ops.transpose(ops.cast(self.used_features_mask, "float32")))
        decisions = ops.expand_dims(self.decision_fn(features), axis=2)
        decisions = layers.concatenate([decisions, 1 - decisions], axis=2)
        mu = ops.ones([batch_size, 1, 1])
        begin, end = 1, 2
        for level in range(self.depth):
            mu = ops.reshape(mu, [batch_size, -1, 1])
            mu = ops.tile(mu, (1, 1, 2)) * decisions[:, begin:end, :]
            begin, end = end, end + 2 ** (level + 1)
        mu = ops.reshape(mu, [batch_size, self.num_leaves])
        return ops.matmul(mu, keras.activations.softmax(self.pi))


class NeuralDecisionForest(keras.Model):
    def __init__(self, num_trees, depth, num_features, used_features_rate, num_classes):
        super().__init__()
        self.ensemble = [
            NeuralDecisionTree(depth, num_features, used_features_rate, num_classes) for _ in range(num_trees)
        ]
        self.num_classes = num_classes

    def call(self, inputs):
        outputs = ops.zeros([ops.shape(inputs)[0], self.num_classes])
        for tree in self.ensemble:
            outputs += tree(inputs)
        return outputs / len(self.ensemble)


random = np.random.default_rng(0)
x = random.normal(size=(64, 6)).astype("float32")
y = (x[:, 0] > 0).astype("int64")
inputs = layers.Input((6,))
outputs = NeuralDecisionForest(2, 3, 6, 0.7, 2)(layers.BatchNormalization()(inputs))
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
