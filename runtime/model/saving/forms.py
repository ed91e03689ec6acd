"""The form of a batch of features as text, so that a trained model can be built without data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

if TYPE_CHECKING:
    from elasticdl_nb.runtime.model.loading.loader import LoadedModel


def form_to_json(spec: Any) -> str:
    """Return TensorSpecs as JSON text for `form_from_json`; "" if one of them is not a dense tensor's."""
    parts = [] if spec is None else tf.nest.flatten(spec)
    dense = all(type(one) is tf.TensorSpec and one.shape.rank is not None for one in parts)
    return json.dumps(_plain(spec)) if parts and dense else ""


def _plain(spec: Any) -> Any:
    if isinstance(spec, Mapping):
        return {"of": {name: _plain(one) for name, one in spec.items()}}
    if isinstance(spec, (list, tuple)):
        return [_plain(one) for one in spec]
    return {"shape": [None, *spec.shape.as_list()[1:]], "dtype": spec.dtype.name}


def form_from_json(text: str) -> Any:
    """Return the TensorSpecs that `form_to_json` wrote; tuples are lists."""
    return _specs(json.loads(text))


def _specs(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_specs(one) for one in plain]
    if "of" in plain:
        return {name: _specs(one) for name, one in plain["of"].items()}
    return tf.TensorSpec(plain["shape"], tf.as_dtype(plain["dtype"]))


def form_of(loaded: LoadedModel) -> Any:
    """Return the TensorSpecs of the features that a built model takes; raises ModelError if they are not known."""
    if loaded.signature is not None:
        return loaded.signature
    declared = getattr(loaded.model, "input", None)
    parts = [] if declared is None else tf.nest.flatten(declared)
    if not parts or any(getattr(one, "sparse", False) or getattr(one, "ragged", False) for one in parts):
        raise ModelError("the form of the model's features is not known, or they are not dense")
    return tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, tf.as_dtype(one.dtype)), declared)
