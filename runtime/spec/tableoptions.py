"""What users say of an embedding's table, wherever they say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.spec.bounds import Bounds

NAMES = ("min_count", "ttl", "max_rows", "slot_half_life", "row_dtype")

FLOAT32, BFLOAT16 = "float32", "bfloat16"
ROW_DTYPES = (FLOAT32, BFLOAT16)


@dataclass(frozen=True)
class TableOptions:
    """A table's bounds, and how it holds the values of its rows; an empty `row_dtype` says nothing of that."""

    bounds: Bounds | None = None
    row_dtype: str = ""

    @classmethod
    def of(cls, *, row_dtype: Any = None, **of_bounds: Any) -> TableOptions | None:
        """Return what users ask for, or None if they ask for nothing; the others are those of `Bounds.of`.

        Raises ValueError, whose text names the value that is not valid.
        """
        if row_dtype is not None and row_dtype not in ROW_DTYPES:
            raise ValueError(f"row_dtype={row_dtype!r}; use one of {', '.join(ROW_DTYPES)}")
        options = cls(Bounds.of(**of_bounds), row_dtype or "")
        return None if options == cls() else options

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableOptions:
        """Read back what `to_json` wrote."""
        return cls(Bounds.from_json(values.get("bounds")), str(values.get("row_dtype", "")))

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        bounds = {} if self.bounds is None else {"bounds": self.bounds.to_json()}
        return {**bounds, **({"row_dtype": self.row_dtype} if self.row_dtype else {})}

    @property
    def held(self) -> str:
        """How values are held."""
        return self.row_dtype or FLOAT32

    @property
    def need_table(self) -> bool:
        """Whether an ordinary layer cannot do what they ask for."""
        return self.bounds is not None or self.row_dtype == BFLOAT16

    def over(self, other: TableOptions) -> TableOptions:
        """Return these options, and where they say nothing those of `other`."""
        bounds = self.bounds
        if other.bounds is not None:
            bounds = other.bounds if bounds is None else bounds.over(other.bounds)
        return TableOptions(bounds, self.row_dtype or other.row_dtype)

    def describe(self) -> str:
        """Return the options in a few words."""
        said = [] if self.bounds is None else [self.bounds.describe()]
        return ", ".join([*said, f"row_dtype={self.row_dtype}"] if self.row_dtype else said)
