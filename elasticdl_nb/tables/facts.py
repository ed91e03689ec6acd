"""What a table's rows say about its columns: counts, means, ranges and different values, in one pass over them.

The rows are those that readers of data make, without missing values: a missing number is NaN, a missing text is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elasticdl_nb.runtime.data import columntypes

MOST_VALUES = 50_000
"""How many different values of a column are counted."""


@dataclass(frozen=True)
class Facts:
    """What is known about a column. Moments are in seconds since 1970; an infinite number counts as missing.

    `values` are the different values in order, or None if there are more than `MOST_VALUES`.
    """

    rows: int = 0
    missing: int = 0
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0
    is_whole: bool = True
    values: tuple[Any, ...] | None = ()

    @property
    def known(self) -> int:
        """The number of rows that have a value."""
        return self.rows - self.missing

    @property
    def count(self) -> int:
        """How many different values there are, at most one more than `MOST_VALUES`."""
        return MOST_VALUES + 1 if self.values is None else len(self.values)


def collect(batches: Iterable[pa.RecordBatch], kinds: Mapping[str, str]) -> dict[str, Facts]:
    """Return the facts about those columns that `kinds` has, by name."""
    counters = {name: _Texts() if kind == "text" else _Numbers() for name, kind in kinds.items()}
    for batch in batches:
        for name, counter in counters.items():
            counter.add(batch.column(name))
    return {name: counter.facts() for name, counter in counters.items()}


class _Texts:
    def __init__(self) -> None:
        self._rows = 0
        self._counts: Counter[str] = Counter()
        self._missing = 0
        self._too_many = False

    def add(self, column: pa.Array) -> None:
        self._rows += len(column)
        self._missing += pc.sum(pc.equal(pc.binary_length(column), 0)).as_py() or 0
        if self._too_many:
            return
        for item in pc.value_counts(column):
            self._counts[item["values"].as_py()] += item["counts"].as_py()
        self._counts.pop("", None)
        self._too_many = len(self._counts) > MOST_VALUES

    def facts(self) -> Facts:
        values = None if self._too_many else tuple(sorted(self._counts))
        return Facts(self._rows, self._missing, values=values)


class _Numbers:
    """Means and squares are joined as by Chan, Golub and LeVeque, which stays exact for large numbers."""

    def __init__(self) -> None:
        self._rows = self._known = 0
        self._mean = self._squares = 0.0
        self._low, self._high = float("inf"), float("-inf")
        self._is_whole = True
        self._values: Any = np.array([])

    def add(self, column: pa.Array) -> None:
        given = columntypes.to_numpy(column)
        self._rows += len(given)
        given = given[np.isfinite(given)] if given.dtype.kind == "f" else given
        count = len(given)
        if not count:
            return
        numbers = given.astype(np.float64)
        mean = float(numbers.mean())
        apart, total = mean - self._mean, self._known + count
        self._squares += float(((numbers - mean) ** 2).sum()) + apart**2 * self._known * count / total
        self._mean += apart * count / total
        self._known = total
        self._low, self._high = min(self._low, float(numbers.min())), max(self._high, float(numbers.max()))
        self._is_whole = self._is_whole and bool((numbers == np.floor(numbers)).all())
        if self._values is not None:
            found = np.union1d(self._values, given) if len(self._values) else np.unique(given)
            self._values = None if len(found) > MOST_VALUES else found

    def facts(self) -> Facts:
        if not self._known:
            return Facts(self._rows, self._rows)
        deviation = (self._squares / self._known) ** 0.5
        values = None if self._values is None else tuple(self._values.tolist())
        return Facts(
            self._rows, self._rows - self._known, self._low, self._high, self._mean, deviation, self._is_whole, values
        )
