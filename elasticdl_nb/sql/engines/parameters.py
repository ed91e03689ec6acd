"""Values for `:name` in queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import literals
from elasticdl_nb.sql.engines.engine import Engine
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import dialect_of, placeholders


def read_parameters(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of `NAME=VALUE` pairs: Python literals or, failing that, the text itself.

    Raises OptionError if a pair has a different form, or a name occurs twice.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        name = name.strip()
        if not separator or not name.isidentifier():
            raise OptionError("param", f"{pair!r} is not valid: expected NAME=VALUE")
        if name in values:
            raise OptionError("param", f"{name} is given twice")
        try:
            values[name] = literals.parse_value(text)
        except ValueError:
            values[name] = text
    return values


def bind(query: str, params: Mapping[str, Any], engine: Engine) -> str:
    """Return the query with each `:name` replaced by the literal of its value; raise SqlError if one has no value.

    Without `params`, the query is left unchanged. A list becomes `(1, 2)`, for IN. See `lexical.placeholders`.
    """
    if not params:
        return query
    pieces: list[str] = []
    end = 0
    for place in placeholders(query, dialect_of(engine.dialect)):
        if place.name in params:
            pieces += [query[end : place.start], engine.literal(params[place.name])]
            end = place.end
        elif query[place.start - 1] != "[":  # `items[:last]` may be a slice
            raise SqlError(f"there is no parameter :{place.name}.{did_you_mean(place.name, params)}")
    return "".join([*pieces, query[end:]])
