"""`concatenated_categorical_column`: one column of ids from several, to embed them all with one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import tensorflow as tf
from tensorflow.python.feature_column import feature_column_v2, serialization

from elasticdl_nb.runtime.errors import ModelError

__all__ = ["ConcatenatedCategoricalColumn", "concatenated_categorical_column"]


def concatenated_categorical_column(categorical_columns: Sequence[Any]) -> ConcatenatedCategoricalColumn:
    """Return a column with the ids of all these categorical columns, each column's in a range of its own.

    Raises ModelError if there are none, or if one is not categorical.
    """
    if not isinstance(categorical_columns, (list, tuple)) or not categorical_columns:
        raise ModelError("concatenated_categorical_column needs a list of at least one categorical column")
    for column in categorical_columns:
        if not isinstance(column, feature_column_v2.CategoricalColumn):
            raise ModelError(f"concatenated_categorical_column: {column!r} is not a categorical column")
    return ConcatenatedCategoricalColumn(tuple(categorical_columns))


@serialization.register_feature_column
@dataclass(frozen=True)
class ConcatenatedCategoricalColumn(feature_column_v2.CategoricalColumn):  # type: ignore[misc]
    """See `concatenated_categorical_column`."""

    categorical_columns: tuple[Any, ...]

    @property
    def _is_v2_column(self) -> bool:
        return True

    @property
    def name(self) -> str:
        """The names of the columns, joined."""
        return "_C_".join(sorted(column.name for column in self.categorical_columns))

    @property
    def num_buckets(self) -> int:
        """The number of different ids."""
        return int(sum(column.num_buckets for column in self.categorical_columns))

    @property
    def parents(self) -> list[Any]:
        """The columns."""
        return list(self.categorical_columns)

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        """How the columns' features are parsed."""
        return {name: how for column in self.categorical_columns for name, how in column.parse_example_spec.items()}

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        """Return the ids as a sparse int64 tensor [n, m]."""
        counts = [column.num_buckets for column in self.categorical_columns]
        moved = []
        for column, offset in zip(self.categorical_columns, accumulate([0, *counts[:-1]]), strict=True):
            ids = column.get_sparse_tensors(transformation_cache, state_manager).id_tensor
            moved.append(ids.with_values(tf.cast(ids.values, tf.int64) + offset))
        return tf.sparse.concat(-1, moved)

    def get_sparse_tensors(self, transformation_cache: Any, state_manager: Any) -> Any:
        """Return the ids, without weights."""
        ids = transformation_cache.get(self, state_manager)
        return feature_column_v2.CategoricalColumn.IdWeightPair(ids, None)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {"categorical_columns": [serialization.serialize_feature_column(c) for c in self.categorical_columns]}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None, columns_by_name: Any = None
    ) -> ConcatenatedCategoricalColumn:
        """Make the column that `get_config` describes."""
        columns = config["categorical_columns"]
        made = [serialization.deserialize_feature_column(c, custom_objects, columns_by_name) for c in columns]
        return cls(tuple(made))
