"""The first line of `%sqlflow` and `%%sqlflow`: options, `name <<`, and then SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.magics.expand import expand
from elasticdl_nb.magics.options import AS, HELP, WAIT, Own
from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.sql.engines.parameters import read_parameters

CONNECT = Own("connect", "The database from now on: a DuckDB file, a URL such as postgresql://user@host/name, or "
              "$name of an open connection. Initially, DuckDB in memory.", "URL")  # fmt: skip
STORE = Own("store", "Where trained models are kept from now on.", "DIR")
PARAM = Own("param", "The value of :NAME in statements; without =VALUE, the notebook's variable.", "NAME[=VALUE]")
TEMPLATE = Own("template", "Replace {{ name }} with the notebook's value as it is: nothing is quoted or escaped.")
DRY_RUN = Own("dry_run", "Check everything, show what would be done, and do nothing.")
SHOW_PROGRAM = Own("show_program", "Show the Python programs that would run, and do nothing.")
OPTIONS = (CONNECT, STORE, PARAM, TEMPLATE, DRY_RUN, SHOW_PROGRAM, WAIT, AS, HELP)

_NAME = re.compile(r"\s*--(?P<name>[A-Za-z][\w-]*)(?P<equals>=)?")
_VALUE = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"']\S*))""")
# NAME=VALUE, where the value may have quotes of its own.
_PAIR = re.compile(r"""\s*(?P<bare>[^\s"'=]+(?:=(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\S*))?)""")
_TARGET = re.compile(r"\s*(?P<name>[^\W\d]\w*)\s*<<")
_REFERENCE = re.compile(r"\{\{\s*(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*\}\}")


@dataclass(frozen=True)
class SqlLine:
    """A parsed first line: the magic's options, the variable for the result, and where the SQL begins."""

    options: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    target: str = ""
    start: int = 0


def read_line(line: str, namespace: Mapping[str, Any]) -> SqlLine:
    """Parse the first line of a cell or a line magic; raise OptionError.

    Options end where no `--name` follows; `-- comment` is SQL.
    """
    options: dict[str, Any] = {}
    params: list[str] = []
    place = 0
    while match := _NAME.match(line, place):
        name, value = match["name"].replace("-", "_"), True
        own = {one.name: one for one in OPTIONS}
        if name == "no_wait":
            name, value = "wait", False
        if name not in own:
            raise OptionError(name, f"no such option.{did_you_mean(name, own)}")
        place = match.end()
        if own[name].form != "BOOL":
            found = (_PAIR if name == "param" else _VALUE).match(line, place)
            if found is None:
                raise OptionError(name, f"needs a value: --{name} {own[name].form}")
            place = found.end()
            text = next(part for part in found.groups() if part is not None)
            if name == "param":
                params.append(text)
                continue
            value = expand(text, namespace)
        elif match["equals"]:
            raise OptionError(name, "is a switch and takes no value")
        if name in options:
            raise OptionError(name, "given twice")
        options[name] = value
    target = _TARGET.match(line, place)
    return SqlLine(
        options, _params(params, namespace), target["name"] if target else "", target.end() if target else place
    )


def _params(pairs: list[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters in the order they were declared."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if name in values:
            raise OptionError("param", f"{name} is given twice")
        if not separator:
            if name not in namespace:
                raise OptionError("param", f"the notebook has no variable {name!r}.{did_you_mean(name, namespace)}")
            values[name] = namespace[name]
        elif text.startswith("$"):
            values[name] = expand(text, namespace)
        else:
            values |= read_parameters([pair])
    return values


def filled(text: str, params: Mapping[str, Any], namespace: Mapping[str, Any]) -> str:
    """Return the text with values in place of `{{ name }}` and `{{ name.attribute }}`; raise OptionError."""

    def value(match: re.Match[str]) -> str:
        root, *attributes = match["name"].split(".")
        names = {**namespace, **params}
        if root not in names:
            raise OptionError("template", f"the notebook has no variable {root!r}.{did_you_mean(root, names)}")
        found = names[root]
        for attribute in attributes:
            if not hasattr(found, attribute):
                raise OptionError("template", f"{match[0]}: a {type(found).__name__} has no attribute {attribute!r}")
            found = getattr(found, attribute)
        return str(found)

    return _REFERENCE.sub(value, text)
