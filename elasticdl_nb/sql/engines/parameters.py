"""Values for `:name` in queries."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.spec import literals
from elasticdl_nb.sql.engines.engine import Engine
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import dialect_of, placeholders

_LIBRARIES = ("numpy", "pandas", "polars", "pyarrow")
# After a literal, these would become part of it.
_JOINS = frozenset("'\".")


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


def plain_parameters(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters as Python's own values; see `plain_value`."""
    return {name: plain_value(value, f":{name}") for name, value in (params or {}).items()}


def plain_value(value: Any, name: str) -> Any:
    """Return a value of NumPy, pandas, Polars or Arrow as Python's own: numbers, texts, moments and lists of these.

    Missing values are None. Raises SqlError, with the parameter's name, for a value that SQL cannot have.
    """
    if hasattr(value, "dtype") or type(value).__module__.partition(".")[0] in _LIBRARIES:
        value = _of_library(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_value(item, name) for item in value]
    if isinstance(value, (str, uuid.UUID)):
        if "\0" in str(value) or any("\ud800" <= character <= "\udfff" for character in str(value)):
            raise SqlError(f"{name} has a character that is not text, which cannot be written in SQL")
        return str(value)
    if isinstance(value, enum.Enum):
        return plain_value(value.value, name)
    if value is None or isinstance(value, (bool, int, datetime.date, datetime.time)):
        return value
    if isinstance(value, float):
        number = float(value)
        if math.isfinite(number):
            return number
        raise SqlError(f"{name} is {number}, which cannot be written in SQL")
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return value
    what = value if isinstance(value, decimal.Decimal) else f"of type {type(value).__name__}"
    raise SqlError(f"{name} is {what}, which cannot be written in SQL; give a number, string, date or list of these")


def _of_library(value: Any) -> Any:
    """Return a scalar, array, column or index of another library as Python's own values."""
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "M" and type(value).__module__ == "numpy":
        return list(value) if getattr(value, "ndim", 0) else _of_moment(value)
    if kind == "m":
        return value
    if hasattr(value, "to_pydatetime") and not kind:
        return value.to_pydatetime(warn=False)
    for convert in ("as_py", "tolist", "to_list", "to_pylist"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    return value


def _of_moment(value: Any) -> Any:
    text = str(value)
    if text == "NaT":
        return None
    found = value.astype("datetime64[us]" if "T" in text else "datetime64[D]").item()
    return found if isinstance(found, datetime.date) else value  # Python's years end with 9999


def bind(query: str, params: Mapping[str, Any], engine: Engine) -> str:
    """Return the query with each `:name` replaced by the literal of its value; raise SqlError if one has no value.

    The literal is one value to the engine, whatever it contains and whatever stands beside it. Without `params`, the
    query is left unchanged. A list becomes `(1, 2)`, for IN. See `lexical.placeholders`.
    """
    if not params:
        return query
    pieces: list[str] = []
    end = 0
    for place in placeholders(query, dialect_of(engine.dialect)):
        if place.name in params:
            literal = engine.literal(plain_value(params[place.name], f":{place.name}"))
            # -5 after a minus would begin a comment.
            literal = f"({literal})" if literal.startswith("-") else literal
            following = query[place.end : place.end + 1]
            pieces += [query[end : place.start], literal, " " if following in _JOINS else ""]
            end = place.end
        elif query[place.start - 1] != "[":  # `items[:last]` may be a slice
            raise SqlError(f"there is no parameter :{place.name}.{did_you_mean(place.name, params)}")
    return "".join([*pieces, query[end:]])
