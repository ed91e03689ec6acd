"""Compiled kernels over ids and rows.

The index is a table of `slots`, a power of two in number, in which `slots[h] - 1` is the row of the id that hashes to
`h` or, by linear probing, to a slot before it; 0 marks a free slot. The ids themselves are in `known`, by row: a slot
costs 4 bytes, and rebuilding the index needs only `known`.

`kernels_numpy` has the same functions with the same results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.compiled import compiled
from elasticdl_nb.runtime.parameters.arrays import Array, Ids, Rows
from elasticdl_nb.runtime.parameters.rows.prefetch import AHEAD, touch, touch_later

Slots = NDArray[np.int32]
Homes = NDArray[np.uint64]
Halves = NDArray[np.uint16]

_BLOCK = 32
_CACHED = 1 << 20
"""Up to so many slots, a processor's caches do as well by themselves."""
_SHIFT = np.uint64(33)
_ONE = np.uint64(1)
_FIRST = np.uint64(0xFF51AFD7ED558CCD)
_SECOND = np.uint64(0xC4CEB9FE1A85EC53)
_HALF, _THIRTEEN = np.uint32(16), np.uint32(13)
_GOLDEN, _MIX_FIRST, _MIX_SECOND = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_MAGNITUDE, _INFINITE, _QUIET = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000), np.uint32(0x40)


@compiled
def mix(value: Any) -> Any:
    """Hash 64 bits to 64 bits (the finalizer of MurmurHash3)."""
    bits = np.uint64(value)
    bits ^= bits >> _SHIFT
    bits *= _FIRST
    bits ^= bits >> _SHIFT
    bits *= _SECOND
    bits ^= bits >> _SHIFT
    return bits


@compiled
def _homes(slots: Slots, known: Ids, query: Ids, start: int, homes: Homes) -> int:
    """Set `homes` to where the ids from `query[start]` on hash to; return how many there are.

    Ask for the slots there, and for the ids of the rows that are found in them.
    """
    mask = np.uint64(slots.size - 1)
    count = min(homes.size, query.size - start)
    for i in range(count):
        homes[i] = mix(query[start + i]) & mask
    if slots.size > _CACHED:
        for i in range(count):
            touch(slots, homes[i])
        for i in range(count):
            row = slots[homes[i]] - 1
            if row >= 0:
                touch(known, row)
    return count


@compiled
def find(slots: Slots, known: Ids, query: Ids, rows: Rows) -> None:
    """Set `rows[i]` to the row of `query[i]`, or to -1."""
    mask = np.uint64(slots.size - 1)
    homes = np.empty(_BLOCK, np.uint64)
    for first in range(0, query.size, _BLOCK):
        for i in range(_homes(slots, known, query, first, homes)):
            h, wanted = homes[i], query[first + i]
            row = slots[h] - 1
            while row >= 0 and known[row] != wanted:
                h = (h + _ONE) & mask
                row = slots[h] - 1
            rows[first + i] = row


@compiled
def find_or_insert(slots: Slots, known: Ids, count: int, query: Ids, rows: Rows, start: int) -> tuple[int, int]:
    """Set `rows[i]` for i >= start to the row of `query[i]`; ids that are absent get the rows from `count` on.

    Stops where the index would become more than five eighths full. Returns the new count, and where it stopped
    (`query.size` when all was done). `known` must have room for `query.size` more.
    """
    mask = np.uint64(slots.size - 1)
    limit = slots.size // 8 * 5
    homes = np.empty(_BLOCK, np.uint64)
    for first in range(start, query.size, _BLOCK):
        for i in range(_homes(slots, known, query, first, homes)):
            h, wanted = homes[i], query[first + i]
            row = slots[h] - 1
            while row >= 0 and known[row] != wanted:
                h = (h + _ONE) & mask
                row = slots[h] - 1
            if row < 0:
                if count >= limit:
                    return count, first + i
                row = count
                slots[h] = row + 1
                known[row] = wanted
                count += 1
            rows[first + i] = row
    return count, query.size


@compiled
def rebuild(slots: Slots, known: Ids, count: int) -> None:
    """Fill free `slots` with the first `count` of `known`, which are all distinct."""
    mask = np.uint64(slots.size - 1)
    for row in range(count):
        h = mix(known[row]) & mask
        while slots[h] != 0:
            h = (h + _ONE) & mask
        slots[h] = row + 1


