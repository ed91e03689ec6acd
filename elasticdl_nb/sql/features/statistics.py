"""What the database says about a query's columns: counts, means, ranges and vocabularies, over all rows."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elasticdl_nb.sql.features.columntypes import LIST
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position
from elasticdl_nb.tables.kinds import MOMENTS, NUMBERS, SPANS

_AT_ONCE = 50
"""How many vocabularies are asked for in one query."""
MOST_TERMS = 50_000
"""A vocabulary has at most this many terms, the most frequent ones. All others count as unseen."""


@dataclass(frozen=True)
class Statistics:
    """What the database says about a column over the whole query. Moments are in seconds since 1970.

    Of a list, `minimum` and `maximum` are those of its lengths.
    """

    rows: int = 0
    missing: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    deviation: float = 0.0
    odd: int = 0
    """How many values, or numbers in lists, are NaN, infinite, or moments that no calendar has; none is missing."""
    terms: tuple[Any, ...] = ()
    """The most frequent values, in order of frequency: at most MOST_TERMS + 1."""

    @property
    def is_constant(self) -> bool:
        """Whether all values are the same, or missing."""
        if self.terms:
            return len(self.terms) == 1 and not self.missing
        return self.minimum is None or self.minimum == self.maximum

    @property
    def sameness(self) -> str:
        """What to say of a constant, in words before "in all rows"."""
        exact = self.minimum is None or abs(self.minimum) < 2**53
        return "has the same value" if exact else "has the same value, to the 16 digits that models compute with,"

    def vocabulary(self) -> tuple[str, ...]:
        """Return the values that a vocabulary distinguishes, as texts."""
        return vocabulary_of(self.terms[:MOST_TERMS])


def vocabulary_of(values: Iterable[Any]) -> tuple[str, ...]:
    """Return values as the terms of a vocabulary, in which an empty text counts as missing."""
    return tuple(text for value in values if (text := str(value)) != "")


def collect(rows: Selection, columns: Iterable[str], vocabularies: Iterable[str]) -> dict[str, Statistics]:
    """Return the statistics of `columns`, including the values of those in `vocabularies`.

    Runs the query twice (more often for very many columns), once for every few vocabularies of texts, and once for each
    other vocabulary. Raises SqlError if the database fails.
    """
    wanted = list(dict.fromkeys(vocabularies))
    counts = _counts(rows, list(dict.fromkeys([*columns, *wanted])))
    texts = [name for name in wanted if rows.kinds[name] == "text"]
    found: dict[str, tuple[Any, ...]] = {}
    for start in range(0, len(texts), _AT_ONCE):
        found |= _values_of_several(rows, texts[start : start + _AT_ONCE], MOST_TERMS + 1)
    for name in wanted:
        terms = found[name] if name in found else values(rows, name, MOST_TERMS + 1)
        counts[name] = Statistics(counts[name].rows, counts[name].missing, odd=counts[name].odd, terms=terms)
    return counts


def _counts(rows: Selection, names: list[str]) -> dict[str, Statistics]:
    asked = [("", "rows", "COUNT(*)")]
    asked += [(name, what, part) for name in names for what, part in _asked(rows, name).items()]
    known: dict[str, dict[str, Any]] = {name: {} for name in ("", *names)}
    for (name, what, _), answer in zip(asked, _one_row(rows, [part for _, _, part in asked]), strict=True):
        known[name][what] = answer
    count = int(known.pop("")["rows"])
    found = {}
    for name, about in known.items():
        present = int(about["present"])
        found[name] = Statistics(
            count, count - present, _as_number(about.get("minimum")), _as_number(about.get("maximum")),
            float(about.get("mean") or 0.0), odd=present - int(about.get("usable", present)),
        )  # fmt: skip
    found = _with_deviations(rows, found)
    for name, described in found.items():
        check_finite(name, described, rows.position)
    return found


def check_finite(column: str, about: Statistics, place: Position | None) -> None:
    """Raise SqlError if a column's values are too large for the statistics about them."""
    if not math.isfinite(about.mean) or not math.isfinite(about.deviation):
        problem = f"the values of column {column!r} are so large that their mean or deviation is infinite"
        raise SqlError(f"{problem}; scale them down", place)


