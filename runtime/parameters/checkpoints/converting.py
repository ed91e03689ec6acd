"""The frames of a checkpoint as another job's model needs them: an embedding may be a table there and a variable here.

A matrix becomes rows, and rows become a matrix, whose other rows keep the values that the model begins with. What an
optimizer keeps goes with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame
from elasticdl_nb.runtime.parameters.partition import Slice
from elasticdl_nb.runtime.parameters.rows.halves import floats
from elasticdl_nb.runtime.parameters.table import TableSpec

MATRIX = "/embeddings"
"""How the variable of an embedding is called, after the name that its table has."""


@dataclass(frozen=True)
class Declared:
    """What a worker's model has: its tables, and the initial values of slices of its variables, by key."""

    tables: Sequence[TableSpec] = ()
    dense: Mapping[str, Array] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of values of each variable of which there is a slice."""
        return {piece.name: piece.size for piece in map(Slice.parse, self.dense)}


class Conversion:
    """Converts all frames of a checkpoint; `initial` has the initial value of each of the optimizer's slots.

    With `partly`, variables of other sizes than the model's and rows of tables that it lacks are left out.
    """

    def __init__(self, declared: Declared, initial: Sequence[float], *, partly: bool = False) -> None:
        self._declared, self._initial, self._partly = declared, initial, partly
        self._tables = {spec.name: spec for spec in declared.tables}
        self._sizes = declared.sizes
        self._matrices: dict[str, list[Array]] = {}
        self._rows: dict[str, list[Array]] = {}

    def files(self, files: Iterable[Iterable[Frame]]) -> Iterator[Iterator[Frame]]:
        """Return the frames of each file, and then those that had to be converted."""
        yield iter([Frame({"kind": "table", "spec": spec.to_json()}) for spec in self._declared.tables])
        for frames in files:
            yield self._passing(frames)
        yield self._converted()

    def _passing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            kind = frame.meta["kind"]
            if kind == "dense":
                if self._takes_variable(Slice.parse(frame.meta["key"]), frame.arrays):
                    yield frame
            elif kind == "rows":
                table = frame.meta["table"]
                if table in self._tables:
                    if self._fits(table, frame.arrays[1]):
                        yield Frame(frame.meta, [*frame.arrays[:2], *self._slots(frame.arrays[1], frame.arrays[2:])])
                elif f"{table}{MATRIX}" in self._sizes:
                    self._collect_rows(f"{table}{MATRIX}", frame.arrays)
                elif not self._partly:
                    yield frame
            elif kind != "table" or not (
                frame.meta["spec"]["name"] in self._tables or f"{frame.meta['spec']['name']}{MATRIX}" in self._sizes
            ):
                yield frame

    def _slots(self, like: Array, given: Sequence[Array]) -> list[Array]:
        if len(given) == len(self._initial):
            return list(given)
        return [np.full(like.shape, value, np.float32) for value in self._initial]

    def _fits(self, table: str, rows: Array) -> bool:
        if rows.shape[1] == self._tables[table].dim:
            return True
        if self._partly:
            return False
        raise DataError(
            f"the checkpoint's rows for embedding {table} have {rows.shape[1]} values, this model's "
            f"{self._tables[table].dim}"
        )

    # ------------------------------------------------------------ a matrix to rows

    def _takes_variable(self, piece: Slice, arrays: Sequence[Array]) -> bool:
        """Whether a slice stays one; a matrix that becomes rows is put together until all of it is there."""
        table = piece.name.removesuffix(MATRIX)
        if table != piece.name and table in self._tables:
            whole = self._matrices.setdefault(piece.name, [np.zeros(piece.size, np.float32) for _ in arrays])
            for mine, array in zip(whole, arrays, strict=True):
                mine[piece.start : piece.stop] = array
            return False
        return not self._partly or self._sizes.get(piece.name) in (None, piece.size)

    def _converted(self) -> Iterator[Frame]:
        for name, flat in self._matrices.items():
            table = name.removesuffix(MATRIX)
            dim, size = self._tables[table].dim, self._tables[table].input_dim
            if flat[0].size % dim or (size is not None and flat[0].size != size * dim):
                if self._partly:
                    continue
                raise DataError(f"the checkpoint's {name} has {flat[0].size} values, which are no rows of {dim} values")
            weights, *kept = (array.reshape(-1, dim) for array in flat)
            meta = {"kind": "rows", "table": table}
            yield Frame(meta, [np.arange(len(weights)), weights, *self._slots(weights, kept)])
        for name, whole in self._rows.items():
            yield Frame({"kind": "dense", "key": Slice(name, 0, whole[0].size, whole[0].size).key}, whole)

    # ------------------------------------------------------------ rows to a matrix

    def _collect_rows(self, name: str, arrays: Sequence[Array]) -> None:
        ids, weights, *kept = arrays
        weights = floats(weights)
        size, dim = self._sizes[name], weights.shape[1]
        if size % dim or (ids.size and (ids.min() < 0 or ids.max() >= size // dim)):
            if self._partly:
                return
            raise DataError(f"the checkpoint has rows for {name} that do not fit this model's {size} values")
        if name not in self._rows:
            initial = np.zeros(size, np.float32)
            for key, values in self._declared.dense.items():
                piece = Slice.parse(key)
                if piece.name == name:
                    initial[piece.start : piece.stop] = values
            self._rows[name] = [initial, *(np.full(size, value, np.float32) for value in self._initial)]
        for whole, rows in zip(self._rows[name], [weights, *self._slots(weights, kept)], strict=True):
            whole.reshape(-1, dim)[ids] = rows
