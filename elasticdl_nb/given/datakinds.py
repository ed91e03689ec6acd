"""What kind of data a value is: arrays and datasets as `fit` takes them, frames and paths, or nothing that a job takes.

In a tuple, frames are (x, y) as in `fit`, unless all have the same columns: then, and in lists, they are one table.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from elasticdl_nb.given.fed import Fed
from elasticdl_nb.tables.arrayrecord import leaves
from elasticdl_nb.tables.frames import column_names, is_frame

ACCEPTED = (
    "a frame, arrays such as (x, y), a tf.data.Dataset or keras.utils.PyDataset of batches, or a path, glob or URL"
)
CURES = {
    "RaggedTensor": "is a RaggedTensor, whose records differ in length; make it dense with .to_tensor(), or use an "
    "input function",
    "SparseTensor": "is a SparseTensor; make it dense with tf.sparse.to_dense, or use an input function",
}
"""What is wrong with arrays of these types, and what to do."""


def is_arrays(value: object) -> bool:
    """Whether a value is what `fit` takes as x, or as (x, y) or (x, y, sample_weight), and is not a frame or paths."""
    if is_frame(value) or isinstance(value, str):
        return False
    if not isinstance(value, (list, tuple, dict)) or sparse_kind(value):
        return _is_array(value) or is_dataset(value) or is_sequence(value)
    found = [item for item in leaves(value) if item is not None]
    if not all(_is_array(item) or is_frame(item) for item in found):
        return False
    if isinstance(value, dict):
        return bool(found) and all(_is_array(item) or _is_column(item) for item in found)
    if any(_is_array(item) for item in found):
        return True
    if not isinstance(value, tuple) or not 2 <= len(value) <= 3 or value[0] is None:
        return False
    # Frames, and containers of them: x and y, unless they are parts of one table.
    return any(not is_frame(part) for part in value) or len({tuple(column_names(part)) for part in value}) > 1


def refusal(value: object) -> str:
    """Return why a value that is not arrays is no data at all, and what would do; empty for frames and paths."""
    if value is None or isinstance(value, (str, os.PathLike, Fed)) or is_frame(value):
        return ""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    wrong = next((item for item in items if not (isinstance(item, (str, os.PathLike)) or is_frame(item))), None)
    if wrong is None:
        return _label_beside(items) if isinstance(value, tuple) else ""
    return f"{_described(value)}; expected {ACCEPTED}"


def _label_beside(items: list[Any]) -> str:
    if len(items) > 1 and is_frame(items[0]) and isinstance(items[1], str) and items[1] in column_names(items[0]):
        return f"a frame and the name of its column {items[1]!r}: give the frame alone, and that name with label"
    return ""


def _described(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        first = next((item for item in value if not _is_array(item) and not is_frame(item)), None)
        if isinstance(first, dict):
            return f"a {kind} of dicts: make it a frame, for example with pandas.DataFrame(…)"
        if isinstance(first, (list, tuple, int, float, bool)):
            return f"a {kind} with Python's own lists or numbers: make them arrays with numpy.array(…)"
        return f"a {kind} with an object of type {type(first).__name__}"
    if isinstance(value, dict):
        return "a dict whose values are not arrays: make it a frame with pandas.DataFrame(…), or its values arrays"
    if isinstance(value, type):
        return f"the class {value.__name__}, not an object of it"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}: give what it returns"
    if hasattr(value, "__next__"):
        return (
            f"a {kind}, which can be read only once: make it arrays, or a tf.data.Dataset, for example with "
            "tf.data.Dataset.from_generator"
        )
    return f"{value!r} is no data" if isinstance(value, (bool, int, float)) else f"an object of type {kind}"


# ------------------------------------------------------------------ kinds


def _is_array(value: object) -> bool:
    if isinstance(value, type) or is_frame(value):
        return False
    return hasattr(value, "__array__") or type(value).__name__ in CURES or bool(sparse_kind(value))


def _is_column(value: object) -> bool:
    return is_frame(value) and getattr(value, "ndim", 1) == 1 and hasattr(value, "to_numpy")


def sparse_kind(value: object) -> str:
    """Return the name of a SciPy sparse array's type; empty for anything else."""
    kind = type(value)
    return kind.__name__ if kind.__module__.startswith("scipy.sparse") else ""


def is_dataset(value: object) -> bool:
    """Whether a value is a `tf.data.Dataset`."""
    return hasattr(value, "element_spec") and hasattr(value, "as_numpy_iterator")


def is_sequence(value: object) -> bool:
    """Whether a value is a `keras.utils.PyDataset`."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.utils.PyDataset)
