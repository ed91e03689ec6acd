"""What the files of a trained model's tables are: see docs/models.md.

Each part of a table, which one server wrote, has NumPy files of its own: `ids`, int64 [n] in ascending order; `rows`
[n, dim], row i for id i; `index`, every 512th id; and, for int8, `scales`, float32 [n]. `tables.json` describes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.table import TableSpec

DESCRIPTION = "tables.json"
FORMAT = 1
FENCE = 512
"""Every so many ids, the index has one: those in between are a page of memory."""

STORED: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2"), "int8": np.dtype("i1")}
"""How values are stored. NumPy has no bfloat16: these are the upper 16 bits of a float32."""


@dataclass(frozen=True)
class Part:
    """One server's rows of a table: how many there are, and size and CRC-32 of each file, by kind."""

    rows: int
    files: dict[str, tuple[int, int]]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"rows": self.rows, "files": {kind: list(known) for kind, known in self.files.items()}}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Part:
        """Read back what `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        files = {str(kind): (int(size), int(crc)) for kind, (size, crc) in plain["files"].items()}
        return cls(int(plain["rows"]), files)


@dataclass(frozen=True)
class Described:
    """A table in files: its name and dimensions, how its values are stored, and its parts in the servers' order."""

    spec: TableSpec
    dtype: str
    parts: tuple[Part, ...]

    @property
    def nbytes(self) -> int:
        """The size of all files."""
        return sum(size for part in self.parts for size, _ in part.files.values())


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
    of_one: np.dtype[Any] = np.dtype("<i8" if kind == "ids" else "<f4")
    return of_one, (rows,)


# ------------------------------------------------------------ tables.json


def write_description(folder: Path, tables: Sequence[Described]) -> str:
    """Write `tables.json`, which completes the folder; return its digest. Raises OSError."""
    plain = {
        "format": FORMAT,
        "tables": [
            {"spec": one.spec.to_json(), "dtype": one.dtype, "parts": [part.to_json() for part in one.parts]}
            for one in tables
        ],
    }
    content = json.dumps(plain, indent=1).encode()
    durable.write(folder / DESCRIPTION, content, flush=False)
    return hashlib.blake2b(content, digest_size=16).hexdigest()


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
        if plain["format"] != FORMAT:
            raise DataError(f"{path} has the format {plain['format']}; this version reads format {FORMAT}")
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
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(rows).view(np.uint32)
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.where(np.isnan(rows), np.uint32(0x7FC0), rounded).astype(np.uint16), None
    if not np.isfinite(rows).all():
        raise DataError("rows with values that are not finite cannot be stored as int8")
    scales = (np.abs(rows).max(axis=1, initial=0.0) / np.float32(127)).astype(np.float32)
    divisors = np.where(scales > 0, scales, np.float32(1))[:, np.newaxis]
    return np.clip(np.rint(rows / divisors), -127, 127).astype(np.int8), scales


def decoded(stored: NDArray[Any], scales: Array | None) -> Array:
    """Return stored rows as float32 [n, dim]."""
    if stored.dtype == np.float32:
        return stored
    if scales is None:
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32) * scales[:, np.newaxis]
