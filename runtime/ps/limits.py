"""The largest message that a parameter server takes: it follows from the model and the size of its batches.

Before a worker has announced the model's size, messages are small. Pure: nothing here knows about sockets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.parameters.arrays import Array
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.wire import LIMITS, Limits

UNANNOUNCED = Limits(frame=64 << 10, message=64 << 10, frames=8, body=32 << 10)
"""For messages to a server that does not know the model's size yet."""

IDS_OF_A_RECORD = 4096
"""How many ids a record can have in one table, on average over a batch and without repetitions."""

_LEAST = 16 << 20  # for a few rows too many, outside of steps
_LONGEST_BODY = 64 << 10  # beside the names of variables and tables
_ID = 8
_VALUE = 4


@dataclass(frozen=True)
class ModelSize:
    """What a server's share of a model takes in messages: bytes of dense values, of names, and of a row's traffic.

    `row` is for one id in every table: its lookup and its gradient.
    """

    dense: int
    names: int
    row: int

    @classmethod
    def of(cls, meta: Mapping[str, Any], dense: Mapping[str, Array], tables: Sequence[TableSpec]) -> ModelSize:
        """Return the size of what a declaration with this `meta` declares."""
        return cls(
            dense=sum(value.nbytes for value in dense.values()),
            names=len(json.dumps(meta)),
            row=sum(2 * _ID + _VALUE * (table.dim + (table.bounds is not None)) for table in tables),
        )

    def limits(self, records: int) -> Limits:
        """Return the limits for a job with batches of at most so many records."""
        body = min(_LONGEST_BODY + 4 * self.names, LIMITS.body)
        arrays = self.dense + self.row * records * IDS_OF_A_RECORD
        most = min(max(_LEAST, arrays + arrays // 8) + body, LIMITS.message)
        return Limits(frame=min(most, LIMITS.frame), message=most, frames=LIMITS.frames, body=body)


def refuse(size: int, limits: Limits) -> DataError:
    """Return the error for a message of so many bytes."""
    return DataError(
        f"a message of {megabytes(size)} for a parameter server: with this model and minibatch_size, it takes "
        f"{megabytes(limits.message)} at a time, which is room for all dense variables and {IDS_OF_A_RECORD} ids a "
        "record in each embedding; use a smaller minibatch_size if records have more"
    )


def megabytes(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / (1 << 20):,.1f} MiB"
