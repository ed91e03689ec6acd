"""The checkpoint of a Local job, whose model and optimizer are safetensors files, read like a single server's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.checkpoints.chain import checkpoint_files, read
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import FILE, Frame, load
from elasticdl_nb.runtime.parameters.mapped.reading import MappedPart, MappedTables
from elasticdl_nb.runtime.parameters.partition import Slice
from elasticdl_nb.runtime.storage.checkpoints import verify

MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
_OF_SERVERS = ("state", "effects", "dense")
TRAINED = "trained_model"
"""A file in a checkpoint that was made of a trained model: it has weights only, perhaps not all that a job needs."""


TABLES = "tables"
"""The folder of a trained model's tables in such a checkpoint; see `mapped`."""


def is_local(directory: Path) -> bool:
    """Whether a checkpoint was written by a Local job."""
    return (directory / MODEL).exists()


def is_of_trained_model(directory: Path) -> bool:
    """Whether a checkpoint was made of a trained model."""
    return (directory / TRAINED).exists()


def checkpoint_version(directory: Path) -> int:
    """Return the version of a checkpoint of either kind; raises DataError if it is not a checkpoint."""
    if is_local(directory):
        return verify(directory)
    return max(_version(files[-1]) for files in checkpoint_files(directory))


def read_checkpoint(
    directory: Path, slots: Sequence[str], server: int, servers: int, *, all_files: bool = False
) -> list[Iterator[Frame]]:
    """Return the frames of every server's part of a checkpoint of either kind, for one of `servers` servers.

    With `all_files`, they are complete even where the server does not need them. `slots` names what the optimizer keeps
    for every weight. Raises DataError if it is not a checkpoint.
    """
    if is_local(directory):
        return [_frames(directory, slots), *_of_tables(directory, server, servers)]
    files = checkpoint_files(directory)
    if all_files or len(files) != servers:
        return [read(one) for one in files]
    # Its own files have all that a server needs except the state of the others.
    return [read(one) if number == server else islice(load(one[-1]), 1) for number, one in enumerate(files)]


def state_name(variable: str, slot: str) -> str:
    """The name that Keras gives an optimizer's state of a variable, after the optimizer's own name."""
    return f"{variable.replace('/', '_')}_{slot}"


def _frames(directory: Path, slots: Sequence[str]) -> Iterator[Frame]:
    tables = checkpoint_files(directory) if any(FILE.fullmatch(path.name) for path in directory.iterdir()) else []
    of_optimizer = {} if is_of_trained_model(directory) else _arrays(directory / OPTIMIZER)
    kept = {name.partition("/")[2]: array for name, array in of_optimizer.items()}
    own: dict[str, Any] = {"optimizer": "", "slots": list(slots)}
    for files in tables:
        own = next(load(files[-1])).meta
    step = checkpoint_version(directory)
    yield Frame(
        {**own, "kind": "state", "server": 0, "servers": 1, "version": step, "earlier_steps": _steps(kept) - step}
    )
    arrays_of_model = _arrays(directory / MODEL)
    for name, weights in arrays_of_model.items():
        table = name.removesuffix("/rows")
        if table != name and f"{table}/ids" in arrays_of_model:  # an elasticdl_nb.Embedding
            yield Frame({"kind": "rows", "table": table}, [arrays_of_model[f"{table}/ids"], weights])
        elif weights.dtype == np.float32:
            states = [kept.get(state_name(name, slot)) for slot in slots]
            # Variables that are not trained have no states.
            trained = [state.reshape(-1) for state in states if state is not None and state.shape == weights.shape]
            arrays = [weights.reshape(-1), *(trained if len(trained) == len(slots) else [])]
            yield Frame({"kind": "dense", "key": Slice(name, 0, weights.size, weights.size).key}, arrays)
    for files in tables:
        yield from (frame for frame in read(files) if frame.meta["kind"] not in _OF_SERVERS)


def tables_of(directory: Path) -> MappedTables | None:
    """Return the tables that a trained model has in files, of a checkpoint that was made of it."""
    return MappedTables(directory / TABLES) if (directory / TABLES).exists() else None


def _of_tables(directory: Path, server: int, servers: int) -> Iterator[Iterator[Frame]]:
    """Yield the rows of each part of each table, of which a server of as many needs only its own."""
    tables = tables_of(directory)
    for name in tables or ():
        parts = tables.table(name).parts if tables is not None else []
        for part in parts if len(parts) != servers else parts[server : server + 1]:
            yield _of_part(name, part)


def _of_part(table: str, part: MappedPart) -> Iterator[Frame]:
    for ids, rows in part.blocks():
        yield Frame({"kind": "rows", "table": table}, [ids, rows])


def _steps(kept: Mapping[str, NDArray[Any]]) -> int:
    return int(kept["iteration"]) if "iteration" in kept else 0


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"cannot read {path}: {error}") from None


def _version(file: Path) -> int:
    state = next(load(file), None)
    if state is None or state.meta.get("kind") != "state":
        raise DataError(f"{file} does not begin with a server's state; use another checkpoint")
    return int(state.meta["version"])
