"""A small dense network that tells three kinds of iris from four measurements, read from a table or CSV file.

Every column but the label is a number. The label is the column `variety` (or `class`, `species`, `label`): a number, or
the flower's name.
"""

import keras
import tensorflow as tf

from elasticdl_nb import Mode, batched

VARIETIES = ("setosa", "versicolor", "virginica")
LABELS = ("variety", "class", "species", "label")


def custom_model():
    """Four numbers in, three logits out."""
    inputs = keras.Input((4,), name="measurements")
    x = keras.layers.Dense(16, activation="relu")(inputs)
    x = keras.layers.Dense(16, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(len(VARIETIES))(x), name="iris_model")


@batched
def dataset_fn(dataset, mode, metadata):
    """Turn batches of rows, string tensors [n, columns], into measurements [n, 4] and labels [n]."""
    label = next((index for index, name in enumerate(metadata.column_names) if name.lower() in LABELS), None)
    columns = [index for index in range(len(metadata.column_names)) if index != label]

    def parse(rows):
        features = {"measurements": tf.strings.to_number(tf.gather(rows, columns, axis=1))}
        if mode == Mode.PREDICTION:
            return features
        if label is None:
            raise ValueError(
                f"none of {', '.join(metadata.column_names)} is the label; expected one of {', '.join(LABELS)}"
            )
        return features, parse_variety(rows[:, label])

    return dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def parse_variety(texts):
    """The numbers of the varieties that `texts` [n] name, as numbers or as names such as "Setosa" or "Iris-setosa"."""
    names = tf.strings.regex_replace(tf.strings.lower(tf.strings.strip(texts)), r"^iris[-_ ]?", "")
    numbered = tf.strings.regex_full_match(names, r"[0-9]+(\.0*)?")
    numbers = tf.cast(tf.strings.to_number(tf.where(numbered, names, "0")), tf.int32)
    matches = tf.equal(names[:, tf.newaxis], tf.constant(VARIETIES))
    known = tf.reduce_all(tf.logical_or(numbered, tf.reduce_any(matches, axis=1)))
    with tf.control_dependencies([tf.debugging.Assert(known, ["an unknown variety of iris is among", texts])]):
        return tf.where(numbered, numbers, tf.argmax(matches, axis=1, output_type=tf.int32))


def loss(labels, output):
    """Cross-entropy of the logits `output` [n, 3] and the integer `labels` [n]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(labels, [-1]), logits=output)


def optimizer(lr=0.01):
    """Adam."""
    return keras.optimizers.Adam(lr)


def eval_metrics_fn():
    """The share of flowers whose variety is recognized."""
    return {"accuracy": keras.metrics.SparseCategoricalAccuracy()}
