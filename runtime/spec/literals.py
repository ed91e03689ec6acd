"""Arguments written as text, `a=1, b=[2, 3]`: parsed as Python literals, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def parse_value(text: str) -> Any:
    """Return the Python literal that `text` spells; raise ValueError if it spells none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"{text.strip()!r} is not a Python literal such as 1, 'x' or [1, 2]") from None


def parse_arguments(text: str) -> dict[str, Any]:
    """Return the named values of `"a=1, b=[2, 3]"` or `"a=1; b=[2, 3]"`; raise ValueError for any other form."""
    stripped = text.strip().strip(";").strip().rstrip(",")
    if not stripped:
        return {}
    pairs = _keywords(stripped)
    if pairs is None:
        pairs = _assignments(stripped)
    if pairs is None:
        raise ValueError('expected arguments of the form "name=value, name=value" with Python literals as values')
    arguments: dict[str, Any] = {}
    for name, node in pairs:
        if name in arguments:
            raise ValueError(f"{name} is given twice")
        try:
            arguments[name] = ast.literal_eval(node)
        except (ValueError, TypeError, MemoryError, RecursionError):
            raise ValueError(f"the value of {name} is not a Python literal: {ast.unparse(node)}") from None
    return arguments


def format_arguments(arguments: Mapping[str, Any]) -> str:
    """Return the text that `parse_arguments` reads back."""
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _keywords(text: str) -> list[tuple[str, ast.expr]] | None:
    try:
        call = ast.parse(f"f({text}\n)", mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        return None
    return [(keyword.arg or "", keyword.value) for keyword in call.keywords]


def _assignments(text: str) -> list[tuple[str, ast.expr]] | None:
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return None
    pairs = []
    for statement in statements:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            return None
        pairs.append((statement.targets[0].id, statement.value))
    return pairs
