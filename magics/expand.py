"""`$name`, `$name.attribute` and `{expression}` in a magic's options, replaced from the notebook.

A value that consists of one such reference becomes the object itself, so that frames can be passed. In other text it
becomes its `str`. `$$` stands for a dollar sign. Braces around anything that is not a valid expression (`{'a': 1}` in a
literal, say) are left as they are, and so are environment variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from elasticdl_nb.runtime.errors import ElasticDLError, did_you_mean

_REFERENCE = re.compile(r"\$\$|\$(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|\{(?P<expression>[^{}]+)\}")


class ReferenceProblem(ElasticDLError):
    """A reference to something that the notebook does not have."""


def expand(text: str, namespace: Mapping[str, Any]) -> Any:
    """Return the value that `text` stands for; raise ReferenceProblem if it refers to something that does not exist."""
    whole = _REFERENCE.fullmatch(text)
    if whole is not None and text != "$$":
        return _value(whole, namespace)
    return _REFERENCE.sub(lambda match: str(_value(match, namespace)), text)


def _value(match: re.Match[str], namespace: Mapping[str, Any]) -> Any:
    if match["expression"] is not None:
        return _evaluated(match, namespace)
    if match["name"] is None:
        return "$"
    root, *attributes = match["name"].split(".")
    if root not in namespace:
        if root in os.environ:
            return match[0]
        raise ReferenceProblem(f"${root}: the notebook has no variable with that name.{did_you_mean(root, namespace)}")
    value = namespace[root]
    for place, attribute in enumerate(attributes):
        if not hasattr(value, attribute):
            # `$name.csv` is a file name, `$job.outptu` a mistake.
            if isinstance(value, (str, int, float)):
                return f"{value}.{'.'.join(attributes[place:])}"
            raise ReferenceProblem(f"{match[0]}: a {type(value).__name__} has no attribute {attribute!r}")
        value = getattr(value, attribute)
    return value


def _evaluated(match: re.Match[str], namespace: Mapping[str, Any]) -> Any:
    try:
        code = compile(match["expression"].strip(), "<magic>", "eval")
    except (SyntaxError, ValueError):
        return match[0]
    try:
        return eval(code, dict(namespace))  # noqa: S307  the user's own expression, in the user's own notebook
    except Exception as error:
        # Whatever the expression raises is a mistake in it.
        raise ReferenceProblem(f"{match[0]}: {type(error).__name__}: {error}") from None
