"""Calling a model with features that may be a dict although its `call` expects a tensor."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.model.loading.compiling import own_methods


class FeatureForm:
    """Decides once, with the first features, whether the model gets a one-key dict or its value."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        # Before it is built: afterwards, a Sequential has inputs, too.
        self._declares_inputs = bool(getattr(model, "inputs", None))
        self._key: str | None = None
        self._decided = False
        self._built_with: Any = None

    def build(self, spec: Any, batch: Any = None) -> None:
        """Create the model's variables for features of these TensorSpecs.

        Where the specs leave open what a layer must know, such as an image's channels, a batch of features tells.
        A model with a training step of its own may give `call` something else than features, or have no `call`: if all
        its layers are built, as `fit` asks as well, there is nothing to do.
        """
        self._decide(spec)
        self._built_with = self._pick(spec)
        try:
            self._try(self._built_with)
        except Exception:
            if "train_step" in own_methods(self._model) and _has_variables(self._model):
                self._built_with = None
                return
            if batch is None or not any(None in item.shape[1:] for item in tf.nest.flatten(spec) if item.shape.rank):
                raise
            self._try(tf.nest.map_structure(batch_spec, self._pick(batch)))

    def call(self, features: Any, training: bool) -> Any:
        """Return the model's outputs for a batch of features."""
        return self._model(self.picked(features), training=training)

    def picked(self, features: Any) -> Any:
        """Return what the model gets of a batch of features: all, or the only value of a dict."""
        if features is None:
            return None
        if not self._decided:
            self._decide(tf.nest.map_structure(batch_spec, features))
        return self._pick(features)

    def signature(self) -> Any:
        """Return the TensorSpecs, for any number of records, that the model was built for; None if it declares its own.

        What Keras would record for a subclassed model is float32, whatever it was given, which would corrupt
        identifiers beyond 2**24.
        """
        if self._built_with is None or self._declares_inputs:
            return None
        return tf.nest.map_structure(lambda spec: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype), self._built_with)

    def _pick(self, features: Any) -> Any:
        return features if self._key is None else features[self._key]

    def _decide(self, spec: Any) -> None:
        if isinstance(spec, Mapping) and len(spec) == 1:
            key = next(iter(spec))
            if not self._takes_dict(spec, key):
                self._key = key
        self._decided = True

    def _takes_dict(self, spec: Any, key: str) -> bool:
        if isinstance(self._model, keras.Sequential):
            return False
        if getattr(self._model, "inputs", None):
            return isinstance(self._model.input, Mapping)
        # A subclassed model: only calling it tells. Any error means that it does not take the dict; if it does not
        # take the value either, that call's error is the one to show.
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._try(spec)
        except Exception:
            try:
                self._try(spec[key])
            except Exception:
                return True
            return False
        return True

    def _try(self, spec: Any) -> None:
        """Trace one call; the graph is discarded, the variables stay. A model run in Python gets blank records."""
        if self._model.run_eagerly:
            self._model(tf.nest.map_structure(blank, spec), training=False)
            return
        tf.function(lambda features: self._model(features, training=False)).get_concrete_function(spec)


def _has_variables(model: keras.Model) -> bool:
    layers = model._flatten_layers(include_self=False)
    return all(layer.built for layer in layers)


def blank(spec: Any) -> Any:
    """Return a tensor of this form without content: one record, unless the form says how many."""
    shape = [size or 1 for size in spec.shape]
    if isinstance(spec, tf.SparseTensorSpec):
        return tf.sparse.from_dense(tf.zeros(shape, spec.dtype))
    if isinstance(spec, tf.RaggedTensorSpec):
        return tf.RaggedTensor.from_tensor(tf.zeros(shape, spec.dtype), ragged_rank=spec.ragged_rank)
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)


def batch_spec(tensor: Any) -> Any:
    """Return the form of a batch's tensor, for batches of any size."""
    if isinstance(tensor, (tf.SparseTensor, tf.RaggedTensor)):
        return tf.type_spec_from_value(tensor)
    tensor = tf.convert_to_tensor(tensor)
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
