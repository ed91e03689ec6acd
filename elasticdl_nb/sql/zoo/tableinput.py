"""Preprocessing in a worker: turns batches of a table's columns into the tensors that `tablelayers` takes.

The model's record says what to do with each column: see `elasticdl_nb.sql.record.featurerecord`.
"""

import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.sql.zoo.tablelayers import Places

_DAY = 86_400


class TableInput:
    """Turns columns [n] into the tensors that `FeatureModel` takes, and the label [n, 1].

    Tensors: "numbers" float [n, a], "ids" int [n, b], and for features with several ids per row "ids_K" int [n,
    most] (-1 where there are fewer) with "weights_K" float [n, most], where K is the feature's place.
    """

    def __init__(self, features, kinds, label):
        self.places = Places(features)
        self.kinds = kinds
        self.label = label
        self._tables = {}

    def __call__(self, columns, mode):
        """Return the features, and the label unless the mode is prediction."""
        made = {}
        numbers = [self._number(feature, columns) for feature in self.places.numbers]
        if numbers:
            made["numbers"] = tf.concat(numbers, axis=1)
        single = [self._ids(feature.source, columns) for feature in self.places.single]
        if single:
            made["ids"] = tf.stack([tf.cast(ids, tf.int32) for ids in single], axis=1)
        for place, feature in self.places.several:
            ids, weights = self._several(feature.source, columns)
            made[f"ids_{place}"], made[f"weights_{place}"] = tf.cast(ids, tf.int32), weights
        if mode == Mode.PREDICTION:
            return made
        return made, self._label(columns)

    # ------------------------------------------------------------ numbers

    def _number(self, feature, columns):
        column = columns[feature.column]
        if feature.delimiter or column.dtype == tf.string:
            return self._listed(feature, column)
        if column.shape.rank == 1:
            column = column[:, tf.newaxis]
        values = tf.cast(column, tf.float64)
        if feature.part:
            values = _part(values, feature.part)
        values = (values - feature.mean) / feature.deviation
        return tf.cast(tf.where(tf.math.is_finite(values), values, 0.0), tf.float32)

    def _listed(self, feature, column):
        size = feature.size
        texts = tf.strings.split(column, feature.delimiter) if feature.delimiter else column[:, tf.newaxis]
        if isinstance(texts, tf.RaggedTensor):
            texts = texts.to_tensor("", shape=[None, size])
        texts = tf.ensure_shape(tf.strings.strip(texts), [None, size])
        values = tf.strings.to_number(tf.where(texts == "", "nan", texts), tf.float64)
        values = (values - feature.mean) / feature.deviation
        return tf.cast(tf.where(tf.math.is_finite(values), values, 0.0), tf.float32)

    # ------------------------------------------------------------ categories

    def _ids(self, source, columns):
        """Return an id for each row [n]."""
        if source.ids == "cross":
            keys = [tf.strings.as_string(self._ids(inner, columns)) for inner in source.sources]
            return tf.strings.to_hash_bucket_fast(tf.strings.join(keys, "_X_"), source.buckets)
        column = columns[source.column]
        if source.ids == "bucket":
            return _bucket(column, source.boundaries)
        if source.ids == "identity" and column.dtype != tf.string:
            return _identity(tf.cast(column, tf.float64), source.buckets)
        return self._of_text(source, self._text(source.column, column))

    def _several(self, source, columns):
        """Return ids [n, most], -1 where a row has fewer, and their weights."""
        texts = tf.strings.split(self._text(source.column, columns[source.column]), source.delimiter)
        items = tf.strings.strip(texts.flat_values)
        if source.pair_delimiter:
            pairs = tf.strings.split(items, source.pair_delimiter, maxsplit=1).to_tensor("", shape=[None, 2])
            items, numbers = tf.strings.strip(pairs[:, 0]), tf.strings.strip(pairs[:, 1])
            weights = tf.strings.to_number(tf.where(numbers == "", "1", numbers), tf.float32)
        else:
            weights = tf.ones_like(items, tf.float32)
        # A missing value, or a delimiter at the end, leaves an empty text, which is not an item.
        ids = tf.where(items == "", tf.constant(-1, tf.int64), tf.cast(self._of_text(source, items), tf.int64))
        return (
            texts.with_flat_values(ids).to_tensor(-1),
            texts.with_flat_values(tf.where(items == "", 0.0, weights)).to_tensor(0.0),
        )

    def _of_text(self, source, texts):
        if source.ids == "vocabulary":
            found = self._table(source.terms).lookup(texts)
            return tf.where(texts == "", tf.zeros_like(found), found)
        if source.ids == "identity":
            return _identity(tf.strings.to_number(tf.where(texts == "", "nan", texts), tf.float64), source.buckets)
        hashed = tf.strings.to_hash_bucket_fast(texts, source.buckets)
        return tf.where(texts == "", tf.fill(tf.shape(hashed), tf.constant(source.buckets, tf.int64)), hashed)

    def _table(self, terms):
        key = id(terms)
        if key not in self._tables:
            with tf.init_scope():
                keys = tf.constant(terms or [""], tf.string)  # a table cannot be empty
                places = tf.range(2, len(keys) + 2, dtype=tf.int64)
                initializer = tf.lookup.KeyValueTensorInitializer(keys, places)
                self._tables[key] = tf.lookup.StaticHashTable(initializer, default_value=1)
        return self._tables[key]

    def _text(self, name, column):
        """Return the column as texts, "" where the value is missing."""
        if column.dtype == tf.string:
            return column
        if column.dtype.is_floating and self.kinds.get(name) in ("integer", "boolean"):
            known = tf.math.is_finite(column)
            whole = tf.cast(tf.where(known, column, tf.zeros_like(column)), tf.int64)
            return tf.where(known, tf.strings.as_string(whole), "")
        if column.dtype == tf.bool:
            column = tf.cast(column, tf.int64)
        texts = tf.strings.as_string(column)
        return tf.where(tf.math.is_finite(column), texts, "") if column.dtype.is_floating else texts

    # ------------------------------------------------------------ the label

    def _label(self, columns):
        column = columns[self.label.column]
        classes = self.label.classes
        if classes is None:
            wanted = tf.int64 if self.label.kind == "integer" and self.label.task == "" else tf.float32
            return tf.reshape(tf.cast(column, wanted), [-1, 1])
        if column.dtype == tf.string:
            numbers = tf.cast(self._table(classes).lookup(column), tf.int32) - 2
        else:
            values = tf.cast(column, tf.float64)
            known = tf.constant([float(value) for value in classes], tf.float64)
            place = tf.minimum(tf.searchsorted(known, values), len(classes) - 1)
            numbers = tf.where(tf.gather(known, place) == values, place, -1)
        check = tf.debugging.assert_greater_equal(
            numbers,
            0,
            f"{self.label.column} has a value that is not one of the classes that the model was trained with",
        )
        with tf.control_dependencies([check]):
            return tf.reshape(tf.identity(numbers), [-1, 1])


