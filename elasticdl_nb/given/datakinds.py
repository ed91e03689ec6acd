"""What kind of data a value is: arrays and datasets as `fit` takes them, a frame, or neither."""

from __future__ import annotations

import sys

from elasticdl_nb.tables.arrayrecord import leaves
from elasticdl_nb.tables.frames import is_frame

CURES = {
    "RaggedTensor": "make it dense with .to_tensor(), or use an input function",
    "SparseTensor": "make it dense with tf.sparse.to_dense, or use an input function",
    "csr_matrix": "make it dense with .toarray()",
}
CURES["csc_matrix"] = CURES["coo_matrix"] = CURES["csr_array"] = CURES["csr_matrix"]
"""Arrays whose records differ in length, by their type, and what to do with them."""


def is_arrays(value: object) -> bool:
    """Whether a value is what `fit` takes as x, or as (x, y) or (x, y, sample_weight), and is not a frame or paths."""
    if is_frame(value) or isinstance(value, str):
        return False
    if isinstance(value, tuple) and 2 <= len(value) <= 3 and is_frame(value[0]):
        return _is_array(value[1]) or _is_column(value[1])  # a frame, and a series of its labels
    if isinstance(value, (list, tuple, dict)):
        found = [item for item in leaves(value) if item is not None]
        # A dict of columns is what a frame becomes by dict(frame).
        of_columns = isinstance(value, dict) or (isinstance(value, tuple) and isinstance(value[0], dict))
        return bool(found) and all(_is_array(item) or (of_columns and _is_column(item)) for item in found)
    return _is_array(value) or is_dataset(value) or is_sequence(value)


def _is_array(value: object) -> bool:
    if isinstance(value, type) or is_frame(value):
        return False
    return hasattr(value, "__array__") or type(value).__name__ in CURES


def _is_column(value: object) -> bool:
    return is_frame(value) and getattr(value, "ndim", 1) == 1 and hasattr(value, "to_numpy")


def is_dataset(value: object) -> bool:
    """Whether a value is a `tf.data.Dataset`."""
    return hasattr(value, "element_spec") and hasattr(value, "as_numpy_iterator")


def is_sequence(value: object) -> bool:
    """Whether a value is a `keras.utils.PyDataset`."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.utils.PyDataset)
