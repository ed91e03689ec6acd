"""Columns of a table as numbers, ids and classes, in a worker.

`elasticdl_nb.tables.featurerecord` says what a feature is. A column is a tensor [n], as the readers of data make it:
missing numbers are NaN, and missing texts are empty.
"""

import numpy as np
import tensorflow as tf

_DAY = 86_400


class ColumnValues:
    """Computes features of columns; `kinds` has the kinds of the columns that the model was trained with."""

    def __init__(self, kinds):
        self.kinds = kinds
        self._tables = {}

    # ------------------------------------------------------------ numbers

    def number(self, feature, columns):
        """Return a number [n, size], standardized; the mean, which is 0, where it is missing or infinite."""
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
            wrong = (texts.row_lengths() != size) & (tf.strings.strip(column) != "")
            expected = f"column {feature.column!r} has a text or list without exactly {size} values:"
            right = tf.debugging.Assert(~tf.reduce_any(wrong), [expected, tf.boolean_mask(column, wrong)[:1]])
            with tf.control_dependencies([right] if right is not None else []):
                texts = texts.to_tensor("", shape=[None, size])
        texts = tf.ensure_shape(tf.strings.strip(texts), [None, size])
        values = tf.strings.to_number(tf.where(texts == "", "nan", texts), tf.float64)
        values = (values - feature.mean) / feature.deviation
        return tf.cast(tf.where(tf.math.is_finite(values), values, 0.0), tf.float32)

    # ------------------------------------------------------------ categories

    def ids(self, source, columns):
        """Return an id for each row [n]."""
        if source.ids == "cross":
            keys = [tf.strings.as_string(self.ids(inner, columns)) for inner in source.sources]
            return tf.strings.to_hash_bucket_fast(tf.strings.join(keys, "_X_"), source.buckets)
        column = columns[source.column]
        if source.ids == "bucket":
            return _bucket(column, source.boundaries)
        if source.ids == "identity" and column.dtype != tf.string:
            return _identity(tf.cast(column, tf.float64), source.buckets)
        return self._of_text(source, self.text(source.column, column))

    def several(self, source, columns):
        """Return ids [n, most], -1 where a row has fewer, and their weights."""
        texts = tf.strings.split(self.text(source.column, columns[source.column]), source.delimiter)
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

    def text(self, name, column):
        """Return the column as texts, "" where the value is missing."""
        if column.dtype == tf.string:
            return column
        # Columns of these kinds are floats only where values are missing; a value's text must be the same there.
        if column.dtype.is_floating and self.kinds.get(name) in ("integer", "boolean", "date", "timestamp"):
            known = tf.math.is_finite(column)
            whole = tf.cast(tf.where(known, column, tf.zeros_like(column)), tf.int64)
            return tf.where(known, tf.strings.as_string(whole), "")
        if column.dtype == tf.bool:
            column = tf.cast(column, tf.int64)
        texts = tf.strings.as_string(column)
        return tf.where(tf.math.is_finite(column), texts, "") if column.dtype.is_floating else texts

    # ------------------------------------------------------------ classes

    def classes(self, column, classes):
        """Return the place of each value [n] among these classes, int32, or -1 for a value that is not among them."""
        if column.dtype == tf.string:
            return tf.cast(self._table(classes).lookup(column), tf.int32) - 2
        values = tf.cast(column, tf.float64)
        known = tf.constant([float(value) for value in classes], tf.float64)
        place = tf.minimum(tf.searchsorted(known, values), len(classes) - 1)
        return tf.where(tf.gather(known, place) == values, place, -1)


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
