"""The standard input for the rows of a SQL engine's result, converted to one serialized tf.Example per row.

Such records carry their own column names, so nothing about the table has to be known beforehand: each record is decoded
into (name, value) pairs.
"""

import tensorflow as tf

from elasticdl_nb import Mode, batched

SLOTS = 256
LABEL = "label"


@batched
def elasticdl_input_function(records, mode):
    """Turn serialized Examples [n] into {"numbers": [n, 256]} and labels [n] (the feature named "label").

    A number goes to the slot that its name hashes to; a string sets the slot of "name=string" to one (feature hashing).
    A feature that a record lacks counts as zero, and the order of features does not matter.
    """
    names, numbers, texts, is_text = decode_examples(records)
    features = {"numbers": hashed(names, numbers, texts, is_text, exclude=LABEL)}
    return features if mode == Mode.PREDICTION else (features, number_of(names, numbers, LABEL))


def decode_examples(records):
    """Decode serialized Examples [n] into names, numbers, strings, and whether each is a string: all [n, features].

    Only the first value of a feature counts. Records with fewer features than others are padded with unnamed ones.
    """
    features = _field(records, "tensorflow.Example", "features", tf.string)[..., 0]
    entries = _field(features, "tensorflow.Features", "feature", tf.string)
    names = _first(entries, "tensorflow.Features.FeatureEntry", "key", tf.string)
    values = _first(entries, "tensorflow.Features.FeatureEntry", "value", tf.string)
    kinds = ("float_list", "int64_list", "bytes_list")
    lists = {kind: _first(values, "tensorflow.Feature", kind, tf.string) for kind in kinds}
    floats = _first(lists["float_list"], "tensorflow.FloatList", "value", tf.float32)
    whole = _first(lists["int64_list"], "tensorflow.Int64List", "value", tf.int64)
    texts = _first(lists["bytes_list"], "tensorflow.BytesList", "value", tf.string)
    return names, floats + tf.cast(whole, tf.float32), texts, tf.not_equal(lists["bytes_list"], "")


def hashed(names, numbers, texts, is_text, exclude):
    """Distribute named values [n, features] over slots [n, 256] by the hash of their names; `exclude` is left out."""
    keys = tf.where(is_text, tf.strings.join([names, texts], separator="="), names)
    slots = tf.strings.to_hash_bucket_fast(keys, SLOTS)
    values = tf.where(is_text, 1.0, numbers)
    values = tf.where(tf.logical_or(tf.equal(names, exclude), tf.equal(names, "")), 0.0, values)
    rows = tf.broadcast_to(tf.range(tf.shape(names, tf.int64)[0])[:, tf.newaxis], tf.shape(names))
    indices = tf.stack([tf.reshape(rows, [-1]), tf.reshape(slots, [-1])], axis=1)
    shape = tf.stack([tf.shape(names, tf.int64)[0], SLOTS])
    return tf.ensure_shape(tf.scatter_nd(indices, tf.reshape(values, [-1]), shape), [None, SLOTS])


def number_of(names, numbers, name):
    """The number that each record has under `name`, [n]; zero if it has none."""
    return tf.reduce_sum(tf.where(tf.equal(names, name), numbers, 0.0), axis=1)


def text_of(names, texts, name):
    """The string that each record has under `name`, [n]; empty if it has none."""
    return tf.strings.reduce_join(tf.where(tf.equal(names, name), texts, ""), axis=1)


def _field(messages, kind, field, dtype):
    """All values of one field of serialized messages [...]: a tensor [..., most values in a message]."""
    return tf.io.decode_proto(messages, kind, [field], [dtype]).values[0]


def _first(messages, kind, field, dtype):
    """The first value of one field of serialized messages [...], or its type's zero: a tensor [...]."""
    values = _field(messages, kind, field, dtype)
    zeros = tf.fill(tf.concat([tf.shape(values)[:-1], [1]], axis=0), tf.zeros([], dtype))
    return tf.concat([values, zeros], axis=-1)[..., 0]
