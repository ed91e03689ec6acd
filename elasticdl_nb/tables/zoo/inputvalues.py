"""Computes what the inputs of a model get, as `elasticdl_nb.tables.matching` has planned it."""

import tensorflow as tf

from elasticdl_nb.tables.featurerecord import Category
from elasticdl_nb.tables.matching import categories, scale_of
from elasticdl_nb.tables.zoo.columnvalues import ColumnValues


class InputValues(ColumnValues):
    """Values of columns as a model's inputs [n, width], and as its label [n, 1]."""

    def of(self, plan, columns):
        """Return what one input gets."""
        target, column = plan.target, plan.column
        if plan.form == "text":
            made = self.text(column.name, columns[column.name])[:, tf.newaxis]
        elif plan.form == "ids":
            made = tf.cast(self.ids(column.category.source, columns), target.dtype)[:, tf.newaxis]
        elif plan.form == "whole":
            made = self._whole(column, columns, target.dtype)
        elif plan.form == "number":
            made = self._of_slot(column.number, columns, raw=target.raw)
        else:
            made = tf.concat([self._slot(slot, columns, raw=target.raw) for slot in plan.slots], axis=1)
        return made if made.dtype == tf.string else tf.cast(made, target.dtype)

    def _slot(self, slot, columns, *, raw):
        feature = slot.feature
        if not isinstance(feature, Category):
            return self._of_slot(feature, columns, raw=raw)
        ids = self.ids(feature.source, columns)
        if not slot.one_hot:
            scale = scale_of(slot)
            numbers = tf.cast(ids, tf.float32)[:, tf.newaxis]
            return numbers if raw else (numbers - scale.mean) / scale.deviation
        # Unseen values, and missing ones without a place of their own, are zeros: nothing was learnt about them.
        hashed = feature.source.ids == "hash"
        made = tf.one_hot(ids if hashed else ids - 2, categories(feature))
        if not slot.missing:
            return made
        absent = ids == feature.source.buckets if hashed else ids == 0
        return tf.concat([made, tf.cast(absent, tf.float32)[:, tf.newaxis]], axis=1)

    def _of_slot(self, feature, columns, *, raw):
        if not raw:
            return self.number(feature, columns)
        values = tf.cast(columns[feature.column], tf.float64)[:, tf.newaxis]
        return tf.cast(tf.where(tf.math.is_finite(values), values, feature.mean), tf.float32)

    @staticmethod
    def _whole(column, columns, dtype):
        values = columns[column.name][:, tf.newaxis]
        if values.dtype.is_floating:
            values = tf.round(tf.where(tf.math.is_finite(values), values, tf.cast(column.number.mean, values.dtype)))
        return tf.cast(values, dtype)

    # ------------------------------------------------------------ the label

    def label(self, columns, label, form):
        """Return the label [n, 1], or [n, classes] if it is one-hot, in a form of `labelform`."""
        column = columns[label.column]
        if form in ("number", "whole"):
            values = tf.cast(column, tf.float64)
            known = tf.reduce_all(tf.math.is_finite(values))
            with tf.control_dependencies([tf.debugging.Assert(known, [f"{label.column} is missing in some records"])]):
                return tf.cast(values, tf.float32 if form == "number" else tf.int32)[:, tf.newaxis]
        numbers = self.classes(column, label.classes)
        check = tf.debugging.assert_greater_equal(
            numbers, 0, f"{label.column} is missing, or not one of the classes that the model was trained with"
        )
        with tf.control_dependencies([check]):
            numbers = tf.identity(numbers)
        if form == "one_hot":
            return tf.one_hot(numbers, len(label.classes))
        return tf.cast(numbers, tf.float32 if form == "binary" else tf.int32)[:, tf.newaxis]
