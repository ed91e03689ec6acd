"""The input function of a model that is trained on arrays, as `fit` would take them.

The module that zoos get (see `elasticdl_nb.given.arrays`) imports `ArrayFunction` from here: this name must not change.
"""

from pathlib import Path

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model import batched
from elasticdl_nb.tables.arrayrecord import leaves, read_record, rebuilt


@batched
class ArrayFunction:
    """Gives the model the arrays of n records, nested as they were given."""

    __name__ = "the arrays' input function"

    def __init__(self, record):
        self.record = record

    @classmethod
    def read(cls, path):
        """Return the function of the record in this file; raises RecordError."""
        return cls(read_record(Path(path).read_bytes()))

    def __call__(self, columns, mode):
        """Turn columns [n, …] into features, labels and weights: those that there are, and that the mode needs."""
        record = self.record
        features = self._part(record.features, columns)
        if mode == Mode.PREDICTION or record.labels is None:
            # In a tuple of its own, as a model may take a tuple.
            return (features,) if isinstance(features, tuple) else features
        made = (features, self._part(record.labels, columns))
        has_weights = record.weights is not None and all(name in columns for name in leaves(record.weights))
        return (*made, self._part(record.weights, columns)) if has_weights else made

    def _part(self, structure, columns):
        if absent := [name for name in leaves(structure) if name not in columns]:
            raise ModelError(f"the data has no array {' and '.join(map(repr, absent))}, which the model needs")
        return _without_lists(rebuilt(structure, lambda name: _as_fit(columns[name])))


def _without_lists(arrays):
    """Return the arrays with tuples for lists, of which datasets would make one tensor; to Keras, they are the same."""
    if isinstance(arrays, dict):
        return {name: _without_lists(one) for name, one in arrays.items()}
    return tuple(map(_without_lists, arrays)) if isinstance(arrays, (list, tuple)) else arrays


def _as_fit(values):
    """Return numbers as `fit` hands them to a model: it makes all floats those that Keras computes with."""
    floating = values.dtype.is_floating and values.dtype.name != keras.config.floatx()
    return tf.cast(values, keras.config.floatx()) if floating else values
