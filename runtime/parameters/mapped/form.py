"""What the files of a trained model's tables are: see docs/models.md.

Each part of a table, which one server wrote, has NumPy files of its own: `ids`, int64 [n] in ascending order; `rows`
[n, dim], row i for id i; `index`, every 512th id; and, for int8, `scales`, float32 [n]. `tables.json` describes them.
A version that was published may share them with the one before, and have layers above them: the same files with the
rows that have changed, and `gone`, int64 [m] in ascending order, the ids whose rows have left.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.rows.halves import floats, rounded
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.spec.tableoptions import BFLOAT16, FLOAT32

DESCRIPTION = "tables.json"
_LAYER = re.compile(r"layer-\d+")
FORMAT = 3
"""The newest format. Format 1, which all versions read, has neither layers (2) nor tables that trained bfloat16 or
whose slots faded (3)."""

FENCE = 512
"""Every so many ids, the index has one: those in between are a page of memory."""

STORED: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2"), "int8": np.dtype("i1")}
"""How values are stored; see `rows.halves` for bfloat16."""


def stored_as(spec: TableSpec, dtype: str) -> str:
    """How a table's values are stored where a job asks for `dtype`: those of bfloat16 need not become float32."""
    return spec.row_dtype if dtype == FLOAT32 else dtype


Files = dict[str, tuple[int, int]]
"""Size and CRC-32 of files, by kind."""


@dataclass(frozen=True)
class Layer:
    """Rows that replace those in the files below: `name` is in the names of its files."""

    name: str
    rows: int
    gone: int
    files: Files

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"name": self.name, "rows": self.rows, "gone": self.gone, "files": _plain_files(self.files)}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Layer:
        """Read back what `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        if not _LAYER.fullmatch(plain["name"]):
            raise ValueError(f"a layer called {plain['name']!r}")
        return cls(plain["name"], int(plain["rows"]), int(plain["gone"]), _files_of(plain["files"]))


@dataclass(frozen=True)
class Part:
    """One server's rows of a table: how many there are in the files below all `layers`, the lowest of which is first.

    `total` is how many there are with the layers; None is as many as without.
    """

    rows: int
    files: Files
    layers: tuple[Layer, ...] = ()
    total: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        plain: dict[str, Any] = {"rows": self.rows, "files": _plain_files(self.files)}
        if self.layers:
            plain |= {"layers": [layer.to_json() for layer in self.layers], "total": self.total}
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Part:
        """Read back what `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        layers = tuple(Layer.from_json(one) for one in plain.get("layers", ()))
        return cls(int(plain["rows"]), _files_of(plain["files"]), layers, int(plain["total"]) if layers else None)

    @property
    def every_file(self) -> dict[str, tuple[int, int]]:
        """Size and CRC-32 of each file, by kind, which has a layer's name before it."""
        layered = {f"{layer.name}.{kind}": one for layer in self.layers for kind, one in layer.files.items()}
        return self.files | layered


def _plain_files(files: Files) -> dict[str, list[int]]:
    return {kind: list(known) for kind, known in files.items()}


def _files_of(plain: dict[str, Any]) -> Files:
    return {str(kind): (int(size), int(crc)) for kind, (size, crc) in plain.items()}


@dataclass(frozen=True)
class Described:
    """A table in files: its name and dimensions, how its values are stored, and its parts in the servers' order."""

    spec: TableSpec
    dtype: str
    parts: tuple[Part, ...]

    @property
    def nbytes(self) -> int:
        """The size of all files."""
        return sum(size for part in self.parts for size, _ in part.every_file.values())


def stem(table: int) -> str:
    """What the names of a table's files begin with; `table` is its position in `tables.json`."""
    return f"table-{table:03d}"


def file_of(stem: Path, part: int, parts: int, kind: str) -> Path:
    """The file of one kind that a part of a table has."""
    return stem.with_name(f"{stem.name}.{part}-of-{parts}.{kind}.npy")


def kinds(dtype: str) -> tuple[str, ...]:
    """The kinds of files that each part of a table has."""
    return ("ids", "index", "rows", *(("scales",) if dtype == "int8" else ()))


def expected(kind: str, rows: int, dim: int, dtype: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype and shape of the array in a file."""
    if kind == "index":
        return np.dtype("<i8"), (-(-rows // FENCE),)
    if kind == "rows":
        return STORED[dtype], (rows, dim)
    of_one: np.dtype[Any] = np.dtype("<f4" if kind == "scales" else "<i8")
    return of_one, (rows,)


# ------------------------------------------------------------ tables.json


def write_description(folder: Path, tables: Sequence[Described]) -> str:
    """Write `tables.json`, which completes the folder; return its digest. Raises OSError."""
    plain = {
        "format": _format(tables),
        "tables": [
            {"spec": one.spec.to_json(), "dtype": one.dtype, "parts": [part.to_json() for part in one.parts]}
            for one in tables
        ],
    }
    content = json.dumps(plain, indent=1).encode()
    durable.write(folder / DESCRIPTION, content, flush=False)
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _format(tables: Sequence[Described]) -> int:
    """Return the earliest format that has what these tables need."""
    if any(one.spec.row_dtype != FLOAT32 or (one.spec.bounds and one.spec.bounds.slot_half_life) for one in tables):
        return 3
    return 2 if any(part.layers for one in tables for part in one.parts) else 1


def read_description(folder: Path, digest: str = "") -> list[Described]:
    """Read `tables.json`; raises DataError if it is missing, damaged, or of another format."""
    path = folder / DESCRIPTION
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if digest and hashlib.blake2b(content, digest_size=16).hexdigest() != digest:
        raise DataError(f"{path} is damaged: it is not the file that the trained model names")
    try:
        plain = json.loads(content)
        if plain["format"] not in range(1, FORMAT + 1):
            raise DataError(f"{path} has the format {plain['format']}; this version reads formats up to {FORMAT}")
        return [_described(one) for one in plain["tables"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def _described(plain: dict[str, Any]) -> Described:
    dtype, parts = plain["dtype"], tuple(Part.from_json(part) for part in plain["parts"])
    if dtype not in STORED or not parts:
        raise ValueError(f"a table of {dtype} in {len(parts)} parts")
    return Described(TableSpec.from_json(plain["spec"]), dtype, parts)


# ------------------------------------------------------------ values


def encoded(rows: Array, dtype: str) -> tuple[NDArray[Any], Array | None]:
    """Return rows, float32 [n, dim], as they are stored, and for int8 the factor of each row, float32 [n]."""
    if dtype == "float32":
        return rows, None
    if dtype == BFLOAT16:
        return rounded(rows), None
    if not np.isfinite(rows).all():
        raise DataError("rows with values that are not finite cannot be stored as int8")
    scales = (np.abs(rows).max(axis=1, initial=0.0) / np.float32(127)).astype(np.float32)
    divisors = np.where(scales > 0, scales, np.float32(1))[:, np.newaxis]
    return np.clip(np.rint(rows / divisors), -127, 127).astype(np.int8), scales


def decoded(stored: NDArray[Any], scales: Array | None) -> Array:
    """Return stored rows as float32 [n, dim]."""
    if scales is None:
        return floats(stored)
    return stored.astype(np.float32) * scales[:, np.newaxis]
