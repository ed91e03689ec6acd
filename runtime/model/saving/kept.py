"""What layers keep beside their weights: vocabularies, boundaries, statistics, random states, values of their own.

It goes wherever weights go that outlive a process: into checkpoints, trained models, and the folder from which the
job's workers start. For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.layers.preprocessing.index_lookup import IndexLookup

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.losses import is_of_keras
from elasticdl_nb.runtime.model.saving.beginning import KEPT
from elasticdl_nb.runtime.model.saving.plain import NotPlainError, decode, decode_array, encode, encode_array, mentions

FILE = KEPT
"""The name of the file in checkpoints and trained models."""


def kept_of(model: keras.Model, root: str = "") -> str:
    """Return as JSON what a model's layers keep; values that name the folder `root` depend on it and stay out."""
    seeds = [encode_array(np.asarray(variable)) for variable in _seeds(model)]
    return json.dumps({"layers": [_described(layer, root) for layer in _layers(model)], "seeds": seeds})


def give(model: keras.Model, text: str, *, seeds: bool = True) -> None:
    """Let a model's layers keep what `kept_of` returned; the model may have more layers by now.

    With `seeds`, random states continue as well. Raises ModelError if a layer does not accept what it once kept.
    """
    saved = json.loads(text)
    for layer, entry in _matched(_layers(model), saved["layers"]):
        _restore(layer, entry)
    variables = _seeds(model)
    if seeds and len(variables) == len(saved["seeds"]):
        for variable, value in zip(variables, saved["seeds"], strict=True):
            variable.assign(decode_array(value))
    settle(model)


def settle(model: keras.Model) -> None:
    """Let layers that compute with something derived from their weights derive it again: the weights are others."""
    for layer in _layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def write(model: keras.Model, folder: Path, root: str = "") -> None:
    """Write a model's kept state into a folder."""
    (folder / FILE).write_text(kept_of(model, root))


# ------------------------------------------------------------ layers


def _layers(model: keras.Model) -> list[Any]:
    return list(model._flatten_layers())


def _seeds(model: keras.Model) -> list[Any]:
    return [one for one in model.non_trainable_variables if one.path.endswith("seed_generator_state")]


def _matched(layers: list[Any], saved: list[dict[str, Any]]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Pairs of a layer and what it kept: in order if the model has the same layers, else by name and class."""
    if [type(layer).__name__ for layer in layers] == [entry["class"] for entry in saved]:
        yield from zip(layers, saved, strict=True)
        return
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in saved:  # a model may be called something else by now
        entries.setdefault((entry["class"], entry["name"].rpartition("/")[2]), entry)
        entries[entry["class"], entry["name"]] = entry
    for layer in layers:
        kind, path = type(layer).__name__, _name(layer)
        if found := entries.get((kind, path)) or entries.get((kind, path.rpartition("/")[2])):
            yield layer, found


def _name(layer: Any) -> str:
    return str(layer.path or layer.name)


def _described(layer: Any, root: str) -> dict[str, Any]:
    return {"class": type(layer).__name__, "name": _name(layer), **state_of(layer, root)}


def state_of(layer: Any, root: str = "") -> dict[str, Any]:
    """Return as JSON what one layer keeps, without the layers in it."""
    state: dict[str, Any] = {}
    if isinstance(layer, IndexLookup):
        if layer.vocabulary_size() > layer._token_start_index():
            state["vocabulary"] = encode(list(map(_plain_word, layer.get_vocabulary())))
            if layer.output_mode == "tf_idf":
                state["idf"] = encode_array(layer.idf_weights_const.numpy())
    elif isinstance(layer, keras.layers.Discretization):
        state["boundaries"] = encode_array(np.asarray(layer.bin_boundaries, np.float64))
    elif not is_of_keras(type(layer)):
        state.update(_own_state(layer, root))
    return state


def _restore(layer: Any, state: dict[str, Any]) -> None:
    try:
        if "vocabulary" in state:
            idf = {"idf_weights": decode_array(state["idf"])} if "idf" in state else {}
            layer.set_vocabulary(decode(state["vocabulary"]), **idf)
        if "boundaries" in state:
            layer.bin_boundaries = decode_array(state["boundaries"]).tolist()
        _restore_own(layer, state)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ModelError(f"layer {_name(layer)} cannot take back what it kept: {error}") from error


restore = _restore


def _plain_word(word: Any) -> Any:
    return int(word) if isinstance(word, (int, np.integer)) else str(word)


# ------------------------------------------------------------ layers of the user's own


def _own_state(layer: Any, root: str) -> dict[str, Any]:
    """What a layer of the user's class saves itself, and plain values among its attributes."""
    state: dict[str, Any] = {}
    if _defines(layer, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            state["assets"] = {
                path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode() for path in files
            }
    attributes = {}
    for name, value in own_attributes(layer):
        if isinstance(value, tf.Variable):
            value = {"variable": encode_array(value.numpy())}
        else:
            with contextlib.suppress(NotPlainError):
                value = {"value": encode(value)}
        if isinstance(value, dict) and set(value) & {"variable", "value"} and not (root and mentions(value, root)):
            attributes[name] = value
    return state | ({"attributes": attributes} if attributes else {})


def _restore_own(layer: Any, state: dict[str, Any]) -> None:
    if "assets" in state and _defines(layer, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in state["assets"].items():
                path = Path(folder, name)
                if not path.resolve().is_relative_to(Path(folder).resolve()):
                    raise ValueError(f"{name} is outside of the layer's folder")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(content))
            layer.load_assets(folder)
    for name, value in state.get("attributes", {}).items():
        now = vars(layer).get(name)
        if "variable" in value:
            if isinstance(now, tf.Variable):
                now.assign(decode_array(value["variable"]))
        elif not _same(now, value["value"]):
            setattr(layer, name, decode(value["value"]))


def own_attributes(layer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that the user's class gave a layer or model."""
    for name, value in vars(layer).items():
        if name not in _usual() and not name.startswith(("_self_", "_tf_", "__")):
            yield name, value


@functools.cache
def _usual() -> set[str]:
    """The attributes that Keras gives every layer and compiled model."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return set(vars(model)) | set(vars(keras.layers.Layer())) | set(vars(keras.Model()))


def _same(value: Any, encoded: Any) -> bool:
    try:
        return bool(encode(value) == encoded)
    except NotPlainError:
        return False


def _defines(layer: Any, method: str) -> bool:
    """Whether the user's class, or one above it, has its own method of that name."""
    owner = next((kind for kind in type(layer).__mro__ if method in vars(kind)), None)
    return owner is not None and not is_of_keras(owner)
