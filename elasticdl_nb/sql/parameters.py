"""Values for `:name` in queries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.sql.engines.base import Engine
from elasticdl_nb.sql.errors import SqlError

# What is no code is passed over: strings, quoted names, comments, dollar-quoted text, and casts (`::type`).
_PARTS = re.compile(
    r"'(?:''|[^'])*'|\"(?:\"\"|[^\"])*\"|`(?:``|[^`])*`|--[^\n]*|/\*.*?\*/|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"
    r"|::|(?<![\w:]):(?P<name>[A-Za-z_]\w*)",
    re.DOTALL,
)


def bind(query: str, params: Mapping[str, Any], engine: Engine) -> str:
    """Return the query with the literals of these values for `:name`; raise SqlError for a name without a value.

    Without `params` the query is left as it is. A list becomes `(1, 2)`, for IN.
    """
    if not params:
        return query

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return match[0]
        if name not in params:
            raise SqlError(f"there is no parameter :{name}.{did_you_mean(name, params)}")
        return engine.literal(params[name])

    return _PARTS.sub(value, query)
