"""What the process that pulls rows has to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from elasticdl_nb.sql.following.watermark import Watermark

MODULE = "elasticdl_nb.sql.following"
"""The module that a job's master runs."""


@dataclass(frozen=True)
class Settings:
    """The database's URL, the query, and what is read of it.

    `columns` have these `kinds`. Left out are rows whose `label` is not one of the `classes` (None for any number),
    whose `weights` are not weights, or with a NULL in a `required` column. `floats` are written as float64, moments in
    seconds since 1970, as they may be NULL in some files and in none of the others. `delay` is in seconds.
    """

    connect: str
    query: str
    columns: tuple[str, ...]
    kinds: Mapping[str, str]
    label: str
    classes: tuple[Any, ...] | None
    weights: tuple[str, ...]
    floats: tuple[str, ...]
    required: tuple[str, ...]
    watermark: Watermark
    delay: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values. They contain the database's password."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return it from what `to_json` returned."""
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists, "watermark": Watermark(**values["watermark"])})
