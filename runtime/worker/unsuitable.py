"""What in a batch its model cannot take: one sentence instead of TensorFlow's account of a graph.

Looked for only after an error, by computing the batch once more, step by step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from elasticdl_nb.runtime.data.reader import Reader
from elasticdl_nb.runtime.errors import DataError, ModelError
from elasticdl_nb.runtime.model.loading.compiling import own_methods
from elasticdl_nb.runtime.model.loading.loader import LoadedModel

_MAY_BE_EXPLAINED = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, ModelError, DataError)


_OWN_LOSSES = ("train_step", "test_step", "compute_loss", "make_train_function")


class Unsuitable(DataError):
    """A batch does not suit its model; `value` is the number that does not, if any, and `feature` what it is in."""

    def __init__(self, message: str, value: int | None = None, feature: str = "") -> None:
        super().__init__(message)
        self.value, self.feature = value, feature


@contextlib.contextmanager
def explained(loaded: LoadedModel, batch: Sequence[Any]) -> Iterator[None]:
    """Raise Unsuitable instead of an error in this block, if the batch (features[, labels[, …]]) is why it failed."""
    try:
        yield
    except _MAY_BE_EXPLAINED as error:
        if found := _found(loaded, tuple(batch)):
            raise found from error
        raise


def place_of(value: int, feature: str, reader: Reader, ranges: Sequence[tuple[str, int, int]]) -> str:
    """Return where a number is among records [start, end) of files; only the records if that is not clear.

    Raises DataError if they cannot be read.
    """
    for path, start, end in ranges:
        at = start
        for chunk in reader.read(path, start, end) if reader.form != "bytes" else ():
            assert isinstance(chunk, pa.RecordBatch)
            names = [feature] if feature in chunk.schema.names else chunk.schema.names
            rows = {name: row for name in names if (row := _row_of(value, chunk.column(name))) >= 0}
            if len(rows) == 1:
                ((name, row),) = rows.items()
                return f"column {name} of record {at + row} of {Path(path).name}, counted from 0"
            at += chunk.num_rows
    path, start, end = ranges[0]
    return f"one of records {start} to {end - 1} of {Path(path).name}, counted from 0"


def _row_of(value: int, column: Any) -> int:
    """The first row of an Arrow column that is this number, as a text too, or has it in a list; -1 if none has."""
    parents = None
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        parents, column = pc.list_parent_indices(column), pc.list_flatten(column)
    if pa.types.is_integer(column.type):
        place = pc.index(column, pa.scalar(value).cast(column.type, safe=False)).as_py()
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        place = pc.index(column, pa.scalar(str(value), column.type)).as_py()
    else:
        return -1
    return int(place) if parents is None or place < 0 else int(parents[place].as_py())


# ------------------------------------------------------------ looking


def _found(loaded: LoadedModel, batch: tuple[Any, ...]) -> Unsuitable | None:
    features, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
    found: list[Unsuitable] = []
    compares = loaded.model._compile_loss is not None and not own_methods(loaded.model) & {*_OWN_LOSSES}
    with contextlib.suppress(Exception), _watched(loaded.model, features, found):
        outputs = loaded.call_model(features, training=False)
        try:
            if compares:
                loaded.compute_loss(labels, outputs, features=features, weights=weights, training=False)
        except Exception as error:
            found += _unlike(labels, outputs, _name_of_loss(loaded.model), str(error))
    return found[0] if found else None


@contextlib.contextmanager
def _watched(model: Any, features: Any, found: list[Unsuitable]) -> Iterator[None]:
    """In this block, embeddings look at their ids first."""
    layers = [one for one in model._flatten_layers() if isinstance(one, keras.layers.Embedding)]
    before = [vars(layer).get("call") for layer in layers]
    for layer, own in zip(layers, before, strict=True):
        # A row of an ordinary layer may be counted from the end; a table, whose layer has another `call`, has no end.
        lowest = -layer.input_dim if own is None else 0
        layer.call = partial(_look, layer, lowest, layer.call, features, found)
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is None:
                del layer.call
            else:
                layer.call = own


def _look(layer: Any, lowest: int, call: Any, features: Any, found: list[Unsuitable], inputs: Any) -> Any:
    ids = np.asarray(getattr(inputs, "values", inputs)).astype(np.int64)  # of ragged and sparse ones, too
    strange = ids[(ids < lowest) | (ids >= layer.input_dim)]
    if strange.size:
        value = int(strange.reshape(-1)[0])
        feature = _feature_with(value, features)
        of = f" of the feature {feature!r}" if feature else ""
        found.append(Unsuitable(
            f"embedding {layer.path}: id {value}{of} is not one of its {layer.input_dim} (0 to {layer.input_dim - 1}); "
            "give the layer a larger input_dim, or map the ids into its range", value, feature,
        ))  # fmt: skip
        raise found[-1]
    return call(inputs)


def _feature_with(value: int, features: Any) -> str:
    """The name of the only one of several features that has this number, or an empty string."""
    if not isinstance(features, dict):
        return ""
    flat = {name: np.asarray(getattr(one, "values", one)) for name, one in features.items()}
    names = [name for name, values in flat.items() if values.dtype.kind in "iuf" and (values == value).any()]
    return str(names[0]) if len(names) == 1 else ""


def _unlike(labels: Any, outputs: Any, loss: str, problem: str) -> Iterator[Unsuitable]:
    """Say what about labels makes them impossible to compare with outputs."""
    given, expected = tf.nest.flatten(labels), tf.nest.flatten(outputs)
    if labels is None:
        yield Unsuitable(
            f"labels: there are none, and {loss} compares outputs with labels; return them beside features"
        )
    if len(given) != len(expected):
        return
    for label, output in zip(given, expected, strict=True):
        if label.dtype == tf.string and output.dtype != tf.string:
            text = np.asarray(label).reshape(-1)[0].decode(errors="replace")
            yield Unsuitable(
                f"labels: they are texts, such as {text!r}, and {loss} compares numbers; make numbers of them in the "
                "input function, or name their column with the option label"
            )
        elif "valid range" in problem:
            classes, values = int(output.shape[-1]), np.asarray(label)
            if (strange := values[(values < 0) | (values >= classes)]).size:
                value = int(strange.reshape(-1)[0])
                yield Unsuitable(
                    f"labels: {value} is not one of the {classes} classes (0 to {classes - 1}) that the output has",
                    value,
                )
        elif label.shape != output.shape:
            yield Unsuitable(
                f"labels: each has the shape {tuple(label.shape[1:])}, and the model's output "
                f"{tuple(output.shape[1:])}, which {loss} cannot compare"
            )


def _name_of_loss(model: Any) -> str:
    given = getattr(model._compile_loss, "_user_loss", model._compile_loss)
    name = given if isinstance(given, str) else getattr(given, "name", None) or getattr(given, "__name__", None)
    return name if isinstance(name, str) else "the loss"
