"""What a table lets in, what leaves it and what fades, as users say it.

A table without bounds has no `Bounds`: every id of a batch gets a row, which stays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

COUNTED, COUNTED_LEAST = 1 << 20, 1 << 16
"""Ids without a row that a table without `max_rows` counts, on all servers together, and one with a small one."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


@dataclass(frozen=True)
class Bounds:
    """Which ids get a row, and which rows leave.

    An id gets a row once it has been seen `min_count` times. A row leaves when it was not used for `ttl_steps` steps or
    `ttl_seconds` seconds, or when there would be more than `max_rows` on all servers together and no other was used
    less recently; 0 stands for no such limit.

    What the optimizer keeps for a row, less the value that it began with, halves with every `slot_half_life` steps in
    which the row was not used; 0 stands for never.
    """

    min_count: int = 1
    ttl_steps: int = 0
    ttl_seconds: float = 0.0
    max_rows: int = 0
    slot_half_life: int = 0

    @classmethod
    def of(
        cls, *, min_count: Any = None, ttl: Any = None, max_rows: Any = None, slot_half_life: Any = None
    ) -> Bounds | None:
        """Return the bounds that users ask for, or None if they ask for none.

        `ttl` is a number of steps, or a text such as "90s", "15m", "12h", "7d" or "2w". Numbers may be texts. Raises
        ValueError, whose text names the value that is not valid.
        """
        steps, seconds = _lifetime(ttl)
        half_life = _whole("slot_half_life", slot_half_life, "whole number of steps,")
        bounds = cls(_whole("min_count", min_count) or 1, steps, seconds, _whole("max_rows", max_rows), half_life)
        return None if bounds == cls() else bounds

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Bounds | None:
        """Read back what `to_json` wrote."""
        return None if values is None else cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the bounds as plain JSON values; earlier versions know those without a half-life."""
        plain = asdict(self)
        if not self.slot_half_life:
            del plain["slot_half_life"]
        return plain

    def over(self, other: Bounds) -> Bounds:
        """Return these bounds, and where they say nothing those of `other`."""
        lives = self if self.ttl_steps or self.ttl_seconds else other
        least = self.min_count if self.min_count > 1 else other.min_count
        return Bounds(
            least, lives.ttl_steps, lives.ttl_seconds, self.max_rows or other.max_rows,
            self.slot_half_life or other.slot_half_life,
        )  # fmt: skip

    def describe(self) -> str:
        """Return the bounds in a few words."""
        said = [f"min_count={self.min_count}"] if self.min_count > 1 else []
        said += [f"ttl={self.ttl_steps} steps"] if self.ttl_steps else []
        said += [f"ttl={self.ttl_seconds:g}s"] if self.ttl_seconds else []
        said += [f"max_rows={self.max_rows}"] if self.max_rows else []
        return ", ".join([*said, f"slot_half_life={self.slot_half_life} steps"] if self.slot_half_life else said)

    def share(self, server: int, servers: int) -> int:
        """How many rows one of several servers may hold; 0 for any number."""
        return max(1, self.max_rows // servers + (server < self.max_rows % servers)) if self.max_rows else 0

    def counted(self, servers: int) -> int:
        """How many ids without a row one of several servers counts."""
        return math.ceil((max(self.max_rows, COUNTED_LEAST) if self.max_rows else COUNTED) / servers)

    def oldest(self, step: int, now_step: int) -> int:
        """Return the last step whose rows have gone unused for too long at `step`.

        `now_step` is the last step made at least `ttl_seconds` ago.
        """
        return max(step - 1 - self.ttl_steps if self.ttl_steps else 0, now_step if self.ttl_seconds else 0)


def _whole(name: str, value: Any, form: str = "whole number of") -> int:
    if value is None:
        return 0
    if isinstance(value, str) and value.replace("_", "").isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 31:
        raise ValueError(f"{name}={value!r}; use a {form} at least 1")
    return value


def _lifetime(value: Any) -> tuple[int, float]:
    """Return a time to live in steps and in seconds, one of which is 0."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip().lower())) and float(match[1]):
        return 0, float(match[1]) * _SECONDS[match[2]]
    try:
        return _whole("ttl", value), 0.0
    except ValueError:
        raise ValueError(
            f"ttl={value!r}; use a number of steps, or a time such as '90s', '15m', '12h', '7d' or '2w'"
        ) from None
