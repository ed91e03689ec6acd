"""The forms of options' values: each turns what users write into a plain value, or raises ValueError."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.runtime.spec import literals
from elasticdl_nb.runtime.spec.tableoptions import NAMES, TableOptions

TOPIC = "kafka://"
"""How the URLs of Kafka topics begin."""

JOB_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def text(value: Any) -> str:
    """A string, stripped of surrounding whitespace."""
    if not isinstance(value, str):
        raise ValueError("expected a string")
    return value.strip()


def path(value: Any) -> str:
    """A path or URL, with ~ and $VARIABLES expanded."""
    return os.path.expanduser(os.path.expandvars(text(os.fspath(value) if isinstance(value, os.PathLike) else value)))


def paths(value: Any) -> tuple[str, ...]:
    """Paths: a list of them, the text of such a list, or text that separates them by commas."""
    if isinstance(value, (list, tuple)):
        return tuple(path(item) for item in value)
    one = path(value)
    if one.startswith("["):
        return tuple(path(item) for item in literals.parse_value(one))
    if "," in one and not one.startswith(TOPIC) and not os.path.exists(one):  # brokers have commas, too
        return tuple(path(part) for part in one.split(",") if part.strip())
    return (one,) if one else ()


def names(value: Any) -> tuple[str, ...]:
    """Names: a list of them, the text of such a list, or text that separates them by commas."""
    if isinstance(value, str):
        value = literals.parse_value(value) if value.strip().startswith("[") else value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, (str, int)) for name in value):
        raise ValueError("expected names, such as ['a', 'b'] or a,b")
    return tuple(name for item in value if (name := str(item).strip()))


def column(value: Any) -> str:
    """The name of a column; frames may have whole numbers as names."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("expected the name of one column")
    return value.strip()


def share(value: Any) -> float:
    """A number between 0 and 1."""
    found = number(value)
    if found is None or not 0 <= found < 1:
        raise ValueError("expected a number from 0 to less than 1, such as 0.2")
    return float(found)


def whole(minimum: int) -> Callable[[Any], int]:
    """A whole number of at least `minimum`, of at most 64 bits."""

    def parse(value: Any) -> int:
        found = number(value)
        if found is None or not minimum <= found < 2**63 or found != math.floor(found):
            raise ValueError(f"expected a whole number of at least {minimum}")
        return int(found)

    return parse


def number(value: Any) -> int | float | None:
    """Return the number that a value is or spells; None if it is none."""
    if isinstance(value, str):
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                return kind(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def switch(value: Any) -> bool:
    """True or false, in words or digits."""
    if isinstance(value, bool):
        return value
    answers = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).strip().lower() not in answers:
        raise ValueError("expected true or false")
    return answers[str(value).strip().lower()]


def one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    """One of the choices, in upper or lower case."""

    def parse(value: Any) -> str:
        for choice in choices:
            if str(value).lower() == choice.lower():
                return choice
        raise ValueError(f"expected one of {', '.join(choices)}.{did_you_mean(str(value), choices)}")

    return parse


def arguments(value: Any) -> dict[str, Any]:
    """Keyword arguments: a dictionary or text, see `literals.parse_arguments`."""
    return dict(value) if isinstance(value, Mapping) else literals.parse_arguments(text(value))


def pairs(value: Any) -> dict[str, str]:
    """Names and values: a dictionary, or NAME=VALUE,NAME=VALUE."""
    if isinstance(value, Mapping):
        return {str(name): str(item) for name, item in value.items()}
    parts = [part.partition("=") for part in text(value).split(",") if part.strip()]
    if not all(name.strip() and separator for name, separator, _ in parts):
        raise ValueError("expected NAME=VALUE,NAME=VALUE")
    return {name.strip(): one.strip() for name, _, one in parts}


def embedding_options(value: Any) -> dict[str, dict[str, Any]]:
    """Options of embeddings' tables by the layers' names: a dictionary of dictionaries, or NAME: ttl=7d; NAME: …"""
    if not isinstance(value, Mapping):
        entries = [entry.rpartition(":") for entry in text(value).split(";") if entry.strip()]
        if not all(name.strip() for name, _, _ in entries):
            raise ValueError("expected NAME: min_count=5, ttl=7d; NAME: max_rows=1000000")
        value = {name.strip(): pairs(said) for name, _, said in entries}
    options: dict[str, dict[str, Any]] = {}
    for name, said in value.items():
        if not isinstance(said, Mapping) or not said:
            raise ValueError(f"{name}: expected some of {', '.join(NAMES)}")
        if unknown := [str(one) for one in said if one not in NAMES]:
            raise ValueError(f"{name}: {unknown[0]} is not one of {', '.join(NAMES)}.{did_you_mean(unknown[0], NAMES)}")
        TableOptions.of(**said)
        options[str(name)] = dict(said)
    return options


def class_weights(value: Any) -> dict[str, float]:
    """Weights of classes by number, or by name for a job with a label: a dictionary, or N=W,N=W."""
    weights = {}
    for name, weight in pairs(value).items():
        weights[str(int(name)) if name.isdecimal() else name] = float(weight)
        if not 0 <= float(weight) < math.inf:
            raise ValueError(f"the weight of class {name} must be a number of at least 0")
    return weights


def job_name(value: Any) -> str:
    """The name of a job."""
    name = text(value)
    if name and not JOB_NAME.fullmatch(name):
        raise ValueError("expected up to 63 letters, digits, '.', '_' and '-', with a letter or digit at both ends")
    return name
