"""Writes names, values and expressions in SQL: what dialects share, and what each of them may change."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from elasticdl_nb.sql.language.errors import SqlError

_LARGEST = "1.7976931348623157e308"


class SqlText:
    """A dialect. `types` has the name of the column type for each kind."""

    quotes = '"'
    double = "DOUBLE PRECISION"
    text = "TEXT"
    most_columns = 1500
    """How many columns a query may return."""
    types: ClassVar[dict[str, str]] = {
        "integer": "BIGINT",
        "float": "DOUBLE PRECISION",
        "boolean": "BOOLEAN",
        "text": "TEXT",
    }

    def quote(self, name: str) -> str:
        """Return a name as an identifier, whatever characters it contains."""
        return self.quotes + name.replace(self.quotes, self.quotes * 2) + self.quotes

    def quoted(self, parts: Sequence[str]) -> str:
        """Return a dotted name as an identifier."""
        return ".".join(self.quote(part) for part in parts)

    def literal(self, value: Any) -> str:
        """Return a value as SQL text; raise SqlError for a type that has no such form."""
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, decimal.Decimal) and value.is_finite():
            return format(value, "f")
        if isinstance(value, float):
            if not math.isfinite(value):
                raise SqlError(f"{value} cannot be written in SQL")
            return repr(float(value))
        if isinstance(value, str):
            return self.string(value)
        if isinstance(value, (datetime.date, datetime.time)):
            return self.string(value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat())
        if isinstance(value, (list, tuple, set)):
            return "(" + ", ".join(self.literal(item) for item in value) + ")"
        raise SqlError(
            f"a parameter of type {type(value).__name__} cannot be written in SQL; give a number, string or date"
        )

    def string(self, value: str) -> str:
        """Return a text as SQL."""
        return "'" + value.replace("'", "''") + "'"

    def as_double(self, expression: str, kind: str) -> str:
        """Return an expression for a number, boolean or decimal as a double."""
        return f"CAST({expression} AS {self.double})"

    def pulled(self, expression: str, kind: str) -> str:
        """Return an expression as it is read for training, in a type that Arrow has. Lists of numbers become texts,
        and moments that no calendar has become NULL.
        """
        if kind == "decimal":
            return self.as_double(expression, kind)
        if kind == "list":
            return self.listing(expression)
        return self.finite(expression, kind) if kind in ("date", "timestamp") else expression

    def finite(self, expression: str, kind: str) -> str:
        """Return the expression, with NULL for infinities, NaN, and moments that no calendar has."""
        return f"CASE WHEN ABS({expression}) <= {_LARGEST} THEN {expression} END" if kind == "float" else expression

    def seconds(self, expression: str, kind: str) -> str:
        """Return a moment as seconds since 1970, or a time or duration in seconds; nothing if there is no such
        expression.
        """
        return ""

    def listing(self, expression: str) -> str:
        """Return a list of numbers as a text that has commas between them."""
        return expression

    def length(self, expression: str) -> str:
        """Return how many numbers are in a list."""
        return f"CARDINALITY({expression})"

    def exact_text(self, expression: str) -> str:
        """Return an expression that is equal for two texts only if all their bytes are."""
        return f"CAST({expression} AS {self.text})"
