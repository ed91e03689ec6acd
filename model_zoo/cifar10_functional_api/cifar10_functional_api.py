"""A convolutional network for small colour photographs, with the functional API.

Records: serialized tf.Example with `image` (3072 floats, 0 to 255) and `label` (0 to 9; none for prediction).
"""

import keras
import tensorflow as tf

from elasticdl_nb import Mode, batched


def block(x, filters):
    """Two convolutions, then half the width and height."""
    for _ in range(2):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    return keras.layers.Dropout(0.2)(keras.layers.MaxPooling2D()(x))


def custom_model(filters=(32, 64, 128)):
    """Images [n, 32, 32, 3] in, ten logits out."""
    inputs = keras.Input((32, 32, 3), name="image")
    x = inputs
    for count in filters:
        x = block(x, count)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x), name="cifar10_model")


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
