"""How a trained model was put together, so that it can be made again without the code that made it.

That code may read files, which change or disappear. A model that it makes must have the blueprint of the trained one;
if it has another, or cannot be made, the blueprint makes the model. For workers: importing this module loads
TensorFlow.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras.src.layers.preprocessing.index_lookup import IndexLookup

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.losses import is_of_keras
from elasticdl_nb.runtime.model.saving.beginning import BLUEPRINT
from elasticdl_nb.runtime.model.saving.kept import own_attributes
from elasticdl_nb.runtime.model.saving.plain import NotPlainError, decode, decode_array, encode, encode_array, mentions

FILE = BLUEPRINT
"""The name of the file in the directory of a trained model."""
_DESCRIBED = (
    keras.layers.Layer, keras.initializers.Initializer, keras.regularizers.Regularizer, keras.losses.Loss,
    keras.metrics.Metric, keras.random.SeedGenerator,
)  # fmt: skip
"""What Keras can describe by configurations."""


def blueprint_of(model: keras.Model, root: str) -> str:
    """Return how a model from the zoo at `root` is put together, as JSON, or an empty string if it cannot say.

    Models of Keras' own classes say it in Keras' words. For a model of the user's class these are its attributes, so
    that it can be made without calling its constructor.
    """
    try:
        with _vocabularies_in_configs(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = _plan(model, set())
            text = json.dumps(plan)
    except Exception:  # a layer of the user's that does not describe itself: only its code can make it
        return ""
    return "" if root and mentions(plan, root) else text


def differs(text: str, other: str) -> bool:
    """Whether two blueprints are of models that compute differently; names and compiled code do not count."""
    return bool(_canonical(json.loads(text)) != _canonical(json.loads(other)))


def make(text: str) -> keras.Model:
    """Return the model of a blueprint; the modules of its classes must be importable. Raises ModelError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = _made(json.loads(text))
    except Exception as error:
        problem = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(f"it cannot be made from what is saved of it: {type(error).__name__}: {problem}") from error
    if not isinstance(made, keras.Model):
        raise ModelError("it cannot be made from what is saved of it: that is no model")
    return made


# ------------------------------------------------------------ plans


def _plan(value: Any, seen: set[int]) -> Any:
    """What stands for a model, a layer, or a value that a model has; `seen` are objects that must not occur again."""
    if _is_plain(value):
        return {"plain": encode(value)}
    if isinstance(value, (list, tuple)):
        return {"several": [isinstance(value, tuple), [_plan(item, seen) for item in value]]}
    if isinstance(value, dict):
        return {"named": {str(name): _plan(item, seen) for name, item in value.items()}}
    if isinstance(value, tf.Variable):
        return {"variable": [encode_array(value.numpy()), bool(value.trainable)]}
    if isinstance(value, keras.Variable):
        return {"weight": [list(value.shape), value.dtype, bool(value.trainable), value.name]}
    if id(value) in seen or not isinstance(value, _DESCRIBED):
        raise NotPlainError(type(value).__name__)
    seen.add(id(value))
    if isinstance(value, keras.Model) and not _describes_itself(value):
        if type(value).__qualname__ != type(value).__name__:
            raise NotPlainError("a class within a function")
        parts = {name: _plan(item, seen) for name, item in own_attributes(value)}
        return {"made": [type(value).__module__, type(value).__name__, value.name, parts]}
    seen.update(map(id, value._flatten_layers()) if isinstance(value, keras.layers.Layer) else ())
    return {"keras": keras.saving.serialize_keras_object(value)}


def _made(plan: dict[str, Any]) -> Any:
    ((kind, content),) = plan.items()
    if kind == "made":
        module, name, of_model, parts = content
        model_class = getattr(importlib.import_module(module), name)
        model = model_class.__new__(model_class)
        keras.Model.__init__(model, name=of_model)
        for attribute, part in parts.items():
            setattr(model, attribute, _made(part) if "weight" not in part else _weight(model, *part["weight"]))
        return model
    if kind == "keras":
        return keras.saving.deserialize_keras_object(content, safe_mode=False)
    if kind == "several":
        items = [_made(item) for item in content[1]]
        return tuple(items) if content[0] else items
    if kind == "named":
        return {name: _made(item) for name, item in content.items()}
    if kind == "variable":
        return tf.Variable(decode_array(content[0]), trainable=content[1])
    return decode(content)


def _weight(model: keras.Model, shape: list[int], dtype: str, trainable: bool, name: str) -> Any:
    return model.add_weight(shape=shape, initializer="zeros", dtype=dtype, trainable=trainable, name=name)


def _is_plain(value: Any) -> bool:
    try:
        encode(value)
    except NotPlainError:
        return False
    return True


def _describes_itself(model: keras.Model) -> bool:
    """Whether Keras can describe a model: one of its own classes, or a class that says how it is described."""
    owner = next(kind for kind in type(model).__mro__ if "get_config" in vars(kind))
    return is_of_keras(type(model)) or not is_of_keras(owner)


@contextlib.contextmanager
def _vocabularies_in_configs(model: keras.Model) -> Iterator[None]:
    """In this block, the configurations of layers have the vocabularies that they adapted or read from files."""
    changed: list[tuple[Any, str, Any]] = []
    try:
        for layer in model._flatten_layers():
            if isinstance(layer, IndexLookup) and layer.vocabulary_size() > layer._token_start_index():
                words = [
                    word.item() if hasattr(word, "item") else word
                    for word in layer.get_vocabulary(include_special_tokens=False)
                ]
                weights = None
                if layer.output_mode == "tf_idf":
                    weights = layer.idf_weights_const.numpy()[layer._token_start_index() :].tolist()
                for name, value in (("input_vocabulary", words), ("input_idf_weights", weights)):
                    changed.append((layer, name, getattr(layer, name)))
                    setattr(layer, name, value)
        yield
    finally:
        for layer, name, value in changed:
            setattr(layer, name, value)


# ------------------------------------------------------------ comparing


def _canonical(plan: Any) -> Any:
    """A plan in which names are numbers, by their first appearance."""
    names: dict[str, str] = {}
    _collect(plan, names)
    return _renamed(plan, names)


def _collect(plan: Any, names: dict[str, str]) -> None:
    for item in plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ():
        _collect(item, names)
    if isinstance(plan, dict) and isinstance(name := plan.get("name"), str):
        names.setdefault(name, f"#{len(names)}")


def _renamed(plan: Any, names: dict[str, str]) -> Any:
    if isinstance(plan, dict):
        if plan.get("class_name") == "__lambda__":
            return "a lambda"
        return {key: _renamed(value, names) for key, value in plan.items() if key not in ("compile_config", "path")}
    if isinstance(plan, list):
        return [_renamed(item, names) for item in plan]
    return names.get(plan, plan) if isinstance(plan, str) else plan


def read(folder: str | os.PathLike[str]) -> str:
    """Return the blueprint in a trained model's directory, or an empty string if there is none."""
    path = Path(folder, FILE)
    return path.read_text() if path.exists() else ""
