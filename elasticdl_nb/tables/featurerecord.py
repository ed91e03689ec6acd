"""Features: what a model sees of each column.

Every feature is a `Number` or a `Category`. A missing number counts as the mean. A category's `Source` gives each row
one id, or several if it has a `delimiter`, weighted if it has a `pair_delimiter`:

| ids | the ids, and what a missing value gets |
|---|---|
| vocabulary | 0 for a missing value, 1 for an unseen one, then the `terms` |
| identity, hash | below `buckets`; `buckets` for a missing or impossible value |
| bucket | the range between `boundaries` that the value is in; one more id for a missing value |
| cross | the ids of `sources` together, hashed to below `buckets` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from elasticdl_nb.runtime.spec.tableoptions import TableOptions

Ids = Literal["vocabulary", "identity", "hash", "bucket", "cross"]


@dataclass(frozen=True)
class Number:
    """A standardized number, or `size` of them in a text, separated by `delimiter`.

    `part` is a part of a date: time, month, day, weekday or hour.
    """

    column: str
    size: int = 1
    delimiter: str = ""
    part: str = ""
    mean: float = 0.0
    deviation: float = 1.0

    def columns(self) -> list[str]:
        """Return the columns that the feature is made of."""
        return [self.column]

    def describe(self) -> str:
        """Return the feature in a few words."""
        what = f"its {self.part}" if self.part else "number" if self.size == 1 else f"{self.size} numbers"
        return f"{self.column}: {what}" + (f" between {self.delimiter!r}" if self.delimiter else "")


@dataclass(frozen=True)
class Source:
    """Where the ids of a category come from. `terms` is None until the database has been asked for them."""

    ids: Ids
    column: str = ""
    buckets: int = 0
    terms: tuple[str, ...] | None = ()
    boundaries: tuple[float, ...] = ()
    sources: tuple[Source, ...] = ()
    delimiter: str = ""
    pair_delimiter: str = ""

    @property
    def size(self) -> int:
        """How many ids there are."""
        sizes: dict[str, int] = {
            "vocabulary": len(self.terms or ()) + 2,
            "bucket": len(self.boundaries) + 2,
            "cross": self.buckets,
        }
        return sizes.get(self.ids, self.buckets + 1)

    def all(self) -> list[Source]:
        """Return the sources of a cross, or the source itself."""
        return [inner for source in self.sources for inner in source.all()] if self.sources else [self]

    def columns(self) -> list[str]:
        """Return the columns that the ids are made of."""
        return [source.column for source in self.all()]

    def changed(self, change: Callable[[Source], Source]) -> Source:
        """Return the source with `change` applied to it and to the sources inside it."""
        return change(replace(self, sources=tuple(inner.changed(change) for inner in self.sources)))

    def describe(self) -> str:
        """Return the source in a few words."""
        if self.ids == "cross":
            return " × ".join(source.describe() for source in self.sources) + f" in {self.buckets} buckets"
        several = "several of " if self.delimiter else ""
        words = {
            "vocabulary": f"{several}{len(self.terms or ())} values",
            "identity": f"{several}ids below {self.buckets}", "hash": f"{several}{self.buckets} hash buckets",
            "bucket": f"{len(self.boundaries) + 1} ranges",
        }  # fmt: skip
        return f"{self.column} ({words[self.ids]})"


@dataclass(frozen=True)
class Category:
    """Ids, as an `embedding` with `dimension` numbers or as an `indicator` (one-hot, or counts if a row has several).

    `combiner` (sum, mean, sqrtn) combines several vectors into one. `options` are those of an embedding's table.
    """

    source: Source
    output: str = ""
    dimension: int = 0
    combiner: str = "mean"
    options: TableOptions | None = None

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.source.size

    def columns(self) -> list[str]:
        """Return the columns that the feature is made of."""
        return self.source.columns()

    def describe(self) -> str:
        """Return the feature in a few words."""
        form = f"embedding of {self.dimension}" if self.output == "embedding" else "indicator"
        if self.options is not None:
            form += f" with {self.options.describe()}"
        return f"{self.source.describe()}: {form}"


Feature = Number | Category


def columns_of(features: Iterable[Feature]) -> list[str]:
    """Return the columns that these features are made of, without repetition."""
    return list(dict.fromkeys(column for feature in features for column in feature.columns()))
