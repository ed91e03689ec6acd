"""The tables of a trained model's large embeddings, which are not loaded but read where they are: see `mapped.form`.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers
from elasticdl_nb.runtime.parameters.api import ParameterServers
from elasticdl_nb.runtime.parameters.mapped.form import Described, stem, stored_as, write_description
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTables


def write_tables(folder: Path, layers: ServedLayers, dtype: str) -> str:
    """Let whoever has the rows of these layers write them into `folder`; return the digest of its description.

    Raises DataError if they cannot be written.
    """
    folder.mkdir()
    source: ParameterServers = layers.source  # type: ignore[assignment]  # layers are kept only in training
    described = []
    for number, layer in enumerate(layers.layers):
        stored = stored_as(layer.spec, dtype)
        parts = source.write(layer.name, (folder / stem(number)).absolute(), stored)
        described.append(Described(layer.spec, stored, tuple(parts)))
    return write_description(folder, described)


def layers_of(definition: ModelDefinition) -> ServedLayers | None:
    """Return what a trained model must be loaded and built with (`serving`), or None if it has no tables.

    Raises DataError if its files are damaged.
    """
    if not definition.tables:
        return None
    return ServedLayers(files=MappedTables(definition.tables, definition.tables_digest))
