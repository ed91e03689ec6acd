"""A checkpoint of parameter servers, loaded into a model that lives in a worker."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.saving.weights import variable_names
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files, read
from elasticdl_nb.runtime.parameters.checkpoints.converting import MATRIX
from elasticdl_nb.runtime.parameters.checkpoints.local import state_name
from elasticdl_nb.runtime.parameters.checkpoints.repartition import repartition
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import load
from elasticdl_nb.runtime.parameters.partition import Slice
from elasticdl_nb.runtime.parameters.rows.halves import floats


def load_from_servers(
    path: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, tables: Collection[str] = ()
) -> None:
    """Load what the servers held into a built model and optimizer; tables' rows go to layers that hold all rows.

    What belongs to the model's own `tables` is left for them. Raises ModelError if the checkpoint does not fit, and
    DataError if it cannot be used.
    """
    files = checkpoint_files(path)
    slots = next(load(files[0][-1])).meta["slots"]
    targets = dict(zip(variable_names(model.weights), model.weights, strict=True))
    found: set[str] = set()
    states = {str(state.path).partition("/")[2]: state for state in optimizer.variables}
    for frame in repartition(map(read, files), 0, 1, slots):
        match frame.meta["kind"]:
            case "dense":
                name = Slice.parse(frame.meta["key"]).name
                if name.removesuffix(MATRIX) in tables:
                    continue
                weights, *kept = frame.arrays
                _assign(path, name, targets.get(name), weights)
                found.add(name)
                for slot, value in zip(slots, kept, strict=False):
                    _assign(path, f"{slot} of {name}", states.get(state_name(name, slot)), value)
            case "rows" if (name := f"{frame.meta['table']}{MATRIX}") in targets:
                places = [targets[name], *(states.get(state_name(name, slot)) for slot in slots)]
                assign_rows(path, name, frame.arrays, places)
                found.add(name)
            case "state":
                optimizer.iterations.assign(frame.meta["version"] + frame.meta.get("earlier_steps", 0))
    # Every worker has its own counters and states of random generators.
    missing = [name for name, to in targets.items() if np.dtype(to.dtype) == np.float32 and name not in found]
    if missing:
        raise ModelError(f"the checkpoint {path} is of another model: it lacks {', '.join(missing)}")


def assign_rows(path: Path, name: str, arrays: Sequence[Any], targets: Sequence[Any]) -> None:
    """Assign a table's rows and what the optimizer keeps for them, [ids, rows, …], to variables that hold all rows."""
    ids, *values = arrays
    for target, rows in zip(targets, values, strict=True):
        _assign_rows(path, name, target, ids, floats(rows))


def _assign_rows(path: Path, name: str, target: Any, ids: Any, rows: Any) -> None:
    unknown = target is not None and ids.size and (ids.min() < 0 or ids.max() >= target.shape[0])
    if target is None or unknown or rows.shape[1] != target.shape[1]:
        raise ModelError(f"the checkpoint {path} has rows for {name} that do not fit this job's model and optimizer")
    matrix = keras.ops.convert_to_numpy(target).copy()
    matrix[ids] = rows
    target.assign(matrix)


def _assign(path: Path, name: str, target: Any, value: Any) -> None:
    if target is None or int(np.prod(target.shape)) != value.size:
        has = "does not have it" if target is None else f"has {int(np.prod(target.shape))}"
        raise ModelError(f"the checkpoint {path} has {value.size} values for {name}, this job's model {has}")
    target.assign(value.reshape(target.shape))
