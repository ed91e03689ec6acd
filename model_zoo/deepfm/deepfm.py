"""DeepFM (Guo et al., 2017) for click-through rates: a factorization machine and a dense network share embeddings.

Records: serialized tf.Example with `dense` (13 floats), `sparse` (26 integers) and `label` (0 or 1); or the columns
I1 to I13, C1 to C26 and label of a table, where the C columns may be strings or integers.
"""

import keras
import tensorflow as tf

from elasticdl_nb import Mode, batched

DENSE = 13
SPARSE = 26
# Identifiers are mapped into this range, whatever vocabulary_size is.
ID_SPACE = 2**31 - 1


def custom_model(vocabulary_size=100_000, embedding_dim=16, hidden_units=(128, 64)):
    """{"dense": [n, 13], "sparse": [n, 26]} in, logits [n, 1] out; each categorical column has rows of its own."""
    dense = keras.Input((DENSE,), name="dense")
    sparse = keras.Input((SPARSE,), dtype="int32", name="sparse")
    # One table for all columns, one after the other: a single lookup, and a single gradient.
    ids = keras.ops.mod(sparse, vocabulary_size) + keras.ops.arange(SPARSE, dtype="int32") * vocabulary_size
    # The last value of a row is the weight of the id by itself; the others are its factors.
    table = keras.layers.Embedding(SPARSE * vocabulary_size, embedding_dim + 1, name="embedding")(ids)
    factors, weights = table[:, :, :embedding_dim], table[:, :, embedding_dim:]
    linear = keras.layers.Dense(1, name="linear")(dense) + keras.ops.sum(weights, axis=1)
    # The sum of all pairs' products: (square of the sum - sum of the squares) / 2.
    squared_sum = keras.ops.square(keras.ops.sum(factors, axis=1))
    sum_of_squares = keras.ops.sum(keras.ops.square(factors), axis=1)
    pairs = 0.5 * keras.ops.sum(squared_sum - sum_of_squares, axis=1, keepdims=True)
    deep = keras.layers.Concatenate()([dense, keras.layers.Flatten()(factors)])
    for number, units in enumerate(hidden_units):
        deep = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(deep)
    deep = keras.layers.Dense(1, name="deep")(deep)
    return keras.Model({"dense": dense, "sparse": sparse}, linear + pairs + deep, name="deepfm")


@batched
def input_fn(records, mode):
    """Parse a batch of records of either form; numbers are scaled by log(1 + x), which suits counts."""
    dense, sparse, label = _columns(records, mode) if isinstance(records, dict) else _examples(records, mode)
    features = {"dense": tf.sign(dense) * tf.math.log1p(tf.abs(dense)), "sparse": sparse}
    return features if label is None else (features, tf.reshape(tf.cast(label, tf.float32), [-1, 1]))


def _examples(records, mode):
    description = {
        "dense": tf.io.FixedLenFeature([DENSE], tf.float32),
        "sparse": tf.io.FixedLenFeature([SPARSE], tf.int64),
    }
    if mode != Mode.PREDICTION:
        description["label"] = tf.io.FixedLenFeature([], tf.int64)
    parsed = tf.io.parse_example(records, description)
    return parsed["dense"], tf.cast(parsed["sparse"] % ID_SPACE, tf.int32), parsed.get("label")


def _columns(records, mode):
    dense = tf.stack([tf.cast(records[f"I{field + 1}"], tf.float32) for field in range(DENSE)], axis=1)
    sparse = tf.stack([_identifier(records[f"C{field + 1}"]) for field in range(SPARSE)], axis=1)
    return dense, sparse, None if mode == Mode.PREDICTION else records["label"]


def _identifier(column):
    if column.dtype == tf.string:
        return tf.cast(tf.strings.to_hash_bucket_fast(column, ID_SPACE), tf.int32)
    return tf.cast(tf.cast(column, tf.int64) % ID_SPACE, tf.int32)


def loss(labels, output):
    """Cross-entropy of the logits `output` [n, 1] and the labels [n, 1]."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=output)


def optimizer(lr=0.001):
    """Adam."""
    return keras.optimizers.Adam(lr)


def eval_metrics_fn():
    """The area under the ROC curve."""
    return {"auc": keras.metrics.AUC(from_logits=True)}
