"""What the database says about a query's columns: counts, means, ranges and vocabularies, over all rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.tables.kinds import MOMENTS, NUMBERS, SPANS

MOST_TERMS = 50_000
"""A vocabulary has at most this many terms, the most frequent ones. All others count as unseen."""


@dataclass(frozen=True)
class Statistics:
    """What the database says about a column over the whole query. Moments are in seconds since 1970."""

    rows: int = 0
    missing: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    deviation: float = 0.0
    terms: tuple[Any, ...] = ()
    """The most frequent values, in order of frequency: at most MOST_TERMS + 1."""

    @property
    def is_constant(self) -> bool:
        """Whether all values are the same, or missing."""
        if self.terms:
            return len(self.terms) == 1 and not self.missing
        return self.minimum is None or self.minimum == self.maximum

    def vocabulary(self) -> tuple[str, ...]:
        """Return the values that a vocabulary distinguishes, as texts."""
        return vocabulary_of(self.terms[:MOST_TERMS])


def vocabulary_of(values: Iterable[Any]) -> tuple[str, ...]:
    """Return values as the terms of a vocabulary, in which an empty text counts as missing."""
    return tuple(text for value in values if (text := str(value)) != "")


def collect(rows: Selection, columns: Iterable[str], vocabularies: Iterable[str]) -> dict[str, Statistics]:
    """Return the statistics of `columns`, including the values of those in `vocabularies`.

    Runs the query twice, and once more for each vocabulary. Raises SqlError if the database fails.
    """
    counts = _counts(rows, list(dict.fromkeys([*columns, *vocabularies])))
    for name in dict.fromkeys(vocabularies):
        terms = values(rows, name, MOST_TERMS + 1)
        counts[name] = Statistics(counts[name].rows, counts[name].missing, terms=terms)
    return counts


def _counts(rows: Selection, names: list[str]) -> dict[str, Statistics]:
    parts = ["COUNT(*)"]
    for name in names:
        column = rows.engine.quote(name)
        parts.append(f"COUNT({column})")
        if rows.kinds[name] in NUMBERS:
            number = _number(rows, name)
            parts += [f"MIN({number})", f"MAX({number})", f"AVG({number})"]
        elif rows.kinds[name] in (*MOMENTS, *SPANS):
            parts += [f"MIN({column})", f"MAX({column})", "NULL"]
        else:
            parts += ["NULL", "NULL", "NULL"]
    row = rows.engine.rows(f"SELECT {', '.join(parts)} FROM (\n{rows.query}\n) AS q")[0]
    count = int(row[0])
    found = {}
    for place, name in enumerate(names):
        known, minimum, maximum, mean = row[1 + 4 * place : 5 + 4 * place]
        found[name] = Statistics(
            count, count - int(known), _as_number(minimum), _as_number(maximum), float(mean or 0.0), 0.0
        )
    return _with_deviations(rows, found)


def _with_deviations(rows: Selection, found: dict[str, Statistics]) -> dict[str, Statistics]:
    """Compute the mean of squared differences in a second query: the mean of squares alone is not exact enough."""
    numbers = [name for name, known in found.items() if rows.kinds[name] in NUMBERS and not known.is_constant]
    if not numbers:
        return found
    squares = []
    for name in numbers:
        difference = f"({_number(rows, name)} - {rows.engine.literal(found[name].mean)})"
        squares.append(f"AVG({difference} * {difference})")
    row = rows.engine.rows(f"SELECT {', '.join(squares)} FROM (\n{rows.query}\n) AS q")[0]
    for name, square in zip(numbers, row, strict=True):
        found[name] = replace(found[name], deviation=float(square or 0.0) ** 0.5)
    return found


def _number(rows: Selection, name: str) -> str:
    kind = rows.kinds[name]
    return rows.engine.as_double(rows.engine.finite(rows.engine.quote(name), kind), kind)


def values(rows: Selection, name: str, most: int) -> tuple[Any, ...]:
    """Return at most `most` distinct values of the column, without NULL, the most frequent first."""
    column = rows.engine.quote(name)
    expression = rows.engine.exact_text(column) if rows.kinds[name] == "text" else column
    counted = rows.engine.rows(
        f"SELECT v, COUNT(*) AS n FROM (SELECT {expression} AS v FROM (\n{rows.query}\n) AS q WHERE {column} IS NOT "
        f"NULL) AS v GROUP BY v ORDER BY n DESC, v LIMIT {most}"
    )
    found = [(_plain(value), count) for value, count in counted]
    # Ties must not be ordered by the database's collation.
    return tuple(value for value, _ in sorted(found, key=lambda item: (-item[1], item[0])))


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, (int, float, str)) else float(value)


def _as_number(value: Any) -> float | None:
    """A moment as seconds since 1970, UTC; a time or duration as seconds."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=value.tzinfo or datetime.UTC).timestamp()
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC).timestamp()
    if isinstance(value, datetime.time):
        return value.hour * 3600.0 + value.minute * 60 + value.second + value.microsecond / 1e6
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return None if value is None else float(value)
