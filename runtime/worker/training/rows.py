"""The rows of a batch: which ids of which tables, and where their values go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.model.embeddings.served_step import Group
from elasticdl_nb.runtime.parameters.arrays import Array, Ids
from elasticdl_nb.runtime.parameters.rows.index import KERNELS, deduplicate

Places = NDArray[np.int32]


@dataclass(frozen=True)
class _Table:
    """A table's part of a group: ids [start:stop] of the batch, whose distinct ids are rows [first:last]."""

    name: str
    dim: int
    trained: bool
    start: int
    stop: int
    places: Places


class BatchRows:
    """What a batch needs; `ids` has the distinct ids of every table, int64 [m], in the order of their appearance."""

    def __init__(self, groups: Sequence[Group], found: Sequence[tuple[Any, Any]]) -> None:
        """`found` is what `ServedStep.ids` returned. Raises DataError for an id that its layer does not have."""
        self.ids: dict[str, Ids] = {}
        self._tables: list[list[_Table]] = []
        self._sizes = [sizes for _, sizes in found]
        for group, (ids, sizes) in zip(groups, found, strict=True):
            self._tables.append(self._split(group, np.asarray(ids), np.asarray(sizes)))

    def _split(self, group: Group, ids: Ids, sizes: Places) -> list[_Table]:
        tables = []
        start = 0
        for layer in dict.fromkeys(group.layers):
            count = int(sum(size for other, size in zip(group.layers, sizes, strict=True) if other is layer))
            unique, places = deduplicate(np.ascontiguousarray(ids[start : start + count]))
            layer.check(unique)
            self.ids[layer.name] = unique
            trained = bool(layer.layer.trainable)
            tables.append(_Table(layer.name, group.dim, trained, start, start + count, places))
            start += count
        return tables

    def inputs(self, rows: Mapping[str, Array]) -> list[tuple[Array, Places, Any]]:
        """Return what `ServedStep.compute` takes, given the rows of `ids`, float32 [m, dim]."""
        result = []
        for tables, sizes in zip(self._tables, self._sizes, strict=True):
            firsts = np.cumsum([0, *(len(self.ids[table.name]) for table in tables)])
            places = [table.places + np.int32(first) for table, first in zip(tables, firsts[:-1], strict=True)]
            values = np.concatenate([rows[table.name] for table in tables])
            result.append((values, np.concatenate(places), sizes))
        return result

    def gradients(self, of_rows: Sequence[Any]) -> dict[str, tuple[Ids, Array]]:
        """Return (`ids`, their gradients) by table, from what `ServedStep.compute` returned; equal ids are summed."""
        result = {}
        for tables, gradients in zip(self._tables, of_rows, strict=True):
            values = np.asarray(gradients)
            for table in tables:
                if table.trained:
                    result[table.name] = (self.ids[table.name], self._summed(table, values[table.start : table.stop]))
        return result

    def _summed(self, table: _Table, values: Array) -> Array:
        count = len(self.ids[table.name])
        if count == len(values):  # all ids were distinct, and so are in their order
            return values
        total = np.zeros((count, table.dim), np.float32)
        KERNELS.add_rows(total, table.places, np.ascontiguousarray(values))
        return total
