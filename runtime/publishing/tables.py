"""The rows of a version: all of them, or those that have changed since the version before, above its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Ids
from elasticdl_nb.runtime.parameters.checkpoints.chain import Files, file_id, read, since
from elasticdl_nb.runtime.parameters.mapped.form import (
    Described,
    Layer,
    Part,
    file_of,
    read_description,
    stem,
    stored_as,
    write_description,
)
from elasticdl_nb.runtime.parameters.mapped.form import Files as Known
from elasticdl_nb.runtime.parameters.mapped.reading import MappedPart
from elasticdl_nb.runtime.parameters.mapped.writing import Fetch, write_rows
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.publishing.spool import Spool
from elasticdl_nb.runtime.publishing.weights import DenseWeights

_NONE: Ids = np.zeros(0, np.int64)

SHARE = 0.5
"""Layers never have more than this share of the rows below them: then everything is written again."""


class DamagedBefore(DataError):
    """Files of the version before are damaged: no version can build on them."""


class Before:
    """The tables of the version before, on which a version builds that has only what has changed.

    Raises DataError if the description of its files is damaged.
    """

    def __init__(self, folder: Path, digest: str, follows: list[list[str]]) -> None:
        self.folder, self.follows = folder, follows
        self.tables = read_description(folder, digest)

    def fits(self, chains: list[Files], dtype: str) -> bool:
        """Whether it can be told what has changed since then, and values are stored as before."""
        return (
            len(chains) == len(self.follows)
            and all(one.dtype == stored_as(one.spec, dtype) and len(one.parts) == len(chains) for one in self.tables)
            and all(since(files, id) for files, id in zip(chains, self.follows, strict=True))
            and not any(_is_high(part) for one in self.tables for part in one.parts)
        )

    def link_into(self, folder: Path) -> bool:
        """Give all its files the same names in another folder; return whether the file system could do that."""
        names = [
            file_of(Path(stem(table)), number, len(one.parts), kind).name
            for table, one in enumerate(self.tables)
            for number, part in enumerate(one.parts)
            for kind in part.every_file
        ]
        try:
            for name in names:
                os.link(self.folder / name, folder / name)
        except OSError:
            for name in names:
                (folder / name).unlink(missing_ok=True)
            return False
        return True

    def part(self, name: str, number: int) -> tuple[int, Part, MappedPart]:
        """Return the number of a table, and a part of it. Raises DataError if there is none, or it is damaged."""
        for table, one in enumerate(self.tables):
            if one.spec.name == name:
                return table, one.parts[number], MappedPart(one, self.folder / stem(table), number)
        raise DataError(f"{self.folder} has no table {name}")


def _is_high(part: Part) -> bool:
    return sum(layer.rows + layer.gone for layer in part.layers) > SHARE * part.rows


class TablesWriter:
    """Writes the tables of a checkpoint's servers, whose files are `chains`, into `folder`.

    `layer` is the name of what is written above the files of `before`, if there is one that fits. Dense slices go to
    `dense` on the way.
    """

    def __init__(
        self, folder: Path, chains: list[Files], dtype: str, layer: str, *, before: Before | None = None,
        dense: DenseWeights | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._chains, self._dtype, self._layer = folder, chains, dtype, layer
        self._dense = dense
        self._before = before if before is not None and before.fits(chains, dtype) else None

    def write(self) -> str:
        """Write all files; return the digest of their description. Raises DataError, DamagedBefore and OSError."""
        self._folder.mkdir()
        if self._before is not None and not self._before.link_into(self._folder):
            self._before = None
        specs: dict[str, TableSpec] = {}
        parts: dict[str, list[Part]] = {}
        for number in range(len(self._chains)):
            for spec, part in self._server(number):
                specs[spec.name] = spec
                parts.setdefault(spec.name, []).append(part)
        described = [Described(spec, self._stored(spec), tuple(parts[name])) for name, spec in specs.items()]
        return write_description(self._folder, described)

    @property
    def is_delta(self) -> bool:
        """Whether there is only what has changed since the version before."""
        return self._before is not None

    @property
    def follows(self) -> list[list[str]]:
        """The ids of each server's files. A later chain has one of them, even if it has become a single file."""
        return [[id for file in files if (id := file_id(file))] for files in self._chains]

    # ------------------------------------------------------------ one server

    def _server(self, number: int) -> Iterator[tuple[TableSpec, Part]]:
        """Write the parts of one server; yield what they are, in the order of the tables."""
        files, after = self._chains[number], ""
        if self._before is not None:
            after, files = since(files, self._before.follows[number]) or ("", files)
        with ExitStack() as stack:
            spools: dict[str, Spool] = {}
            specs: dict[str, TableSpec] = {}
            gone: dict[str, list[Ids]] = {}
            for frame in read(files, after) if files else ():
                kind = frame.meta["kind"]
                if kind == "dense" and self._dense is not None:
                    self._dense.add(frame.meta["key"], frame.arrays[0])
                elif kind == "table":
                    spec = TableSpec.from_json(frame.meta["spec"])
                    specs[spec.name] = spec
                    spools[spec.name] = stack.enter_context(Spool(self._folder, spec.dim, self._stored(spec)))
                elif kind == "rows":
                    spools[frame.meta["table"]].add(frame.arrays[0], frame.arrays[1])
                elif kind == "removed":
                    gone.setdefault(frame.meta["table"], []).append(frame.arrays[0])
            for table, (name, spec) in enumerate(specs.items()):
                part = self._part(table, number, spec, spools[name], gone.get(name, []))
                yield spec, part

    def _part(self, table: int, number: int, spec: TableSpec, spool: Spool, gone: list[Ids]) -> Part:
        ids = spool.sorted_ids()
        if self._before is None:
            return Part(ids.size, self._write(table, number, spec, "", ids, spool.fetch, None))
        left = np.setdiff1d(np.concatenate([_NONE, *gone]), ids)
        table, old, earlier = self._before.part(spec.name, number)
        total = earlier.without(ids, left)
        kept = len(old.layers) - _layers_to_merge(old.layers, ids.size + left.size)
        for layer in old.layers[kept:]:
            self._remove(table, number, layer)
        if kept < len(old.layers):
            try:
                earlier.verify(kept + 1)  # otherwise, new checksums would declare damage to be right
            except DataError as error:
                raise DamagedBefore(str(error)) from None
            for some, stored, scales in earlier.stored_blocks(kept + 1):
                new = ~_among(some, ids) & ~_among(some, left)
                spool.add_stored(some[new], stored[new], None if scales is None else scales[new])
            left = np.union1d(left, np.setdiff1d(earlier.gone(kept + 1), ids))
            ids = spool.sorted_ids()
        files = self._write(table, number, spec, f"{self._layer}.", ids, spool.fetch, left)
        above = Layer(self._layer, ids.size, left.size, files)
        return Part(old.rows, old.files, (*old.layers[:kept], above), total)

    def _stored(self, spec: TableSpec) -> str:
        return stored_as(spec, self._dtype)

    def _remove(self, table: int, number: int, layer: Layer) -> None:
        for kind in layer.files:
            file_of(self._folder / stem(table), number, len(self._chains), f"{layer.name}.{kind}").unlink()

    def _write(
        self, table: int, number: int, spec: TableSpec, prefix: str, ids: Ids, fetch: Fetch, gone: Ids | None
    ) -> Known:
        place = partial(file_of, self._folder / stem(table), number, len(self._chains))
        dtype = self._stored(spec)
        *_, files = write_rows(spec, lambda kind: place(f"{prefix}{kind}"), ids, fetch, dtype, gone)
        assert files is not None
        return files


def _layers_to_merge(layers: tuple[Layer, ...], rows: int) -> int:
    """Return how many of the highest layers become one with new rows: those that together have no more than these.

    So each layer has more rows than all above it, and there are few of them, however many versions there were.
    """
    count = 0
    for layer in reversed(layers):
        if layer.rows + layer.gone > rows:
            break
        rows += layer.rows + layer.gone
        count += 1
    return count


def _among(ids: Ids, ascending: Ids) -> NDArray[np.bool_]:
    """Whether each of `ids` is among those that ascend."""
    if not ascending.size:
        return np.zeros(ids.size, np.bool_)
    found: NDArray[np.bool_] = ascending[np.minimum(np.searchsorted(ascending, ids), ascending.size - 1)] == ids
    return found
