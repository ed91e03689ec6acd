"""What readers hand out: many records at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class FileRecords:
    """A file and the number of records in it; `start` is the number of the first."""

    path: str
    records: int
    start: int = 0


@dataclass(frozen=True)
class Metadata:
    """Names and NumPy dtypes ("string" for text and bytes) of a reader's columns; both empty for form "bytes".

    `column_shapes` holds the shape of one value of those columns that are not scalars.
    """

    column_names: list[str] = field(default_factory=list)
    column_dtypes: dict[str, str] = field(default_factory=dict)
    column_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


class Records:
    """Records that are plain bytes, held in one buffer.

    `starts` and `ends` (int64 [n] each) say where in `buffer` each record is.
    """

    __slots__ = ("buffer", "ends", "starts")

    def __init__(self, buffer: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.buffer = buffer
        self.starts = starts
        self.ends = ends

    def __len__(self) -> int:
        return len(self.starts)

    def slice(self, start: int, end: int) -> Records:
        """Return records [start, end); nothing is copied."""
        return Records(self.buffer, self.starts[start:end], self.ends[start:end])

    def to_list(self) -> list[bytes]:
        """Return each record as bytes."""
        buffer = self.buffer
        return [buffer[start:end] for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)]

    def to_numpy(self) -> NDArray[np.object_]:
        """Return the records as an array of bytes objects, [n]: the form that becomes one string tensor."""
        array: NDArray[Any] = np.empty(len(self), object)
        array[:] = self.to_list()
        return array


Chunk: TypeAlias = Records | pa.RecordBatch
"""`Records` from readers of form "bytes", `pyarrow.RecordBatch` from the others. `len()` is the number of records."""