def _one_row(rows: Selection, expressions: Sequence[str]) -> list[Any]:
    """Return the values of aggregate expressions, in as many queries as the engine needs."""
    answers: list[Any] = []
    most = rows.engine.most_columns
    for start in range(0, len(expressions), most):
        listed = ", ".join(expressions[start : start + most])
        answers += rows.engine.rows(f"SELECT {listed} FROM (\n{rows.query}\n) AS q")[0]
    return answers


def _asked(rows: Selection, name: str) -> dict[str, str]:
    """Return expressions by what they say about the column."""
    engine, column, known, kind = rows.engine, rows.engine.quote(name), rows.known(name), rows.kinds[name]
    asked = {"present": f"COUNT({column})"}
    if known != column:
        asked["usable"] = f"COUNT({known})"
    if kind in NUMBERS:
        number = _number(rows, name)
        asked |= {"minimum": f"MIN({number})", "maximum": f"MAX({number})", "mean": f"AVG({number})"}
    elif kind in (*MOMENTS, *SPANS, LIST):
        value = engine.length(column) if kind == LIST else engine.seconds(known, kind) or known
        asked |= {"minimum": f"MIN({value})", "maximum": f"MAX({value})"}
    return asked


def _with_deviations(rows: Selection, found: dict[str, Statistics]) -> dict[str, Statistics]:
    """Compute the mean of squared differences in a second query: the mean of squares alone is not exact enough."""
    numbers = [
        name
        for name, known in found.items()
        if rows.kinds[name] in NUMBERS and not known.is_constant and math.isfinite(known.mean)
    ]
    if not numbers:
        return found
    squares = []
    for name in numbers:
        difference = f"({_number(rows, name)} - {rows.engine.literal(found[name].mean)})"
        squares.append(f"AVG({difference} * {difference})")
    for name, square in zip(numbers, _one_row(rows, squares), strict=True):
        found[name] = replace(found[name], deviation=float(square or 0.0) ** 0.5)
    return found


def _number(rows: Selection, name: str) -> str:
    kind = rows.kinds[name]
    return rows.engine.as_double(rows.engine.finite(rows.engine.quote(name), kind), kind)


def values(rows: Selection, name: str, most: int) -> tuple[Any, ...]:
    """Return at most `most` distinct values of the column, without NULL, the most frequent first."""
    return _in_order(rows.engine.rows(_counting(rows, name, f"(\n{rows.query}\n)", most)))


def _values_of_several(rows: Selection, names: Sequence[str], most: int) -> dict[str, tuple[Any, ...]]:
    """Return the same for several columns of texts, from a single run of the query."""
    listed = ", ".join(map(rows.engine.quote, names))
    counted = [
        f"SELECT {place} AS c, v, n FROM ({_counting(rows, name, 'q', most)}) AS v{place}"
        for place, name in enumerate(names)
    ]
    query = f"WITH q AS (SELECT {listed} FROM (\n{rows.query}\n) AS r) {' UNION ALL '.join(counted)}"
    found: dict[str, list[tuple[Any, int]]] = {name: [] for name in names}
    for place, value, count in rows.engine.rows(query):
        found[names[place]].append((value, count))
    return {name: _in_order(listed) for name, listed in found.items()}


def _counting(rows: Selection, name: str, source: str, most: int) -> str:
    known = rows.known(name)
    expression = rows.engine.exact_text(known) if rows.kinds[name] == "text" else known
    return (
        f"SELECT v, COUNT(*) AS n FROM (SELECT {expression} AS v FROM {source} AS q WHERE {known} IS NOT NULL) AS v "
        f"GROUP BY v ORDER BY n DESC, v LIMIT {most}"
    )


def _in_order(counted: Iterable[tuple[Any, int]]) -> tuple[Any, ...]:
    """Return the values by frequency. Ties must not be ordered by the database's collation."""
    found = [(_plain(value), count) for value, count in counted]
    return tuple(value for value, _ in sorted(found, key=lambda item: (-item[1], item[0])))


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, (int, float, str)) else float(value)


def _as_number(value: Any) -> float | None:
    """A moment as seconds since 1970, UTC, and a time or duration as seconds, if the engine could not tell."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=value.tzinfo or datetime.UTC).timestamp()
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC).timestamp()
    if isinstance(value, datetime.time):
        return value.hour * 3600.0 + value.minute * 60 + value.second + value.microsecond / 1e6
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return None if value is None else float(value)