@compiled
def insert(slots: Slots, ids: Ids, rows: Rows) -> None:
    """Find free `slots` for ids that are distinct and have none; id i gets row `rows[i]`."""
    mask = np.uint64(slots.size - 1)
    for i in range(ids.size):
        h = mix(ids[i]) & mask
        while slots[h] != 0:
            h = (h + _ONE) & mask
        slots[h] = rows[i] + 1


@compiled
def remove(slots: Slots, known: Ids, rows: Rows) -> None:
    """Free the slots of `rows`; ids that were pushed beyond one move back into it, so that they are found."""
    mask = np.uint64(slots.size - 1)
    for i in range(rows.size):
        hole = mix(known[rows[i]]) & mask
        while slots[hole] != rows[i] + 1:
            hole = (hole + _ONE) & mask
        h = (hole + _ONE) & mask
        while slots[h] != 0:
            home = mix(known[slots[h] - 1]) & mask
            if ((h - home) & mask) >= ((h - hole) & mask):
                slots[hole] = slots[h]
                hole = h
            h = (h + _ONE) & mask
        slots[hole] = 0


@compiled
def gather(source: Array, rows: Rows, out: Array) -> None:
    """Copy row `rows[i]` of `source` to row i of `out`."""
    for i in range(rows.size):
        touch_later(source, rows, i)
        row = rows[i]
        for j in range(source.shape[1]):
            out[i, j] = source[row, j]


@compiled
def scatter(target: Array, rows: Rows, values: Array) -> None:
    """Copy row i of `values` to row `rows[i]` of `target`."""
    for i in range(rows.size):
        touch_later(target, rows, i)
        row = rows[i]
        for j in range(target.shape[1]):
            target[row, j] = values[i, j]


@compiled
def fade(target: Array, rows: Rows, factors: Array, start: Any) -> None:
    """Bring row `rows[i]` of `target` nearer to `start`, float32: multiply the difference by `factors[i]`."""
    for i in range(rows.size):
        touch_later(target, rows, i)
        row, factor = rows[i], factors[i]
        for j in range(target.shape[1]):
            target[row, j] = (target[row, j] - start) * factor + start


@compiled
def add_rows(target: Array, rows: Rows, values: Array) -> None:
    """Add row i of `values` to row `rows[i]` of `target`, in the order of i."""
    for i in range(rows.size):
        row = rows[i]
        for j in range(target.shape[1]):
            target[row, j] += values[i, j]


@compiled
def widen(source: Halves, rows: Rows, out: Array) -> None:
    """Copy row `rows[i]` of `source`, bfloat16, to row i of `out`, float32: see `halves`."""
    bits = out.view(np.uint32)
    for i in range(rows.size):
        touch_later(source, rows, i)
        row = rows[i]
        for j in range(source.shape[1]):
            bits[i, j] = np.uint32(source[row, j]) << _HALF


@compiled
def narrow(target: Halves, rows: Rows, values: Array, known: Ids, noise: Any) -> None:
    """Round row i of `values`, float32, to row `rows[i]` of `target`, bfloat16, up or down by chance: see `halves`.

    `known` are the ids by row, and `noise` is a uint64. Arithmetic of 32 bits becomes vectors.
    """
    bits = values.view(np.uint32)
    for i in range(rows.size):
        if i + AHEAD < rows.size:
            touch(known, rows[i + AHEAD])
        row = rows[i]
        state = np.uint32(mix(np.uint64(known[row]) + noise))
        for j in range(target.shape[1]):
            chance = np.uint32(state + np.uint32(np.uint32(j) * _GOLDEN))
            chance = np.uint32(np.uint32(chance ^ (chance >> _HALF)) * _MIX_FIRST)
            chance = np.uint32(np.uint32(chance ^ (chance >> _THIRTEEN)) * _MIX_SECOND)
            value = bits[i, j]
            half = np.uint32(value + np.uint32(chance >> _HALF)) >> _HALF
            if np.uint32(value & _MAGNITUDE) > _INFINITE:
                half = np.uint32(value >> _HALF) | _QUIET
            target[row, j] = np.uint16(half)
