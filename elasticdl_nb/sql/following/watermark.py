"""The watermark: the column by which new rows of a query are told from those that were read before."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from elasticdl_nb.sql.engines import Engine
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position

Form = Literal["integer", "timestamp", "date"]
_FORMS: dict[str, Form] = {"integer": "integer", "timestamp": "timestamp", "date": "date"}
_DAY = "[0-9]" * 4 + "-" + "[0-9]" * 2 + "-" + "[0-9]" * 2
_DATE_LENGTH = 10


@dataclass(frozen=True)
class Watermark:
    """A column of whole numbers, timestamps or dates.

    `length` is that of the texts in which SQLite has timestamps and dates, and 0 for any other column. Values travel as
    texts, as the database writes them.
    """

    column: str
    form: Form
    length: int = 0

    @property
    def is_coarse(self) -> bool:
        """Whether rows come one after another with the same value for long: a day's rows, say."""
        return self.form == "date"

    def name(self, engine: Engine) -> str:
        """Return the column of the query `q`."""
        return f"q.{engine.quote(self.column)}"

    def text(self, engine: Engine, expression: str) -> str:
        """Return the SQL of a value as the database writes it."""
        return f"CAST({expression} AS {'CHAR' if engine.dialect == 'mysql' else engine.text})"

    def value(self, engine: Engine, text: str) -> str:
        """Return the SQL of such a text's value."""
        return str(int(text)) if self.form == "integer" else engine.string(text)

    def is_known(self, engine: Engine) -> str:
        """Return the condition that a row has a value that can be compared with others."""
        name = self.name(engine)
        if not engine.types_of_values:
            return f"{engine.finite(name, self.form)} IS NOT NULL"
        if not self.length:
            return f"typeof({name}) = 'integer'"
        return f"({name} GLOB '{_DAY}*' AND length({name}) = {self.length})"

    def is_newer(self, engine: Engine, than: str) -> str:
        """Return the condition that a row comes after this value; the empty text comes before all."""
        return f"{self.name(engine)} > {self.value(engine, than)}" if than else "1 = 1"

    def is_not_newer(self, engine: Engine, than: str) -> str:
        """Return the condition that a row has this value, or comes before."""
        return f"{self.name(engine)} <= {self.value(engine, than)}"

    def moment(self, text: str) -> float | None:
        """Return a value in seconds since 1970, UTC if it has no zone; None if it is no time of the years 1 to 9999."""
        try:
            moment = datetime.datetime.fromisoformat("" if self.form == "integer" else text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
        except (ValueError, OverflowError):
            return None

    def between(self, engine: Engine, query: str, after: str) -> tuple[str, str]:
        """Return the lowest and highest value of a query's rows that come after this one; empty if there are none."""
        texts = ", ".join(self.text(engine, f"{which}({self.name(engine)})") for which in ("MIN", "MAX"))
        (found,) = engine.rows(
            f"SELECT {texts} FROM (\n{query}\n) AS q WHERE {self.is_known(engine)} AND {self.is_newer(engine, after)}"
        )
        low, high = ("" if value is None else _as_text(value) for value in found)
        return low, high

    def count(self, engine: Engine, query: str, up_to: str) -> tuple[int, int]:
        """Return how many rows have no watermark, and how many one up to this."""
        known = self.is_known(engine)
        up = f"{known} AND {self.is_not_newer(engine, up_to)}" if up_to else "1 = 0"
        rows = engine.rows(
            f"SELECT COUNT(CASE WHEN {known} THEN NULL ELSE 1 END), COUNT(CASE WHEN {up} THEN 1 END) FROM (\n{query}\n"
            ") AS q"
        )
        return int(rows[0][0]), int(rows[0][1])


def _as_text(value: object) -> str:
    return bytes(value).decode() if isinstance(value, (bytes, bytearray, memoryview)) else str(value)


def find_watermark(rows: Selection, name: str, place: Position | None) -> Watermark:
    """Return the query's watermark of this name; raise SqlError if rows cannot be told apart by it."""
    column = rows.column(name, place)
    kind, shown = rows.kinds[column], rows.types.get(column, rows.kinds[column])
    if kind in _FORMS:
        found = Watermark(column, _FORMS[kind])
    elif kind == "text" and rows.engine.types_of_values:
        found = _of_texts(rows, column, place)
    else:
        raise SqlError(
            f"train.follow: {column!r} is {shown}; expected a column of whole numbers, timestamps or dates that grows "
            "with every new row", place,
        )  # fmt: skip
    if problem := rows.engine.watermark_problem(rows.query, column):
        raise SqlError(f"train.follow: {problem}", place)
    unknown, _ = found.count(rows.engine, rows.query, "")
    if unknown:
        which = "1 row has" if unknown == 1 else f"{unknown:,} rows have"
        raise SqlError(
            f"train.follow: {which} no {column!r} that can be compared, so that nobody knows when to use them; leave "
            f"them out: WHERE {column} IS NOT NULL", place,
        )  # fmt: skip
    return found


def _of_texts(rows: Selection, column: str, place: Position | None) -> Watermark:
    """Return the watermark of timestamps or dates in SQLite, which has texts for them."""
    name = rows.engine.quote(column)
    lengths = rows.engine.rows(f"SELECT MIN(length({name})), MAX(length({name})) FROM (\n{rows.query}\n) AS q")[0]
    found = Watermark(column, "date" if lengths[0] == _DATE_LENGTH else "timestamp", int(lengths[0] or 0))
    unknown, _ = found.count(rows.engine, f"SELECT * FROM (\n{rows.query}\n) AS p WHERE {name} IS NOT NULL", "")
    if unknown or lengths[0] != lengths[1]:
        raise SqlError(
            f"train.follow: {column!r} has texts that are not all dates of one form, such as '2026-01-31 08:00:00'; "
            "others do not sort by time", place,
        )  # fmt: skip
    return found
