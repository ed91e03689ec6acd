"""Preprocessing in a worker: turns batches of a table's columns into the tensors that `tablelayers` takes.

The model's record says what to do with each column: see `elasticdl_nb.tables.featurerecord`.
"""

import tensorflow as tf

from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.sql.zoo.tablelayers import Places
from elasticdl_nb.tables.zoo.columnvalues import ColumnValues


class TableInput:
    """Turns columns [n] into the tensors that `FeatureModel` takes, and the label [n, 1].

    Tensors: "numbers" float [n, a], "ids" int [n, b], and for features with several ids per row "ids_K" int [n,
    most] (-1 where there are fewer) with "weights_K" float [n, most], where K is the feature's place.
    """

    def __init__(self, features, kinds, label):
        self.places = Places(features)
        self.label = label
        self._values = ColumnValues(kinds)

    def __call__(self, columns, mode):
        """Return the features, and the label unless the mode is prediction."""
        made = {}
        numbers = [self._values.number(feature, columns) for feature in self.places.numbers]
        if numbers:
            made["numbers"] = tf.concat(numbers, axis=1)
        single = [self._values.ids(feature.source, columns) for feature in self.places.single]
        if single:
            made["ids"] = tf.stack([tf.cast(ids, tf.int32) for ids in single], axis=1)
        for place, feature in self.places.several:
            ids, weights = self._values.several(feature.source, columns)
            made[f"ids_{place}"], made[f"weights_{place}"] = tf.cast(ids, tf.int32), weights
        if mode == Mode.PREDICTION:
            return made
        return made, self._label(columns)

    # ------------------------------------------------------------ the label

    def _label(self, columns):
        column = columns[self.label.column]
        classes = self.label.classes
        if classes is None:
            wanted = tf.int64 if self.label.kind == "integer" and self.label.task == "" else tf.float32
            return tf.reshape(tf.cast(column, wanted), [-1, 1])
        numbers = self._values.classes(column, classes)
        check = tf.debugging.assert_greater_equal(
            numbers,
            0,
            f"{self.label.column} has a value that is not one of the classes that the model was trained with",
        )
        with tf.control_dependencies([check]):
            return tf.reshape(tf.identity(numbers), [-1, 1])
