"""A convolutional network for handwritten digits, as a subclass of keras.Model.

Records: serialized tf.Example with `image` (784 floats, 0 to 255) and `label` (0 to 9; none for prediction).
"""

import keras
import tensorflow as tf

from elasticdl_nb import Mode, batched


class MnistModel(keras.Model):
    """Images [n, 28, 28] in, ten logits out."""

    def __init__(self, dropout=0.25):
        super().__init__(name="mnist_model")
        self.body = keras.Sequential(
            [
                keras.layers.Reshape((28, 28, 1)),
                keras.layers.Conv2D(32, 3, activation="relu"),
                keras.layers.Conv2D(64, 3, activation="relu"),
                keras.layers.BatchNormalization(momentum=0.9),
                keras.layers.MaxPooling2D(),
                keras.layers.Dropout(dropout),
                keras.layers.Flatten(),
            ]
        )
        self.head = keras.layers.Dense(10)

    def call(self, inputs, training=False):
        """Return the logits."""
        return self.head(self.body(inputs, training=training))


@batched
def dataset_fn(dataset, mode):
    """Parse batches of tf.Example records with `image` (784 floats, 0 to 255) and `label` (one integer)."""

    def parse(records):
        description = {"image": tf.io.FixedLenFeature([28, 28], tf.float32)}
        if mode != Mode.PREDICTION:
            description["label"] = tf.io.FixedLenFeature([], tf.int64)
        parsed = tf.io.parse_example(records, description)
        features = {"image": parsed["image"] / 255.0}
        if mode == Mode.PREDICTION:
            return features
        return features, tf.cast(parsed["label"], tf.int32)

    return dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def loss(labels, output):
    """Cross-entropy of the logits `output` [n, 10] and the integer `labels` [n]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(labels, [-1]), logits=output)


def optimizer(lr=0.1):
    """Plain stochastic gradient descent."""
    return keras.optimizers.SGD(lr)


def eval_metrics_fn():
    """The share of images whose digit is recognized."""
    return {"accuracy": keras.metrics.SparseCategoricalAccuracy()}
