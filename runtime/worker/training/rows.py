"""The rows of a batch: which ids of which tables, and where their values go."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from elasticdl_nb.runtime.model.embeddings.served import ServedLayer
from elasticdl_nb.runtime.model.embeddings.served_step import Group
from elasticdl_nb.runtime.parameters.arrays import Array, Counts, Ids
from elasticdl_nb.runtime.parameters.rows.index import KERNELS, deduplicate

Places = NDArray[np.int32]
Gather = Callable[[str, Places, Array], None]
"""Writes a table's rows, those at the given places among its `BatchRows.ids`, into an array, float32 [n, dim]."""

_ALIGNMENT = 64
"""What TensorFlow asks of memory that it reads in place."""


class StepMemory:
    """Memory for the rows of one step at a time, which TensorFlow reads in place."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Array, tf.Tensor]] = {}

    def rows(self, call: int, count: int, dim: int) -> tuple[Array, tf.Tensor]:
        """Return memory for the rows of a call, and the tensor that it is, float32 [count, dim].

        The step before must have ended.
        """
        known = self._rows.get(call)
        if known is None or known[0].shape != (count, dim):
            known = self._rows[call] = shared_with_tensor(count, dim)
        return known


def shared_with_tensor(*shape: int) -> tuple[Array, tf.Tensor]:
    """Return new memory, float32 of a shape, and the tensor that it is."""
    size = math.prod(shape)
    raw = np.empty(size * 4 + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    array = raw[start : start + size * 4].view(np.float32).reshape(shape)
    return array, tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def tensor_of_parts(parts: Sequence[Array]) -> tf.Tensor | None:
    """Return the tensor that flat arrays are together, if each begins where the one before it ends; None if not.

    Nobody may write to them any longer.
    """
    parts = [part for part in parts if part.size]  # the others may begin anywhere
    if not parts or parts[0].base is None:
        return None
    start = stop = _address(parts[0])
    for part in parts:
        if _address(part) != stop or part.base is not parts[0].base:
            return None
        stop += part.nbytes
    if start % _ALIGNMENT:
        return None
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Whole(parts[0], start, (stop - start) // 4)).__dlpack__())


class _Whole:
    """Memory of an array and those behind it."""

    def __init__(self, first: Array, address: int, size: int) -> None:
        self._first = first
        self.__array_interface__ = {"data": (address, False), "shape": (size,), "typestr": "<f4", "version": 3}


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


@dataclass(frozen=True)
class _Table:
    """A table's part of a group: its calls, and for each of their ids its place among the distinct ones."""

    served: ServedLayer
    calls: list[tuple[int, Places]]


class BatchRows:
    """What a batch needs; `ids` has the distinct ids of every table, int64 [m], in the order of their appearance."""

    def __init__(self, groups: Sequence[Group], found: Sequence[tuple[Any, Any]]) -> None:
        """`found` is what `ServedStep.ids` returned. Raises DataError for an id that its layer does not have."""
        self.ids: dict[str, Ids] = {}
        self._tables: list[_Table] = []
        for group, (ids, sizes) in zip(groups, found, strict=True):
            self._split(group, np.asarray(ids), np.asarray(sizes))

    def _split(self, group: Group, ids: Ids, sizes: Places) -> None:
        ends = np.cumsum(sizes).tolist()
        starts = [0, *ends[:-1]]
        for layer in dict.fromkeys(group.layers):
            calls = [number for number, other in enumerate(group.layers) if other is layer]
            first, last = starts[calls[0]], ends[calls[-1]]
            unique, places = deduplicate(np.ascontiguousarray(ids[first:last]))
            layer.check(unique)
            self.ids[layer.name] = unique
            parts = [places[starts[number] - first : ends[number] - first] for number in calls]
            self._tables.append(
                _Table(layer, list(zip([group.places[number] for number in calls], parts, strict=True)))
            )

    def inputs(self, rows: Mapping[str, NDArray[Any]], memory: StepMemory | None = None) -> list[tf.Tensor]:
        """Return what `ServedStep.compute` takes, given the rows of `ids`, [m, dim], as held; see `gathered`."""

        def gather(table: str, places: Places, out: Array) -> None:
            held = rows[table]
            (KERNELS.gather if held.dtype == out.dtype else KERNELS.widen)(held, places, out)

        return self.gathered(gather, memory)

    def gathered(self, gather: Gather, memory: StepMemory | None = None) -> list[tf.Tensor]:
        """Return what `ServedStep.compute` takes; it is in `memory` and so must not be used after the step."""
        memory = memory or StepMemory()
        result: dict[int, tf.Tensor] = {}
        for table in self._tables:
            for call, places in table.calls:
                array, result[call] = memory.rows(call, len(places), table.served.dim)
                gather(table.served.name, places, array)
        return [result[call] for call in range(len(result))]

    def gradients(self, of_rows: Sequence[Any]) -> dict[str, tuple[Ids, Array]]:
        """Return (`ids`, their gradients) by table, from what `ServedStep.compute` returned; equal ids are summed."""
        return {table: (self.ids[table], summed) for table, summed in self.summed(of_rows).items()}

    def counts(self) -> dict[str, Counts]:
        """Return how often each of `ids` is in the batch, for the tables that count ids."""
        counted = [table for table in self._tables if table.served.layer.trainable and table.served.spec.counts_ids]
        return {
            table.served.name: np.bincount(
                np.concatenate([places for _, places in table.calls]), minlength=len(self.ids[table.served.name])
            ).astype(np.int32)
            for table in counted
        }

    def summed(self, of_rows: Sequence[Any]) -> dict[str, Array]:
        """Return the gradients of `ids`, float32 [m, dim], by table that is trained; see `gradients`."""
        trained = [table for table in self._tables if table.served.layer.trainable]
        return {table.served.name: _summed(table, len(self.ids[table.served.name]), of_rows) for table in trained}


def _summed(table: _Table, count: int, of_rows: Sequence[Any]) -> Array:
    values = [np.ascontiguousarray(of_rows[call]) for call, _ in table.calls]
    if len(values) == 1 and len(values[0]) == count:  # all ids were distinct, and so are in their order
        return values[0]
    total = np.zeros((count, table.served.dim), np.float32)
    for (_, places), some in zip(table.calls, values, strict=True):
        KERNELS.add_rows(total, places, some)
    return total
