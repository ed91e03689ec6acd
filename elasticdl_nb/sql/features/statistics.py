"""What the database says of a query's columns: counts, means, ranges and vocabularies, over all rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.features.drafts import MOMENTS, MOST_TERMS, NUMBERS, SPANS, Statistics


def collect(
    engine: Engine, query: str, kinds: Mapping[str, str], columns: Iterable[str], vocabularies: Iterable[str]
) -> dict[str, Statistics]:
    """Return the statistics of `columns`, with the values of those in `vocabularies`.

    The query is run twice, and once more for each vocabulary. Raises SqlError where the database does.
    """
    names = list(dict.fromkeys([*columns, *vocabularies]))
    counts = _counts(engine, query, kinds, names)
    for name in dict.fromkeys(vocabularies):
        terms = values(engine, query, name, kinds[name], MOST_TERMS + 1)
        counts[name] = Statistics(counts[name].rows, counts[name].missing, terms=terms)
    return counts


def _counts(engine: Engine, query: str, kinds: Mapping[str, str], names: list[str]) -> dict[str, Statistics]:
    parts = ["COUNT(*)"]
    for name in names:
        column = engine.quote(name)
        parts.append(f"COUNT({column})")
        if kinds[name] in NUMBERS:
            number = _number(engine, name, kinds[name])
            parts += [f"MIN({number})", f"MAX({number})", f"AVG({number})"]
        elif kinds[name] in (*MOMENTS, *SPANS):
            parts += [f"MIN({column})", f"MAX({column})", "NULL"]
        else:
            parts += ["NULL", "NULL", "NULL"]
    row = engine.rows(f"SELECT {', '.join(parts)} FROM (\n{query}\n) AS q")[0]
    rows = int(row[0])
    found = {}
    for place, name in enumerate(names):
        known, minimum, maximum, mean = row[1 + 4 * place : 5 + 4 * place]
        found[name] = Statistics(
            rows, rows - int(known), _as_number(minimum), _as_number(maximum), float(mean or 0.0), 0.0
        )
    return _with_deviations(engine, query, kinds, found)


def _with_deviations(
    engine: Engine, query: str, kinds: Mapping[str, str], found: dict[str, Statistics]
) -> dict[str, Statistics]:
    """Take the mean of squared differences in a second run: that of squares alone is not exact enough."""
    numbers = [name for name, known in found.items() if kinds[name] in NUMBERS and not known.is_constant]
    if not numbers:
        return found
    squares = []
    for name in numbers:
        difference = f"({_number(engine, name, kinds[name])} - {engine.literal(found[name].mean)})"
        squares.append(f"AVG({difference} * {difference})")
    row = engine.rows(f"SELECT {', '.join(squares)} FROM (\n{query}\n) AS q")[0]
    for name, square in zip(numbers, row, strict=True):
        known = found[name]
        found[name] = Statistics(
            known.rows, known.missing, known.minimum, known.maximum, known.mean, float(square or 0.0) ** 0.5
        )
    return found


def _number(engine: Engine, name: str, kind: str) -> str:
    return engine.as_double(engine.finite(engine.quote(name), kind), kind)


def values(engine: Engine, query: str, name: str, kind: str, most: int) -> tuple[Any, ...]:
    """Return the column's different values without NULL, the most frequent first, at most `most`."""
    column = engine.quote(name)
    expression = engine.exact_text(column) if kind == "text" else column
    rows = engine.rows(
        f"SELECT v, COUNT(*) AS n FROM (SELECT {expression} AS v FROM (\n{query}\n) AS q WHERE {column} IS NOT NULL) "
        f"AS v GROUP BY v ORDER BY n DESC, v LIMIT {most}"
    )
    found = [(_plain(value), count) for value, count in rows]
    # The order of equals must not depend on the database's collation.
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