def _bucket(column, boundaries):
    values = tf.strings.to_number(column, tf.float64) if column.dtype == tf.string else tf.cast(column, tf.float64)
    found = tf.searchsorted(tf.constant(boundaries, tf.float64), values, side="right")
    return tf.cast(tf.where(tf.math.is_nan(values), len(boundaries) + 1, found), tf.int64)


def _identity(values, buckets):
    possible = tf.logical_and(values >= 0, values < buckets)
    return tf.cast(tf.where(possible, values, float(buckets)), tf.int64)


def _part(seconds, part):
    """Return a part of moments in seconds since 1970, UTC; NaN where they are missing."""
    if part == "time":
        return seconds
    known = tf.math.is_finite(seconds)
    whole = tf.cast(tf.where(known, seconds, 0.0), tf.int64)
    days = whole // _DAY
    if part == "hour":
        value = (whole % _DAY) // 3600
    elif part == "weekday":
        value = (days + 4) % 7
    else:
        month, day = _month_and_day(days)
        value = month if part == "month" else day
    return tf.where(known, tf.cast(value, tf.float64), np.nan)


def _month_and_day(days):
    """Return month and day for days since 1970: H. Hinnant, "chrono-compatible low-level date algorithms"."""
    of_era = (days + 719_468) % 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    return shifted + tf.where(shifted < 10, tf.constant(3, tf.int64), -9), of_year - (153 * shifted + 2) // 5 + 1
