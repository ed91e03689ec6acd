"""The form of a batch of features as text, so that a trained model can be built without data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


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
