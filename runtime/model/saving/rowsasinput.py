"""The SavedModel of a model whose tables are too large for one: its rows are inputs.

It has two signatures. `ids` takes the features, and returns for every lookup k of the model `ids_k`, int64 [n].
`serving_default` also takes `rows_k`, float32 [n, dim], the rows of these ids, and returns the outputs.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.model.embeddings.served import ServedLayer, ServedLayers
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.forms import form_of

INPUT = "inputs"
"""What features are called that have no names."""


class _Ids:
    """Notes the ids of every lookup; its rows are zeros."""

    def __init__(self) -> None:
        self.ids: list[tf.Tensor] = []
        self.dims: list[int] = []

    def rows(self, layer: ServedLayer, ids: tf.Tensor) -> tf.Tensor:
        self.ids.append(ids)
        self.dims.append(layer.dim)
        return tf.zeros([tf.size(ids), layer.dim])


class _Given:
    """Gives every lookup the rows that are inputs."""

    def __init__(self, rows: Mapping[str, tf.Tensor]) -> None:
        self._rows, self._count = rows, 0

    def rows(self, layer: ServedLayer, ids: tf.Tensor) -> tf.Tensor:
        self._count += 1
        return self._rows[f"rows_{self._count - 1}"]


def export_with_rows(loaded: LoadedModel, layers: ServedLayers, target: str) -> None:
    """Write the SavedModel; raises whatever the model's code and Keras raise."""
    form = form_of(loaded)
    named = isinstance(form, Mapping)
    features = {name: _named(name, one) for name, one in (form.items() if named else [(INPUT, form)])}

    def call(given: Mapping[str, Any]) -> Any:
        return loaded.call_model({name: given[name] for name in features} if named else given[INPUT], training=False)

    def ids(given: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        found = _Ids()
        with layers.tracing(found):
            call(given)
        dims[:] = found.dims
        return {f"ids_{number}": one for number, one in enumerate(found.ids)}

    dims: list[int] = []
    tf.function(ids).get_concrete_function(features)
    rows = {
        f"rows_{number}": _named(f"rows_{number}", tf.TensorSpec([None, dim], tf.float32))
        for number, dim in enumerate(dims)
    }

    def serve(given: Mapping[str, Any]) -> Any:
        with layers.tracing(_Given(given)):
            return call(given)

    archive = keras.export.ExportArchive()
    archive.track(loaded.model)
    archive.add_endpoint("ids", ids, input_signature=[features])
    archive.add_endpoint("serving_default", serve, input_signature=[{**features, **rows}])
    archive.write_out(target, verbose=False)


def _named(name: str, spec: Any) -> Any:
    """Return a spec by whose name the SavedModel calls its input."""
    return tf.TensorSpec(spec.shape, spec.dtype, name) if isinstance(spec, tf.TensorSpec) else spec
