"""A checkpoint of a worker that has the whole model, loaded into another: the same model, or one that has grown."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import keras
import safetensors

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.saving.kept import settle
from elasticdl_nb.runtime.model.saving.weights import load_optimizer, load_weights, variable_names
from elasticdl_nb.runtime.parameters.checkpoints.chain import Files, checkpoint_files, read
from elasticdl_nb.runtime.parameters.checkpoints.converting import MATRIX
from elasticdl_nb.runtime.parameters.checkpoints.local import TRAINED, is_of_trained_model, state_name, tables_of
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import FILE, Frame, load
from elasticdl_nb.runtime.parameters.mapped.reading import MappedTable
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.worker.training.servercheckpoint import assign_rows

MODEL = "model"
OPTIMIZER = "optimizer"
_LISTED = 10


def load_from_worker(path: Path, model: keras.Model, optimizers: Callable[[], Any], tables: Collection[str]) -> None:
    """Load a checkpoint into a built model and what `optimizers` returns; rows go to layers that hold all rows.

    What belongs to the model's own `tables` is left for them. Of a trained model, what the model has too is loaded, and
    no optimizer. Raises ModelError if the checkpoint does not fit.
    """
    there = {one.name: tuple(one.shape) for one in _variables(path, MODEL)}
    names = dict(zip(variable_names(model.weights), model.weights, strict=True))
    if is_of_trained_model(path):
        for layer in model._flatten_layers():
            if hasattr(layer, "make_room"):
                layer.make_room(there)
        names = dict(zip(variable_names(model.weights), model.weights, strict=True))
        _assign(path, MODEL, {n: v for n, v in names.items() if there.get(n) == tuple(v.shape)})
        _assign_mapped(path, names)
    elif not _is_partly(path, names, there, tables):
        load_weights(model, *_saved(path, MODEL))
        load_optimizer(optimizers(), *_saved(path, OPTIMIZER))
    else:
        kept = {one.name for one in _variables(path, OPTIMIZER)}
        optimizer = optimizers()
        states = dict(zip(variable_names(optimizer.variables), optimizer.variables, strict=True))
        _assign(path, MODEL, {name: variable for name, variable in names.items() if name in there})
        _assign(path, OPTIMIZER, {name: variable for name, variable in states.items() if name in kept})
        _assign_tables(path, names, {str(one.path).partition("/")[2]: one for one in optimizer.variables})
    settle(model)


def note_on_start(path: Path, model: keras.Model, tables: Collection[str]) -> str:
    """Return what a job that begins with a trained model takes from it; raises ModelError if that is nothing."""
    there = {one.name: tuple(one.shape) for one in _variables(path, MODEL)}
    of_tables = {name for name in there if name.rpartition("/")[0] in tables}
    names = {name: tuple(one.shape) for name, one in zip(variable_names(model.weights), model.weights, strict=True)}
    mapped = {f"{name}{MATRIX}": name for name in tables_of(path) or ()}
    new = [name for name, shape in names.items() if there.get(name) != shape and name not in mapped]
    left = [name for name, shape in there.items() if names.get(name) != shape and name not in of_tables]
    left += [table for name, table in mapped.items() if table not in tables and name not in names]
    given = (path / TRAINED).read_text()
    if len(left) == len(there) + len(mapped):
        raise ModelError(
            f"checkpoint_dir_for_init: the model shares no variable with the trained model {given}, which has "
            f"{_some(left)}; the model has {_some(list(names))}"
        )
    return (
        f"starts from the trained model {given}, with a new optimizer"
        + (f"; initial values have {_some(new)}" if new else "")
        + (f"; not used are {_some(left)}" if left else "")
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _is_partly(path: Path, names: Collection[str], there: Collection[str], tables: Collection[str]) -> bool:
    """Whether the model and the checkpoint differ, but only in embeddings that are tables in one of them."""
    extra, missing = set(there) - set(names), set(names) - set(there)
    in_file = {f"{table}{MATRIX}" for table in _tables_in(path)} if missing else set()
    return bool(extra or missing) and extra <= {f"{table}{MATRIX}" for table in tables} and missing <= in_file


def _assign(path: Path, name: str, targets: dict[str, Any]) -> None:
    with safetensors.safe_open(_parameters(path, name), framework="np") as file:
        for key, target in targets.items():
            value = file.get_tensor(key)
            if tuple(value.shape) != tuple(target.shape):
                raise ModelError(f"{path}: {key} has shape {list(value.shape)}, this job's {list(target.shape)}")
            target.assign(value)


def _assign_tables(path: Path, names: dict[str, Any], states: dict[str, Any]) -> None:
    for files in _files(path):
        slots: Sequence[str] = ()
        for frame in read(files):
            slots = frame.meta["slots"] if frame.meta["kind"] == "state" else slots
            if frame.meta["kind"] == "rows" and (name := f"{frame.meta['table']}{MATRIX}") in names:
                assign_rows(path, name, frame.arrays, [names[name], *(states.get(state_name(name, s)) for s in slots)])


def _assign_mapped(path: Path, names: dict[str, Any]) -> None:
    """Give layers that hold all rows those that a trained model has in files, if they fit."""
    tables = tables_of(path)
    for table in tables or ():
        target = names.get(f"{table}{MATRIX}")
        if tables is None or target is None or not _holds(target, tables.table(table)):
            continue
        matrix = keras.ops.convert_to_numpy(target).copy()
        for ids, rows in tables.export(table):
            matrix[ids] = rows
        target.assign(matrix)


def _holds(variable: Any, table: MappedTable) -> bool:
    return tuple(variable.shape) == (table.spec.input_dim, table.spec.dim)


def _tables_in(path: Path) -> set[str]:
    frames: list[Frame] = [
        frame for files in _files(path) for frame in load(files[-1]) if frame.meta["kind"] == "table"
    ]
    return {frame.meta["spec"]["name"] for frame in frames}


def _files(path: Path) -> list[Files]:
    return checkpoint_files(path) if any(FILE.fullmatch(one.name) for one in path.iterdir()) else []


def _variables(path: Path, name: str) -> Sequence[pb.Variable]:
    return pb.Variables.FromString((path / f"{name}.pb").read_bytes()).variables


def _saved(path: Path, name: str) -> tuple[str, Sequence[pb.Variable]]:
    return _parameters(path, name), _variables(path, name)


def _parameters(path: Path, name: str) -> str:
    return os.fspath(path / f"{name}.safetensors")
