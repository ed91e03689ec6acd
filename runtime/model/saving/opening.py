"""A trained model as a Keras model in this process, for a few predictions without a job."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import keras

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, load
from elasticdl_nb.runtime.model.saving.forms import form_from_json
from elasticdl_nb.runtime.model.saving.settings import settings_of_a_new_process
from elasticdl_nb.runtime.model.saving.tablefiles import layers_of
from elasticdl_nb.runtime.model.saving.trained import read_trained_model
from elasticdl_nb.runtime.model.saving.weights import load_weights


def open_model(path: str | os.PathLike[str]) -> keras.Model:
    """Return the model in a training job's output directory, with its trained weights.

    It takes features, as the model's `call` does, or rows of a table if it was trained with `label`. Runs the model's
    own code, which is in that directory. Raises OptionError for a directory that is no trained model, ModelError if
    the code fails, and DataError if the files of its tables are damaged.
    """
    with settings_of_a_new_process():
        loaded = open_trained(path)
        return loaded.model if loaded.table is None else loaded.table.for_rows(loaded.model)


def open_trained(path: str | os.PathLike[str]) -> LoadedModel:
    """Return the built model in a training job's output directory, as its jobs have it. See `open_model`."""
    message, definition = read_trained_model(path)
    layers = layers_of(definition)
    with _importing(Path(definition.zoo)):
        with contextlib.nullcontext() if layers is None else serving(layers), _names_from_the_start(layers):
            loaded = load(definition)
            if message.features:
                loaded.build(form_from_json(message.features))
            elif not loaded.model.built:
                raise ModelError(f"{os.fspath(path)} does not say what features its model takes: use it in jobs")
        if layers is not None:
            layers.check_all_found()
        load_weights(loaded.model, definition.weights, message.variables)
        if definition.state:
            loaded.take_back(definition.state)
    return loaded


@contextlib.contextmanager
def _names_from_the_start(layers: ServedLayers | None) -> Iterator[None]:
    """Let Keras number layers without names as in a new process: tables have the names that layers had there."""
    state, key = keras.src.backend.common.global_state, "object_name_uids"
    before = state.get_global_attribute(key)
    if layers is not None:
        state.set_global_attribute(key, None)
    try:
        yield
    finally:
        if layers is not None:
            state.set_global_attribute(key, before)


@contextlib.contextmanager
def _importing(zoo: Path) -> Iterator[None]:
    """Let the zoo's modules be imported, and leave this process's modules and import path as they were."""
    names = {entry.stem for entry in zoo.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    path = list(sys.path)
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
    for name in hidden:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in names]:
            del sys.modules[name]
        sys.modules.update(hidden)
        sys.path[:] = path
