"""What a statement gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from elasticdl_nb.sql.statements import Statement

if TYPE_CHECKING:
    from elasticdl_nb.job import Job


@dataclass(frozen=True)
class Result:
    """What one statement gave: rows, where it gives any, what there is to say, and the job that ran."""

    statement: Statement
    table: pa.Table | None = None
    messages: tuple[str, ...] = ()
    job: Job | None = None
    plot: str = ""
    """An SVG picture, for EXPLAIN."""

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table, without columns if the statement gives none."""
        return pa.table({}) if self.table is None else self.table

    def df(self) -> Any:
        """Return the rows as a pandas frame."""
        return self.arrow().to_pandas()

    def pl(self) -> Any:
        """Return the rows as a Polars frame."""
        import polars

        return polars.from_arrow(self.arrow())
