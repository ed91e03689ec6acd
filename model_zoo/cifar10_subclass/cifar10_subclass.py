"""A convolutional network for small colour photographs, as a subclass of keras.Model.

Records: serialized tf.Example with `image` (3072 floats, 0 to 255) and `label` (0 to 9; none for prediction).
"""

import keras
import tensorflow as tf

from elasticdl_nb import Mode, batched


class Block(keras.layers.Layer):
    """Two convolutions, then half the width and height."""

    def __init__(self, filters):
        super().__init__()
        self.convolutions = [keras.layers.Conv2D(filters, 3, padding="same", use_bias=False) for _ in range(2)]
        self.normalizations = [keras.layers.BatchNormalization(momentum=0.9) for _ in range(2)]
        self.pool = keras.layers.MaxPooling2D()
        self.dropout = keras.layers.Dropout(0.2)

    def call(self, x, training=False):
        """Return features [n, height / 2, width / 2, filters]."""
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            x = keras.ops.relu(normalization(convolution(x), training=training))
        return self.dropout(self.pool(x), training=training)


class Cifar10Model(keras.Model):
    """Images [n, 32, 32, 3] in, ten logits out."""

    def __init__(self, filters=(32, 64, 128)):
        super().__init__(name="cifar10_model")
        self.blocks = [Block(count) for count in filters]
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(10)

    def call(self, x, training=False):
        """Return the logits."""
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(x))


@batched
def dataset_fn(dataset, mode):
    """Parse batches of tf.Example records with `image` (3072 floats, 0 to 255) and `label` (one integer)."""

    def parse(records):
        description = {"image": tf.io.FixedLenFeature([32, 32, 3], tf.float32)}
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


def optimizer(lr=0.001):
    """Adam."""
    return keras.optimizers.Adam(lr)


def eval_metrics_fn():
    """The share of images whose class is found."""
    return {"accuracy": keras.metrics.SparseCategoricalAccuracy()}
