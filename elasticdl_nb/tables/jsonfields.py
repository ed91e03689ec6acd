"""Reads JSON objects member by member, with a clear error for one that is missing, unknown or of the wrong type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from elasticdl_nb.runtime.errors import ElasticDLError

_Item = TypeVar("_Item")


class RecordError(ElasticDLError):
    """The record that is kept with a model cannot be used; the message says why."""


class Fields:
    """The members of one JSON object; each method takes one of them and raises RecordError if it does not fit.

    `where` names the object in messages, such as `label` or `features[0]`.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise RecordError(f"{where}: expected an object, not {_shown(value)}")
        self._left = dict(value)
        self._where = where

    def end(self) -> None:
        """Raise RecordError if a member has not been taken."""
        if self._left:
            raise RecordError(f"{self._where} has an unknown member {next(iter(self._left))!r}")

    def any(self, name: str) -> Any:
        """Take a member of any type."""
        if name not in self._left:
            raise RecordError(f"{self._where} has no {name!r}")
        return self._left.pop(name)

    def optional(self, name: str, read: Callable[[Any], _Item]) -> _Item | None:
        """Take a member that may be null or missing."""
        value = self._left.pop(name, None)
        return None if value is None else read(value)

    def text(self, name: str) -> str:
        """Take a text."""
        return as_text(self.any(name), self._of(name))

    def flag(self, name: str) -> bool:
        """Take true or false."""
        value = self.any(name)
        if not isinstance(value, bool):
            raise RecordError(f"{self._of(name)}: expected true or false, not {_shown(value)}")
        return value

    def whole(self, name: str) -> int:
        """Take a whole number."""
        value = self.any(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise RecordError(f"{self._of(name)}: expected a whole number, not {_shown(value)}")
        return value

    def number(self, name: str) -> float:
        """Take a number."""
        return as_number(self.any(name), self._of(name))

    def object(self, name: str) -> dict[str, Any]:
        """Take an object unchanged."""
        value = self.any(name)
        if not isinstance(value, dict):
            raise RecordError(f"{self._of(name)}: expected an object, not {_shown(value)}")
        return value

    def list(self, name: str, read: Callable[[Any, str], _Item]) -> tuple[_Item, ...]:
        """Take a list, each item read by `read(item, where)`."""
        return as_list(self.any(name), self._of(name), read)

    def _of(self, name: str) -> str:
        return f"{self._where}.{name}"


def as_text(value: Any, where: str) -> str:
    """Return the value if it is a text; otherwise raise RecordError."""
    if not isinstance(value, str):
        raise RecordError(f"{where}: expected a text, not {_shown(value)}")
    return value


def as_number(value: Any, where: str) -> float:
    """Return the value if it is a number; otherwise raise RecordError."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise RecordError(f"{where}: expected a number, not {_shown(value)}")
    return float(value)


def as_list(value: Any, where: str, read: Callable[[Any, str], _Item]) -> tuple[_Item, ...]:
    """Return the items of a list, each read by `read(item, where)`; raise RecordError if the value is not a list."""
    if not isinstance(value, (list, tuple)):
        raise RecordError(f"{where}: expected a list, not {_shown(value)}")
    return tuple(read(item, f"{where}[{place}]") for place, item in enumerate(value))


def as_json(value: Any) -> Any:
    """Return the value if JSON has it; otherwise, as a moment, its text."""
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
