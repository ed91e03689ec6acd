"""The functions of `kernels` in NumPy, for systems without numba; same arguments, same results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.parameters.arrays import Array, Ids, Rows
from elasticdl_nb.runtime.parameters.rows.kernels import Halves, Slots

_SHIFT = np.uint64(33)
_FIRST = np.uint64(0xFF51AFD7ED558CCD)
_SECOND = np.uint64(0xC4CEB9FE1A85EC53)
_GOLDEN, _MIX_FIRST, _MIX_SECOND = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


def mix(value: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash 64 bits to 64 bits, elementwise (the finalizer of MurmurHash3)."""
    bits = np.array(value).view(np.uint64)
    bits ^= bits >> _SHIFT
    bits *= _FIRST
    bits ^= bits >> _SHIFT
    bits *= _SECOND
    bits ^= bits >> _SHIFT
    return bits


def _home(slots: Slots, ids: Ids) -> NDArray[np.int64]:
    return (mix(ids) & np.uint64(slots.size - 1)).view(np.int64)


def find(slots: Slots, known: Ids, query: Ids, rows: Rows) -> None:
    """See `kernels.find`."""
    seeking = np.arange(query.size)
    place = _home(slots, query)
    while seeking.size:
        row = slots[place] - 1
        rows[seeking] = row
        onward = (row >= 0) & (known[row] != query[seeking])
        seeking, place = seeking[onward], (place[onward] + 1) & (slots.size - 1)


def find_or_insert(slots: Slots, known: Ids, count: int, query: Ids, rows: Rows, start: int) -> tuple[int, int]:
    """See `kernels.find_or_insert`."""
    asked, out = query[start:], rows[start:]
    find(slots, known, asked, out)
    absent = np.flatnonzero(out < 0)
    if not absent.size:
        return count, query.size
    _, first, inverse = np.unique(asked[absent], return_index=True, return_inverse=True)
    order = np.argsort(first)
    room = max(0, slots.size // 8 * 5 - count)
    stop = asked.size if order.size <= room else int(absent[first[order[room]]])
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    out[absent] = count + rank[inverse]
    new = asked[absent[first[order[:room]]]]
    known[count : count + new.size] = new
    insert(slots, new, np.arange(count, count + new.size, dtype=np.int32))
    return count + new.size, start + stop


def rebuild(slots: Slots, known: Ids, count: int) -> None:
    """See `kernels.rebuild`."""
    insert(slots, known[:count], np.arange(count, dtype=np.int32))


def insert(slots: Slots, ids: Ids, rows: Rows) -> None:
    """See `kernels.insert`."""
    rows = rows + np.int32(1)
    place = _home(slots, ids)
    while rows.size:
        free = slots[place] == 0
        slots[place[free]] = rows[free]
        onward = slots[place] != rows
        rows, place = rows[onward], (place[onward] + 1) & (slots.size - 1)


def remove(slots: Slots, known: Ids, rows: Rows) -> None:
    """See `kernels.remove`."""
    mask = slots.size - 1
    for row, hole in zip(rows.tolist(), _home(slots, known[rows]).tolist(), strict=True):
        while slots[hole] != row + 1:
            hole = (hole + 1) & mask
        h = (hole + 1) & mask
        while slots[h] != 0:
            home = int(_home(slots, known[slots[h] - 1 : slots[h]])[0])
            if (h - home) & mask >= (h - hole) & mask:
                slots[hole] = slots[h]
                hole = h
            h = (h + 1) & mask
        slots[hole] = 0


def gather(source: Array, rows: Rows, out: Array) -> None:
    """See `kernels.gather`."""
    np.take(source, rows, axis=0, out=out)


def scatter(target: Array, rows: Rows, values: Array) -> None:
    """See `kernels.scatter`."""
    target[rows] = values


def fade(target: Array, rows: Rows, factors: Array, start: np.float32) -> None:
    """See `kernels.fade`."""
    target[rows] = (target[rows] - start) * factors[:, np.newaxis] + start


def add_rows(target: Array, rows: Rows, values: Array) -> None:
    """See `kernels.add_rows`."""
    np.add.at(target, rows, values)


def widen(source: Halves, rows: Rows, out: Array) -> None:
    """See `kernels.widen`."""
    np.left_shift(source[rows], np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)


def narrow(target: Halves, rows: Rows, values: Array, known: Ids, noise: np.uint64) -> None:
    """See `kernels.narrow`."""
    half = np.uint32(16)
    states = mix(known[rows].view(np.uint64) + noise).astype(np.uint32)
    chance = states[:, np.newaxis] + np.arange(target.shape[1], dtype=np.uint32) * _GOLDEN
    chance = (chance ^ (chance >> half)) * _MIX_FIRST
    chance = (chance ^ (chance >> np.uint32(13))) * _MIX_SECOND
    bits = values.view(np.uint32)
    rounded = (bits + (chance >> half)) >> half
    target[rows] = np.where(np.isnan(values), (bits >> half) | np.uint32(0x40), rounded)
