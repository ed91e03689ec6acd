"""Who owns what: dense variables by a stable hash of their names, large ones in slices; embedding rows by their ids.

Every function here depends only on its arguments, so that workers, servers and readers of checkpoints agree without
asking each other, and a checkpoint from one number of servers can be loaded into another.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array, Ids

# Elements of the slices into which larger variables are cut (1 MiB of float32).
SLICE = 1 << 18


@dataclass(frozen=True)
class Slice:
    """Elements [start, stop) of the flattened variable `name`, which has `size` of them."""

    name: str
    start: int
    stop: int
    size: int

    @cached_property
    def key(self) -> str:
        """The slice as text: "NAME@START:STOP/SIZE"."""
        return f"{self.name}@{self.start}:{self.stop}/{self.size}"

    @classmethod
    def parse(cls, key: str) -> Slice:
        """Read back what `key` wrote; raises DataError."""
        name, _, numbers = key.rpartition("@")
        try:
            extent, size = numbers.split("/")
            start, stop = extent.split(":")
            piece = cls(name, int(start), int(stop), int(size))
        except ValueError:
            raise DataError(f"{key!r} does not name a part of a variable, as NAME@START:STOP/SIZE does") from None
        if not 0 <= piece.start <= piece.stop <= piece.size:
            raise DataError(f"{key!r} names elements outside of the variable")
        return piece

    def overlap(self, other: Slice) -> tuple[int, int] | None:
        """Return the elements [start, stop) that two slices of one variable share, or None."""
        start, stop = max(self.start, other.start), min(self.stop, other.stop)
        return (start, stop) if start < stop else None


def slices_of(name: str, size: int, servers: int) -> list[tuple[int, Slice]]:
    """Return (server, slice) for all slices of a variable of `size` elements, in their order."""
    first = zlib.crc32(name.encode()) % servers
    pieces = 1 if servers == 1 else min(max(1, math.ceil(size / SLICE)), max(1, size))
    bounds = [size * i // pieces for i in range(pieces + 1)]
    return [((first + i) % servers, Slice(name, bounds[i], bounds[i + 1], size)) for i in range(pieces)]


class DensePartition:
    """The dense variables of a model, `shapes` by name, distributed over a number of servers."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], servers: int) -> None:
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.servers = servers
        self._slices = {name: slices_of(name, math.prod(shape), servers) for name, shape in self.shapes.items()}

    def split(self, values: Mapping[str, Array]) -> list[dict[str, Array]]:
        """Return for every server its slices of `values`, by key, as flat views of contiguous arrays."""
        parts: list[dict[str, Array]] = [{} for _ in range(self.servers)]
        for name, value in values.items():
            flat = np.ascontiguousarray(value).reshape(-1)
            for server, piece in self._slices[name]:
                parts[server][piece.key] = flat[piece.start : piece.stop]
        return parts

    def join(self, parts: Mapping[str, Array]) -> dict[str, Array]:
        """Return whole variables from all their slices by key; variables without any slice are left out.

        Raises DataError if only some slices of a variable are present.
        """
        values: dict[str, Array] = {}
        for name, shape in self.shapes.items():
            pieces = [parts.get(piece.key) for _, piece in self._slices[name]]
            present = [piece for piece in pieces if piece is not None]
            if present and len(present) < len(pieces):
                raise DataError(
                    f"variable {name}: {len(pieces) - len(present)} of its {len(pieces)} slices are missing"
                )
            if present:
                values[name] = (present[0] if len(present) == 1 else np.concatenate(present)).reshape(shape)
        return values


def owners(ids: Ids, servers: int) -> NDArray[Any]:
    """Return the server of every id, int64 [n]: the id modulo their number, never negative."""
    return np.mod(ids, servers)


def split_ids(ids: Ids, servers: int) -> list[NDArray[np.int64]]:
    """Return for every server the places in `ids` of those it owns, in their order."""
    if servers == 1:
        return [np.arange(ids.size)]
    owner = owners(ids, servers)
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=servers))
    return np.split(order, ends[:-1])
