"""Will this flight arrive more than 15 minutes late? A wide and deep model that uses only its schedule.

Data: the columns of nycflights13's table of flights, as Parquet or a frame. Only what is known when a ticket is sold is
used: carrier, airports, date, scheduled times and distance. The label comes from `arr_delay`, in minutes; rows without
it (cancelled flights) must be left out of the training data.
"""

import keras
import tensorflow as tf

from elasticdl_nb import Mode, batched

LATE_MINUTES = 15
# Numbers of possible codes. Strings are hashed, which needs no vocabulary; 16 carriers, 3 origins and 105 destinations
# lead to few collisions.
SIZES = {"carrier": 256, "origin": 16, "dest": 1024, "month": 13, "weekday": 7, "hour": 24}
CROSSES = (("carrier", "hour"), ("carrier", "dest"), ("origin", "dest"), ("dest", "month"), ("month", "hour"))
CROSS_SIZE = 20_000
NUMBERS = 5


def custom_model(hidden_units=(64, 32), embedding_dim=8):
    """{"codes": [n, 6], "crosses": [n, 5], "numbers": [n, 5]} in, logits [n, 1] out."""
    codes = keras.Input((len(SIZES),), dtype="int32", name="codes")
    crosses = keras.Input((len(CROSSES),), dtype="int32", name="crosses")
    numbers = keras.Input((NUMBERS,), name="numbers")
    # One table for all codes, and one for all crosses, as their ids do not overlap.
    embedded = keras.layers.Embedding(sum(SIZES.values()), embedding_dim, name="codes_embedding")(codes)
    deep = keras.layers.Concatenate()([keras.layers.Flatten()(embedded), numbers])
    for units in hidden_units:
        deep = keras.layers.Dense(units, activation="relu")(deep)
    weights = keras.layers.Embedding(CROSS_SIZE, 1, embeddings_initializer="zeros", name="wide")(crosses)
    logits = keras.layers.Dense(1)(deep) + keras.ops.sum(weights, axis=1)
    inputs = {"codes": codes, "crosses": crosses, "numbers": numbers}
    return keras.Model(inputs, logits, name="flights_wide_and_deep")


@batched
def input_fn(columns, mode):
    """Turn columns [n] into the model's inputs, and lateness [n, 1] as 0 or 1."""
    hour, minute = _clock(columns["sched_dep_time"])
    arrival_hour, arrival_minute = _clock(columns["sched_arr_time"])
    codes = {
        "carrier": tf.strings.to_hash_bucket_fast(columns["carrier"], SIZES["carrier"]),
        "origin": tf.strings.to_hash_bucket_fast(columns["origin"], SIZES["origin"]),
        "dest": tf.strings.to_hash_bucket_fast(columns["dest"], SIZES["dest"]),
        "month": _whole(columns["month"]),
        "weekday": _weekday(_whole(columns["year"]), _whole(columns["month"]), _whole(columns["day"])),
        "hour": hour % 24,
    }
    offsets = [sum(list(SIZES.values())[:index]) for index in range(len(SIZES))]
    crosses = [
        (codes[one] * 1_000_003 + codes[two] * 7_919 + number * 104_729) % CROSS_SIZE
        for number, (one, two) in enumerate(CROSSES)
    ]
    departure, arrival = hour * 60 + minute, arrival_hour * 60 + arrival_minute
    distance = tf.cast(columns["distance"], tf.float32) / 1000.0
    features = {
        "codes": tf.cast(tf.stack(list(codes.values()), axis=1) + offsets, tf.int32),
        "crosses": tf.cast(tf.stack(crosses, axis=1), tf.int32),
        "numbers": tf.stack(
            [_of_day(departure), _of_day(arrival), _of_day((arrival - departure) % 1440), distance, distance**2], axis=1
        ),
    }
    if mode == Mode.PREDICTION:
        return features
    late = tf.cast(columns["arr_delay"], tf.float32) > LATE_MINUTES
    return features, tf.cast(late, tf.float32)[:, tf.newaxis]


def _whole(column):
    return tf.cast(column, tf.int64)


def _clock(column):
    """Hour and minute of times written like 1545."""
    time = _whole(column)
    return time // 100, time % 100


def _of_day(minutes):
    return tf.cast(minutes, tf.float32) / 1440.0


def _weekday(year, month, day):
    """Day of the week, 0 for Sunday, by Sakamoto's method, without a lookup."""
    year -= tf.cast(month < 3, tf.int64)
    shift = tf.gather(tf.constant([0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4], tf.int64), month - 1)
    return (year + year // 4 - year // 100 + year // 400 + shift + day) % 7


def loss(labels, output):
    """Cross-entropy of the logits `output` [n, 1] and the labels [n, 1]."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=output)


def optimizer(lr=0.001):
    """Adam."""
    return keras.optimizers.Adam(lr)


def eval_metrics_fn():
    """The area under the ROC curve, and the share of flights predicted correctly."""
    return {
        "auc": keras.metrics.AUC(from_logits=True),
        "accuracy": keras.metrics.BinaryAccuracy(threshold=0.0),
    }
