"""Contrastive, with a train_step."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


class EmbeddingModel(keras.Model):
    def train_step(self, data):
        anchors, positives = data[0][:, 0], data[0][:, 1]
        with tf.GradientTape() as tape:
            anchor_embeddings = self(anchors, training=True)
            positive_embeddings = self(positives, training=True)
            similarities = ops.einsum("ae,pe->ap", anchor_embeddings, positive_embeddings) / 0.2
            loss = self.compute_loss(y=ops.arange(ops.shape(anchors)[0]), y_pred=similarities)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
        return {m.name: m.result() for m in self.metrics}


random = np.random.default_rng(0)
x = random.normal(size=(64, 2, 6)).astype("float32")
y = np.zeros(64)
inputs = layers.Input(shape=(6,))
model = EmbeddingModel(inputs, layers.UnitNormalization()(layers.Dense(4)(layers.Dense(8, activation="relu")(inputs))))
model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
