"""`keras.layers.DenseFeatures`: the layer that computes `tf.feature_column` columns. Keras 3 has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

_columns: Any = tf.__internal__.feature_column


@keras.saving.register_keras_serializable(package="elasticdl_nb")
class DenseFeatures(keras.layers.Layer):  # type: ignore[misc]
    """Turns a dict of features into one dense tensor, float32 [n, width], as its feature columns say.

    Columns are put side by side in the order of their names. The tables of embedding columns are weights of the layer.
    Features are of any number, [n] or [n, …], dense or sparse; those that no column names are ignored.
    """

    def __init__(self, feature_columns: Any, trainable: bool = True, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(trainable=trainable, name=name, **kwargs)
        self._feature_columns = _in_order(feature_columns)
        self._state = _State(self)
        self.autocast = False

    def build(self, input_shape: Any = None) -> None:
        """Create the weights; see `keras.layers.Layer`."""
        for column in self._feature_columns:
            column.create_state(self._state)
        self.built = True

    def call(self, features: Mapping[str, Any], cols_to_output_tensors: Any = None) -> Any:
        """Return the columns of these features; `cols_to_output_tensors`, a dict, gets the tensor of each column."""
        if not isinstance(features, Mapping):
            raise ModelError(f"DenseFeatures {self.name} needs a dict of features; it got {type(features).__name__}")
        cache = _columns.FeatureTransformationCache(features)
        outputs = []
        for column in self._feature_columns:
            tensor = column.get_dense_tensor(cache, self._state)
            width = column.variable_shape.num_elements()
            tensor = tf.reshape(tensor, tf.stack([tf.shape(tensor)[0], width]))
            tensor = tf.ensure_shape(tensor, [None, width])
            if cols_to_output_tensors is not None:
                cols_to_output_tensors[column] = tensor
            outputs.append(tensor)
        return tf.concat(outputs, -1)

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer`."""
        from tensorflow.python.feature_column import serialization

        columns = serialization.serialize_feature_columns(self._feature_columns)
        return {**super().get_config(), "feature_columns": columns}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DenseFeatures:
        """See `keras.layers.Layer`."""
        from tensorflow.python.feature_column import serialization

        columns = serialization.deserialize_feature_columns(config["feature_columns"])
        return cls(**{**config, "feature_columns": columns})


class _State(_columns.StateManager):  # type: ignore[misc]
    """What TensorFlow's columns keep between calls, kept by the layer."""

    def __init__(self, layer: DenseFeatures) -> None:
        self._layer = layer
        self._variables: dict[tuple[Any, str], Any] = {}
        self._resources: dict[tuple[Any, str], Any] = {}

    def create_variable(
        self,
        feature_column: Any,
        name: str,
        shape: Any,
        dtype: Any = None,
        trainable: bool = True,
        use_resource: bool = True,
        initializer: Any = None,
    ) -> Any:
        variable = self._layer.add_weight(
            name=f"{feature_column.name}_{name}".replace("/", "_"),
            shape=tuple(shape),
            dtype=None if dtype is None else tf.as_dtype(dtype).name,
            initializer=initializer,
            trainable=trainable,
        )
        self._variables[feature_column, name] = variable
        return variable.value

    def get_variable(self, feature_column: Any, name: str) -> Any:
        return self._variables[feature_column, name].value

    def add_resource(self, feature_column: Any, name: str, resource: Any) -> None:
        self._resources[feature_column, name] = resource
        # A SavedModel holds what the layer has as an attribute.
        setattr(self._layer, f"_resource_{len(self._resources)}", resource)

    def has_resource(self, feature_column: Any, name: str) -> bool:
        return (feature_column, name) in self._resources

    def get_resource(self, feature_column: Any, name: str) -> Any:
        return self._resources[feature_column, name]


def _in_order(given: Any) -> list[Any]:
    columns = list(given.values()) if isinstance(given, Mapping) else given
    columns = list(columns) if isinstance(columns, Iterable) and not hasattr(columns, "name") else [columns]
    if not columns:
        raise ModelError("DenseFeatures needs at least one feature column")
    for column in columns:
        if not isinstance(column, _columns.DenseColumn):
            raise ModelError(
                f"DenseFeatures: {getattr(column, 'name', column)!r} is {type(column).__name__}, which has no dense "
                "values; wrap it in tf.feature_column.embedding_column or indicator_column"
            )
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"DenseFeatures: several columns are named {', '.join(twice)}")
    return sorted(columns, key=lambda column: column.name)
